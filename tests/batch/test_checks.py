"""exact-vae cache info, verify: what a folder of latents is, and everything that can be wrong with one is named."""

import json
import re
from pathlib import Path

import pytest
import torch
from exact_vae.batch import Store, verify
from exact_vae.batch.shards import Contents, Latent, open_shard, write_shard
from exact_vae.batch.statistics import Statistics
from exact_vae.cli import main
from exact_vae.vae_core import load
from exact_vae.vae_core.checkpoints import built_in
from PIL import Image


def test_info(made, capsys):
    assert main(["cache", "info", str(made / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["latents"], found["images"], found["flipped"], found["captions"]) == (8, 4, 4, 8)
    assert found["vae"]["fingerprint"] == load().fingerprint and found["missing"] == 0
    assert sum(found["buckets"].values()) == 8 and sum(found["skipped"].values()) == 4
    assert found["skipped"]["it is a duplicate of another"] == 1 and found["bytes"] > 0


def test_info_for_people(made, capsys):
    assert main(["cache", "info", str(made / "out")]) == 0
    said = capsys.readouterr().out
    assert "unknown, raw" in said and "8 of 4 images, 4 mirrored" in said and "area 32x32" in said


def test_no_cache(tmp_path, capsys):
    assert main(["cache", "info", str(tmp_path)]) == 1
    assert "there is no cache in" in capsys.readouterr().err


def problems(out: Path) -> str:
    return "\n".join(f"{one.where}: {one.what}" for one in verify(Store(out)).problems)


def first_shard(out: Path) -> Path:
    return min((out / "shards").iterdir())


def rewrite(path: Path, change) -> None:
    """The shard with the tensors of its first latent changed, and written as if they were right."""
    with open_shard(path) as file:
        kept = Store(path.parents[1]).read(path.name)
        latents = [
            Latent(
                one.record, {name: file.get_tensor(f"{one.record.key}.{name}").clone() for name in ("mean", "logvar")}
            )
            for one in kept.entries
        ]
    first = latents[0]
    latents[0] = Latent(first.record, {name: change(tensor) for name, tensor in first.tensors.items()})
    write_shard(path, latents, kept.skipped, kept.vae)


def test_a_cache_that_is_right(made, capsys):
    assert main(["cache", "verify", str(made / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == [] and (found["latents"], found["sources"], found["unused"]) == (8, 5, 0), (
        "with the one that is cut short"
    )
    values = torch.cat([one.flatten(1) for one in means(made / "out")], 1).double()
    assert found["statistics"]["std"] == pytest.approx(values.std(1, correction=0).tolist())


def means(out: Path) -> list[torch.Tensor]:
    found = []
    for name in Store(out).list_shards():
        with open_shard(out / "shards" / name) as file:
            found += [file.get_tensor(key) for key in sorted(file.keys()) if key.endswith(".mean")]
    return found


def test_a_flipped_bit(own):
    path = first_shard(own)
    with path.open("r+b") as file:
        file.seek(-3, 2)
        byte = file.read(1)
        file.seek(-3, 2)
        file.write(bytes([byte[0] ^ 1]))
    assert re.fullmatch(rf"{path.name}: the latent of '\d.png' has other bits than were written", problems(own))


def test_numbers_that_are_not_finite(own):
    rewrite(first_shard(own), lambda tensor: tensor.fill_(torch.nan))
    assert "is not finite" in problems(own)


def test_another_shape_and_dtype(own):
    rewrite(first_shard(own), lambda tensor: tensor[:, :1].half())
    assert "is of float16, not as the recipe says" in problems(own) and "index: " in problems(own)


def test_a_shard_that_is_cut_short_or_gone(own):
    path = first_shard(own)
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path.name}: '{path}' is a broken shard" in problems(own)
    path.unlink()
    assert f"is not in '{path.name}': run the build again" in problems(own)


def test_a_shard_of_another_vae(own):
    path = first_shard(own)
    contents: Contents = Store(own).read(path.name)
    with open_shard(path) as file:
        latents = [
            Latent(
                one.record, {name: file.get_tensor(f"{one.record.key}.{name}").clone() for name in ("mean", "logvar")}
            )
            for one in contents.entries
        ]
    write_shard(path, latents, (), "another")
    assert problems(own).startswith(f"{path.name}: another VAE made it: another")


def test_images_that_changed(photos, tmp_path, capsys):
    """Also one that kept its size and its time."""
    out = tmp_path / "out"
    small = ("--area", "32x32", "--step", "16", "--device", "cpu", "--dtype", "fp32")
    assert main(["cache", "build", str(photos), str(out), *small]) == 0
    (photos / "1.png").unlink()
    Image.new("RGB", (32, 32), "blue").save(photos / "2.png")
    capsys.readouterr()
    assert main(["cache", "verify", str(out)]) == 1
    said = capsys.readouterr()
    assert "1.png: it is gone" in said.out and "2.png: it was changed since it was encoded" in said.out
    assert said.err == f"exact-vae: '{out}' is not right: 2 problems, listed above.\n"


def test_with_the_vae(made, tmp_path, capsys):
    command = [
        "cache",
        "verify",
        str(made / "out"),
        "--vae",
        str(built_in.VAE_FILE),
        "--device",
        "cpu",
        "--samples",
        "3",
    ]
    assert main([*command, "--decode", str(tmp_path), "--json"]) == 0
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert len(samples) == 3 and all(one["error"] == 0 and one["psnr"] > 3 for one in samples)
    assert Image.open(tmp_path / "contact_sheet.png").size == (3 * 256, 2 * 256)


def test_a_latent_that_the_vae_does_not_give(own, capsys):
    for path in (own / "shards").iterdir():
        rewrite(path, lambda tensor: tensor * 1.5)
    command = ["cache", "verify", str(own), "--vae", str(built_in.VAE_FILE), "--device", "cpu", "--samples", "8"]
    assert main(command) == 1
    assert re.search(r"encoded again its latent is off by [\d.]+ of its spread, over 0.001", capsys.readouterr().out)


def test_statistics_find_what_is_scaled_already():
    torch.manual_seed(0)
    seen, raw = torch.randn(9, 4, 8, 8), Statistics("sd1")
    scaled = Statistics("sd1")
    for one in seen:
        raw.add(one / 0.18215)
        scaled.add(one)
    assert raw.spread == pytest.approx(1, abs=0.1) and raw.judge() == []
    assert "have a spread of 0.18" in scaled.judge()[0]


def test_what_cannot_be_verified(made, tmp_path, capsys):
    for more, said in (
        (["--decode", "x"], "--decode needs --vae"),
        (["--space", "flux1"], "the latents have 4 channels"),
    ):
        assert main(["cache", "verify", str(made / "out"), *more]) == 1
        assert said in capsys.readouterr().err
