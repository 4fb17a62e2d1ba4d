"""A cache as data loaders read it: the numbers, the samples of each epoch, the batches."""

import pickle

import pytest
import torch
from exact_vae.batch import BucketSampler, LatentDataset, Store
from exact_vae.batch.comparing import read_row
from exact_vae.vae_core.errors import BadRequest
from torch.utils.data import DataLoader


def test_latents_are_those_of_the_index(made):
    dataset = LatentDataset(made / "out")
    rows = list(Store(made / "out").read_rows())
    assert len(dataset) == len(rows) == 8
    for i, row in enumerate(rows):
        one = dataset[i]
        assert torch.equal(one["latent"], read_row(dataset.store, row)["mean"])
        assert (one["caption"], one["path"]) == (row.caption, row.record.path)
        assert tuple(one["size"].tolist()) == row.record.original and tuple(one["crop"].tolist()) == row.record.crop


def test_scaled(made):
    raw, scaled = (LatentDataset(made / "out", convention=one, space="sdxl")[0]["latent"] for one in ("raw", "scaled"))
    assert torch.allclose(scaled, raw * 0.13025)


def test_samples_depend_on_seed_epoch_and_image_alone(made):
    def draw(seed: int, epoch: int, index: int = 0) -> torch.Tensor:
        dataset = LatentDataset(made / "out", sample=True, seed=seed)
        dataset.set_epoch(epoch)
        return dataset[index]["latent"]

    stored = read_row(Store(made / "out"), next(Store(made / "out").read_rows()))
    noise = [(draw(*one) - stored["mean"]) / (stored["logvar"] / 2).exp() for one in ((0, 0), (0, 1), (1, 0))]
    assert all(0.5 < one.std() < 1.5 for one in noise)
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[2])
    assert torch.equal(draw(0, 1), draw(0, 1))


def test_a_copy_for_a_worker_sees_the_next_epoch(made):
    dataset = LatentDataset(made / "out", sample=True)
    before = dataset[0]["latent"]
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy._open == {} and torch.equal(copy[0]["latent"], before)


def test_workers_that_stay_draw_the_next_epoch_s_samples(made):
    dataset = LatentDataset(made / "out", sample=True)
    loader = DataLoader(dataset, batch_sampler=[[0]], num_workers=1, persistent_workers=True)
    first, again = (next(iter(loader))["latent"] for _ in range(2))
    dataset.set_epoch(1)
    second = next(iter(loader))["latent"]
    assert torch.equal(first, again) and torch.equal(second[0], dataset[0]["latent"])
    assert not torch.equal(first, second)


def test_batches_are_of_one_shape_and_hold_all(made):
    dataset = LatentDataset(made / "out")
    sampler = BucketSampler(dataset, 3)
    batches = list(DataLoader(dataset, batch_sampler=sampler))
    paths = sorted(path for batch in batches for path in batch["path"])
    assert paths == sorted(row.record.path for row in dataset.rows) and len(batches) == len(sampler)
    assert len(list(BucketSampler(dataset, 3, drop_last=True))) == len(BucketSampler(dataset, 3, drop_last=True)) == 2


def test_the_order_is_another_in_each_epoch(made):
    dataset = LatentDataset(made / "out")
    sampler, other = BucketSampler(dataset, 2), BucketSampler(dataset, 2)
    first = list(sampler)
    assert first == list(other), "it depends on seed and epoch alone"
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_processes_share_the_batches(made):
    dataset = LatentDataset(made / "out")
    both = [list(BucketSampler(dataset, 1, rank=rank, ranks=3)) for rank in range(3)]
    assert [len(one) for one in both] == [3, 3, 3]
    assert {batch[0] for one in both for batch in one} == set(range(8))


def test_what_cannot_be(made, tmp_path):
    with pytest.raises(BadRequest, match="there is no cache in"):
        LatentDataset(tmp_path)
    with pytest.raises(BadRequest, match="give space='sdxl'"):
        LatentDataset(made / "out", convention="scaled")
    with pytest.raises(BadRequest, match="have 4 channels, and those of 'flux1' have 16"):
        LatentDataset(made / "out", space="flux1")
    with pytest.raises(BadRequest, match="cannot be"):
        BucketSampler(LatentDataset(made / "out"), 0)
