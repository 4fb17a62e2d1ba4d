"""exact-vae cache export: names, keys, shapes, dtypes and numbers of the trainers' own files."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.batch import Archives, Export, Store, export, export_archives
from exact_vae.batch.comparing import read_row
from exact_vae.batch.encoding import draw
from exact_vae.batch.records import Record
from exact_vae.batch.shards import Entry, Latent, write_shard
from exact_vae.batch.store import Row
from exact_vae.cli import main
from exact_vae.vae_core import SPACES, convert, read_latent
from exact_vae.vae_core.errors import BadRequest
from safetensors import safe_open
from safetensors.torch import load as safetensors_load


def make_store(folder: Path, channels: int, space: str | None, *, frames: bool = False, **recipe) -> Store:
    """A cache of two images, 64x48 and 48x64, and the first one mirrored, as sd-scripts' rule takes them."""
    shape = (channels, 1, 6, 8) if frames else (channels, 6, 8)
    usual = {"area": [64, 64], "step": 16, "sides": [16, 64], "sizes": [], "buckets": "sd-scripts", "enlarge": False}
    store, rows = Store(folder), []
    store.make()
    generator = torch.Generator().manual_seed(0)
    for key, path, flip in (("a", "one.png", False), ("a.flip", "one.png", True), ("b", "in/two.png", False)):
        record = Record(key, key[0] * 64, path, (64, 48), (64, 48), (0, 0, 64, 48), (64, 48), flip)
        names = ("mean", "logvar")[: 1 if recipe.get("posterior") == "mean" else 2]
        tensors = {name: torch.randn(shape, generator=generator) for name in names}
        contents = write_shard(store.shards / f"{key}.safetensors", [Latent(record, tensors)], (), "made up")
        entry: Entry = contents.entries[0]
        rows.append(Row(f"{key}.safetensors", entry))
    said = {**usual, "posterior": "mean+logvar", "stored": "fp32", **recipe}
    store.write_job({"vae": {"fingerprint": "made up", "latent_space": space}, "recipe": said})
    store.write_index(rows, [])
    return store


def stored(store: Store) -> dict[str, dict[str, torch.Tensor]]:
    return {row.record.key: read_row(store, row) for row in store.read_rows()}


def test_others_may_read_what_is_written(tmp_path):
    store = make_store(tmp_path / "cache", 4, None)
    for trainer, model in (("sd-scripts", "sdxl"), ("musubi", "zi")):
        kept = store if trainer == "sd-scripts" else make_store(tmp_path / "other", 16, "flux1", buckets="musubi")
        export(kept, Export(trainer, tmp_path / trainer, model))
    usual = tmp_path / "usual"
    usual.touch()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 8 and {path.stat().st_mode for path in written} == {usual.stat().st_mode}


def test_sd_scripts_sdxl(tmp_path):
    store = make_store(tmp_path / "cache", 4, None)
    found = export(store, Export("sd-scripts", tmp_path / "images", "sdxl"))
    assert (found.model, found.files, found.left_out) == ("sdxl", 2, 0)
    names = sorted(str(p.relative_to(tmp_path / "images")) for p in (tmp_path / "images").rglob("*") if p.is_file())
    assert names == ["in/two_0064x0048_sdxl.npz", "one_0064x0048_sdxl.npz"]
    with np.load(tmp_path / "images" / "one_0064x0048_sdxl.npz") as file:
        assert set(file.files) == {"latents", "latents_flipped", "original_size", "crop_ltrb"}
        assert file["latents"].dtype == np.float32 and file["latents"].shape == (4, 6, 8)
        assert (file["latents"] == stored(store)["a"]["mean"].numpy()).all(), "raw: sd-scripts scales in training"
        assert (file["latents_flipped"] == stored(store)["a.flip"]["mean"].numpy()).all()
        assert file["original_size"].tolist() == [64, 48] and file["crop_ltrb"].tolist() == [0, 0, 64, 48]


def test_sd_scripts_flux(tmp_path):
    """Scaled; names with the latent's size; a file that is overwritten keeps latents of other sizes."""
    store = make_store(tmp_path / "cache", 16, "flux1")
    path = tmp_path / "out" / "one_0064x0048_flux.npz"
    path.parent.mkdir()
    np.savez(path, latents_12x16=np.ones((16, 12, 16), np.float32), latents_6x8=np.ones((16, 6, 8), np.float32))
    with pytest.raises(BadRequest, match="there are 1 of the files already"):
        export(store, Export("sd-scripts", tmp_path / "out", "flux"))
    export(store, Export("sd-scripts", tmp_path / "out", "flux", overwrite=True))
    with np.load(path) as file:
        kinds = ("latents", "latents_flipped", "original_size", "crop_ltrb")
        assert set(file.files) == {f"{kind}_6x8" for kind in kinds} | {"latents_12x16"}
        expected = (stored(store)["a"]["mean"] - 0.1159) * 0.3611
        assert np.abs(file["latents_6x8"] - expected.numpy()).max() < 1e-6
    _, tag = read_latent(tmp_path / "out" / "in" / "two_0064x0048_flux.npz")
    assert tag is not None and tag.convention == "scaled", "as this pack reads such files"


def test_a_sample(tmp_path):
    store = make_store(tmp_path / "cache", 4, None)
    export(store, Export("sd-scripts", tmp_path / "out", "sd", seed=7))
    one = stored(store)["a"]
    with np.load(tmp_path / "out" / "one_0064x0048_sd.npz") as file:
        assert (file["latents"] == draw(one["mean"], one["logvar"], 7, "a").numpy()).all()


@pytest.mark.parametrize(
    ("model", "space", "frames", "name"),
    [
        ("wan", "wan21", True, "latents_1x6x8_float32"),
        ("zi", "flux1", False, "latents_1x6x8_float32"),
        ("f2d", "flux2", False, "latents_6x8_float32"),
    ],
)
def test_musubi(model, space, frames, name, tmp_path):
    store = make_store(tmp_path / "cache", SPACES[space].channels, space, frames=frames, buckets="musubi")
    found = export(store, Export("musubi", tmp_path / "out", model))
    assert (found.files, found.left_out) == (2, 1), "it has no mirrored latents"
    path = tmp_path / "out" / f"two_0064x0048_{model}.safetensors"
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == [name]
        latent, metadata = file.get_tensor(name), file.metadata()
    assert (metadata["width"], metadata["height"], metadata["format_version"]) == ("64", "48", "1.0.1")
    raw = stored(store)["b"]["mean"]
    expected = convert(raw[None], SPACES[space], "raw", "normalised")[0] if model == "wan" else raw
    assert torch.equal(latent, expected) and latent.ndim == (4 if frames else 3)


def test_what_the_trainer_cannot_use_is_refused(tmp_path):
    store = make_store(tmp_path / "cache", 4, None)

    def refused(match: str, *what, of: Store = store, **more) -> None:
        with pytest.raises(BadRequest, match=match):
            export(of, Export(*what, **more))
        assert not (tmp_path / "out").exists(), "nothing is written"

    out = tmp_path / "out"
    refused("say by --model whom they are for, sd or sdxl", "sd-scripts", out)
    refused("are not for 'flux' of sd-scripts: choose sd or sdxl", "sd-scripts", out, "flux")
    refused("musubi keeps no latents with 4 channels", "musubi", out)
    mean = make_store(tmp_path / "mean", 4, None, posterior="mean")
    refused("has no posterior to sample from", "sd-scripts", out, "sd", 7, of=mean)
    other = make_store(tmp_path / "other", 4, None, area=[32, 32])
    refused("'one.png' was encoded as 64x48, and sd-scripts brings it to", "sd-scripts", out, "sd", of=other)


def test_two_images_of_one_name(tmp_path):
    store = make_store(tmp_path / "cache", 16, "flux1", buckets="musubi")
    text = (store.folder / "index.jsonl").read_text()
    (store.folder / "index.jsonl").write_text(text.replace("in/two.png", "in/one.png"))
    with pytest.raises(BadRequest, match=r"musubi cannot tell 'one.png' and 'in/one.png' apart"):
        export(store, Export("musubi", tmp_path / "out"))


def test_a_path_out_of_the_folder(tmp_path):
    store = make_store(tmp_path / "cache", 4, None)
    text = (store.folder / "index.jsonl").read_text()
    (store.folder / "index.jsonl").write_text(text.replace("in/two.png", "../two.png"))
    with pytest.raises(BadRequest, match="has no place in"):
        export(store, Export("sd-scripts", tmp_path / "out", "sd"))


def test_the_command(tmp_path, capsys):
    make_store(tmp_path / "cache", 4, None)
    command = ["cache", "export", str(tmp_path / "cache"), "--format", "sd-scripts", "--model", "sd"]
    assert main([*command, str(tmp_path / "out"), "--posterior", "sample:1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"files": 2, "left_out": 0, "model": "sd", "format": "sd-scripts"}
    shutil.rmtree(tmp_path / "cache")
    assert main([*command, str(tmp_path / "out")]) == 1 and "there is no cache in" in capsys.readouterr().err


def read_archive(path: Path) -> dict[str, dict[str, bytes]]:
    """Samples by their keys, as WebDataset groups them: names up to the first dot."""
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            key, _, ending = member.name.partition(".")
            samples.setdefault(key, {})[ending] = archive.extractfile(member).read()
    return samples


def test_archives_of_webdataset(tmp_path, capsys):
    store = make_store(tmp_path / "cache", 4, "sd1")
    out = tmp_path / "out"
    command = ["cache", "export", str(store.folder), "--format", "webdataset"]
    assert main([*command, str(out)]) == 0 and "3 latents in 1 archives" in capsys.readouterr().out
    samples = read_archive(out / "64x48-00000.tar")
    assert list(samples) == ["a", "a_flip", "b"]
    for key, sample in samples.items():
        numbers = {name: np.load(io.BytesIO(sample[f"{name}.npy"])) for name in ("mean", "logvar")}
        kept = stored(store)[key.replace("_", ".")]
        assert all((numbers[name] == kept[name].numpy()).all() for name in numbers)
        told = json.loads(sample["json"])
        assert told["convention"] == "raw" and told["vae"] == "made up" and told["bucket"] == [64, 48]
        assert "txt" not in sample, "there is no caption"
    assert main([*command, str(out)]) == 1 and "there are 1 of the archives already" in capsys.readouterr().err
    before = (out / "64x48-00000.tar").read_bytes()
    assert main([*command, str(out), "--overwrite"]) == 0 and (out / "64x48-00000.tar").read_bytes() == before
    assert main([*command, str(tmp_path / "x"), "--convention", "scaled"]) == 1
    assert "of a mean with its logvar only the raw numbers" in capsys.readouterr().err


@pytest.mark.parametrize("format", [["sd-scripts", "--model", "sd"], ["webdataset"]], ids=lambda words: words[0])
def test_what_was_damaged_is_not_exported(format, tmp_path, capsys):
    store, out = make_store(tmp_path / "cache", 4, "sd1"), tmp_path / "out"
    shard = store.shards / "b.safetensors"
    bits = bytearray(shard.read_bytes())
    bits[-10] ^= 1
    shard.write_bytes(bits)
    assert main(["cache", "export", str(store.folder), "--format", *format, str(out)]) == 1
    assert f"has other bits than were written: delete '{shard}'" in capsys.readouterr().err
    assert not list(out.rglob("*.tar"))


def test_archives_that_are_scaled_and_small(tmp_path):
    store = make_store(tmp_path / "cache", 4, None, posterior="mean", stored="bf16")
    one = 4 * 4 * 6 * 8
    what = Archives(tmp_path / "out", "safetensors", "scaled", "sdxl", most=2 * one)
    assert export_archives(store, what).archives == 2
    (sample,) = read_archive(tmp_path / "out" / "64x48-00001.tar").values()
    expected = convert(stored(store)["b"]["mean"][None], SPACES["sdxl"], "raw", "scaled")[0]
    assert torch.equal(safetensors_load(sample["safetensors"])["mean"], expected)
    assert json.loads(sample["json"])["space"] == "sdxl"


@pytest.mark.parametrize("name", ["diffusers", "diffusion-pipe", "SimpleTuner", "OneTrainer"])
def test_caches_that_cannot_be_written_are_refused_with_the_reason(name, tmp_path, capsys):
    make_store(tmp_path / "cache", 4, None)
    assert main(["cache", "export", str(tmp_path / "cache"), str(tmp_path / "out"), "--format", name]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("LatentDataset" in said or "cache verify" in said)
