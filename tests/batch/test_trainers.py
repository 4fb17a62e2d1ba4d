"""exact-vae cache verify, of what trainers wrote: every format is found by its content, and every fault is named."""

import json
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.batch import Check, check
from exact_vae.batch.trainers import judging
from exact_vae.cli import main
from exact_vae.vae_core import SPACES, convert, load
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.errors import BadRequest
from exact_vae.vae_core.images import to_pixel_range, to_unit_range
from PIL import Image
from support import trainer_caches as write

SD1, VAE = SPACES["sd1"], ("--vae", str(built_in.VAE_FILE), "--device", "cpu", "--dtype", "fp32")


@pytest.fixture(scope="module")
def codec():
    return load(dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two images of 64x64, smooth as photographs are, that are older than any cache."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(2):
        small = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        os.utime(folder / f"{number}.png", (0, 0))
    return folder


@pytest.fixture(scope="module")
def encoded(photos, codec) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(right, of pixels in [0, 1]) for each image, raw (4, 8, 8)."""
    found = {}
    for path in sorted(photos.iterdir()):
        levels = torch.from_numpy(np.array(Image.open(path))).movedim(-1, 0)[None] / 255
        pixels = to_pixel_range(levels)
        found[path.name] = tuple(codec.encode(x).mode()[0] for x in (pixels, to_unit_range(pixels)))
    return found


def scaled(raw: torch.Tensor, times: int = 1) -> torch.Tensor:
    for _ in range(times):
        raw = convert(raw[None], SD1, "raw", "scaled")[0]
    return raw


WRITERS = {
    "sd-scripts": (write.sd_scripts, False),
    "diffusion-pipe": (write.diffusion_pipe, True),
    "SimpleTuner": (write.simple_tuner, True),
    "SimpleTuner packed": (write.simple_tuner_packed, True),
    "OneTrainer": (write.one_trainer, False),
}


def make(folder: Path, photos: Path, writer: write.Writer, latents) -> Path:
    folder.mkdir(exist_ok=True)
    for path, latent in zip(sorted(photos.iterdir()), latents, strict=True):
        writer(folder, path, latent)
    return folder


def problems(folder: Path, **more) -> list[str]:
    return [one.what for one in check(Check(folder, **more)).problems]


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_wrong_is_named(name, photos, encoded, codec, tmp_path):
    """Right, of pixels in [0, 1], scaled otherwise, of another VAE: encoding the images anew tells them apart."""
    writer, wants_scaled = WRITERS[name]
    trainer = name.removesuffix(" packed")
    right, half = ([one[kind] for one in encoded.values()] for kind in (0, 1))
    seen = partial(problems, images=photos, vae=codec, space="sd1", samples=1)
    times = int(wants_scaled)

    found = check(
        Check(make(tmp_path / "right", photos, writer, [scaled(z, times) for z in right]), photos, "sd1", codec)
    )
    assert not found.problems and [group.trainer for group in found.latents] == [trainer]
    assert found.images == 2 and len(found.samples) == 2 and all(one.error < 1e-3 for one in found.samples)

    said = seen(make(tmp_path / "half", photos, writer, [scaled(z, times) for z in half]))
    assert len(said) == 1 and "it was made of pixels in [0, 1]" in said[0]
    said = seen(make(tmp_path / "again", photos, writer, [scaled(z, times + 1) for z in right]))
    words = "scaled twice" if wants_scaled else "scaled once"
    assert len(said) == 1 and f"it was made of pixels in [-1, 1], {words}, and {trainer} wants it" in said[0]
    others = [z.flip(-1).flip(0) for z in right]
    said = seen(make(tmp_path / "other", photos, writer, [scaled(z, times) for z in others]))
    assert len(said) == 1 and "it is of another VAE, another crop or another image" in said[0]
    broken = [scaled(z, times).index_fill(-1, torch.tensor([0]), torch.nan) for z in right]
    said = seen(make(tmp_path / "nan", photos, writer, broken))
    assert said == ["32 of its 256 numbers are NaN or infinite"] * 2


def test_a_latent_of_clips(photos, tmp_path):
    """musubi's of Wan are normalised, with a dimension for frames, and the name says the size."""
    z = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    path = write.musubi(tmp_path, photos / "0.png", z)
    found = check(Check(tmp_path, photos))
    assert not found.problems and [(one.space, one.convention) for one in found.latents] == [("wan21", "normalised")]
    path.rename(path.with_name("0_0065x0064_wan.safetensors"))
    assert "its metadata say 64x64, which is not in the file's name" in problems(tmp_path)[0]


@pytest.mark.parametrize(
    ("writer", "space", "made", "said"),
    [
        (write.sd_scripts, "sd1", "scaled", "keeps these latents raw, and these are scaled"),
        (partial(write.sd_scripts, model="sdxl"), "sdxl", "scaled", "keeps these latents raw, and these are scaled"),
        (write.flux, "flux1", "raw", "keeps these latents scaled, and these are raw"),
        (write.musubi, "wan21", "normalised", None),
        (partial(write.musubi, model="zi"), "flux1", "raw", None),
        (partial(write.musubi, model="zi"), "flux1", "scaled", "keeps these latents raw, and these are scaled"),
    ],
    ids=["sd", "sdxl", "flux", "wan", "z-image", "z-image scaled"],
)
def test_the_spread_tells_how_often_they_were_scaled(writer, space, made, said, photos, tmp_path):
    """Without a VAE, of as many latents as a spread is judged of."""
    generator = torch.Generator().manual_seed(0)
    image = tmp_path / "images"
    image.mkdir()
    for number in range(9):
        path = image / f"{number}.png"
        Image.new("RGB", (64, 64)).save(path)
        os.utime(path, (0, 0))
        seen = torch.randn(1, SPACES[space].channels, 8, 8, generator=generator)
        latent = convert(seen, SPACES[space], "normalised", made)[0]
        writer(tmp_path, path, latent[:, None] if space == "wan21" else latent)
    found = problems(tmp_path, images=image)
    assert (len(found) == 1 and said in found[0]) if said else not found


def test_scaled_twice_is_told_from_scaled():
    assert judging.count_scalings(0.18215, "sd1") == 1 and judging.count_scalings(0.18215**2, "sd1") == 2
    assert judging.count_scalings(1 / 0.3611, "flux1") == -1 and judging.count_scalings(0.03, "flux2") == 0


def test_stale_and_gone(photos, tmp_path):
    """Beside the images: one changed later, one has another size now, one is gone."""
    for number in range(3):
        image = tmp_path / f"{number}.png"
        image.write_bytes((photos / "0.png").read_bytes())
        os.utime(image, (0, 0))
        write.sd_scripts(tmp_path, image, torch.zeros(4, 8, 8))
    assert not problems(tmp_path)
    os.utime(tmp_path / "0.png", (4e9, 4e9))
    Image.new("RGB", (64, 72)).save(tmp_path / "1.png")
    (tmp_path / "2.png").unlink()
    found = problems(tmp_path, images=tmp_path)
    assert "it may be stale: its image '0.png' was changed" in found[0]
    assert "it is stale: its image was 64x64, and '1.png' is 64x72" in found[1]
    assert "its image is gone: '2' is not there" in found[2]


def test_wrong_shapes(photos, tmp_path):
    for name, latent, said in (
        ("turned", torch.zeros(4, 8, 12), "which is no bucket for an image of 64x96"),
        ("channels", torch.zeros(16, 12, 8), "it has 16 channels, and those of sd1 have 4"),
        ("flat", torch.zeros(8, 8), "its shape is (8, 8), which no latent"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (64, 96)).save(folder / "a.png")
        write.sd_scripts(folder, folder / "a.png", latent)
        assert said in problems(folder)[0]
    write.diffusion_pipe(tmp_path, photos / "0.png", torch.zeros(4, 8, 7))
    assert "but its bucket is 64x64" in problems(tmp_path / "cache")[0]
    path = write.flux(tmp_path / "turned", photos / "0.png", torch.zeros(16, 8, 8))
    with np.load(path) as file:
        arrays = {name.replace("8x8", "9x8"): file[name] for name in file.files}
    np.savez(path, **arrays)
    assert "not that of its name" in problems(tmp_path / "turned")[0]


def test_files_that_are_broken(photos, tmp_path):
    for writer in (write.sd_scripts, write.musubi, write.simple_tuner):
        path = writer(tmp_path, photos / "0.png", torch.zeros(16, 8, 8))
        path.write_bytes(path.read_bytes()[:-300])
    with closing(sqlite3.connect(write.diffusion_pipe(tmp_path, photos / "0.png", torch.zeros(4, 8, 8)))) as base:
        base.execute("UPDATE shard_0 SET size = 9999999")
        base.commit()
    found = problems(tmp_path)
    assert len(found) == 4 and all("cannot be read" in one or "cut short" in one for one in found)


def test_what_is_no_cache_is_left_alone(tmp_path):
    np.savez(tmp_path / "text_te_outputs.npz", hidden_state=np.zeros((4, 4)))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pt")
    with closing(sqlite3.connect(tmp_path / "metadata.db")) as base:
        base.execute("CREATE TABLE albums(name)")
        base.commit()
    with pytest.raises(BadRequest, match="there is no cache in"):
        check(Check(tmp_path))


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "went off",)

    torch.save({"latents": Bomb()}, tmp_path / "a.pt")
    assert "cannot be read" in problems(tmp_path)[0] and not (tmp_path / "went off").exists()


def test_the_command(photos, encoded, tmp_path, capsys):
    cache = make(tmp_path / "cache", photos, write.one_trainer, [half for _, half in encoded.values()])
    assert main(["cache", "verify", str(cache), *VAE, "--space", "sd1", "--decode", str(tmp_path), "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert len(found["problems"]) == 2 and found["images"] == 2 and (tmp_path / "contact_sheet.png").is_file()
    assert said.err == f"exact-vae: '{cache}' is not right: 2 problems, listed above.\n"
    assert main(["cache", "verify", str(cache)]) == 0
    assert "2 latents of OneTrainer, raw, of a space that it does not tell" in capsys.readouterr().out
