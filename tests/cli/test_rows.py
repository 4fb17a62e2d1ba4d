"""Images as files row by row: the same pixels as whole, and never half a file under the name that was asked for."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from exact_vae.cli import main
from exact_vae.headless import core_nodes
from exact_vae.nodes.images import to_image
from exact_vae.vae_core import load
from exact_vae.vae_core.execution import run
from exact_vae.vae_core.execution.plans import budget, scratch
from exact_vae.vae_core.files.parts import sweep_parts
from exact_vae.vae_core.latents.files import read_latent
from PIL import Image
from safetensors.torch import save_file
from support.node_calls import call as call_node

SIZE = (61, 30)
WAYS = [[], ["--rows", 8], ["--rows", 8, "--keep", "disk"], ["--keep", "device"], ["--budget", "100MB"]]


@pytest.fixture
def image(tmp_path) -> np.ndarray:
    """The pixels of image.tif and image.png."""
    levels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", levels, photometric="rgb", rowsperstrip=9, compression="zlib")
    Image.fromarray(levels).save(tmp_path / "image.png")
    return levels


@pytest.fixture
def latent(tmp_path, kl_file, image):
    assert call("encode", tmp_path / "image.png", tmp_path / "latent.safetensors", "--vae", kl_file) == 0
    return tmp_path / "latent.safetensors"


def call(*arguments) -> int:
    return main([str(a) for a in arguments])


def fails(capsys, *arguments) -> str:
    assert call(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("exact-vae: ") and said.count("\n") == 1
    return said


def options(how: list) -> dict:
    """As the library takes them."""
    return {name.removeprefix("--"): value for name, value in zip(how[::2], how[1::2], strict=True)}


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_decoded_to_a_tif(capsys, tmp_path, kl_file, latent, how):
    for ending in ("tif", "png"):
        assert call("decode", latent, tmp_path / f"out.{ending}", "--vae", kl_file, *how) == 0
    assert f"{tmp_path / 'out.tif'}: 30x61" in capsys.readouterr().out
    pixels = load(kl_file).decode(read_latent(latent)[0], size=SIZE, **options(how))
    want = (to_image(pixels)[0] * 255).to(torch.uint8).numpy()
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), want)
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), want)


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_encoded_from_a_tif(tmp_path, kl_file, image, how):
    latents = []
    for ending in ("tif", "png"):
        path = tmp_path / f"{ending}.latent"
        assert call("encode", tmp_path / f"image.{ending}", path, "--vae", kl_file, "--sample", 3, *how) == 0
        latents.append(read_latent(path)[0])
    assert torch.equal(*latents)


def test_sixteen_bits_are_read(tmp_path, kl_file):
    levels = np.random.default_rng(0).integers(0, 65536, (*SIZE, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", levels, photometric="rgb")
    assert call("encode", tmp_path / "deep.tif", tmp_path / "deep.latent", "--vae", kl_file) == 0
    pixels = torch.from_numpy(levels.astype(np.float32) / 65535).movedim(-1, 0)[None] * 2 - 1
    assert torch.equal(read_latent(tmp_path / "deep.latent")[0], load(kl_file).encode(pixels).mode())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_is_repeated_and_alpha_dropped(tmp_path, kl_file, channels):
    levels = np.random.default_rng(0).integers(0, 256, (*SIZE, channels)).astype(np.uint8)
    how = {1: {}, 2: {"planarconfig": "contig"}, 4: {"photometric": "rgb"}}[channels]
    tifffile.imwrite(tmp_path / "a.tif", levels.squeeze(-1) if channels == 1 else levels, **how)
    colours = levels[..., :3] if channels == 4 else levels[..., :1].repeat(3, -1)
    Image.fromarray(colours).save(tmp_path / "a.png")
    for ending in ("tif", "png"):
        assert call("encode", tmp_path / f"a.{ending}", tmp_path / f"{ending}.latent", "--vae", kl_file) == 0
    assert torch.equal(read_latent(tmp_path / "tif.latent")[0], read_latent(tmp_path / "png.latent")[0])


KINDS = {
    "RGB": ((3,), "u1", {"photometric": "rgb"}),
    "RGB and alpha": ((4,), "u2", {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "multiplied by alpha": ((4,), "u1", {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "grey": ((), "u2", {"photometric": "minisblack"}),
    "white is 0": ((), "u2", {"photometric": "miniswhite"}),
    "CMYK": ((4,), "u1", {"photometric": "separated"}),
}


@pytest.mark.parametrize(("channels", "dtype", "how"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [(24, 40), (61, 30), (8, 4), (1, 9)], ids=str)
def test_the_command_line_and_a_graph_give_the_same_bits(tmp_path, kl_file, channels, dtype, how, size):
    levels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*size, *channels)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", levels, rowsperstrip=7, compression="zlib", **how)
    assert call("encode", tmp_path / "a.tif", tmp_path / "a.latent", "--vae", kl_file) == 0
    image, _ = core_nodes(tmp_path, tmp_path, tmp_path, {})["LoadImage"]().load_image("a.tif")
    latent = call_node("ExactVAEEncode", pixels=image, vae=load(kl_file))["samples"]
    assert torch.equal(read_latent(tmp_path / "a.latent")[0], latent)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused(capsys, tmp_path, kl_file):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "/dev/zero"):
        said = fails(capsys, "encode", tmp_path / name, tmp_path / "a.latent", "--vae", kl_file)
        assert re.search(r"' is a (pipe|device), not a file\.\n$", said)


def test_an_image_is_no_vae(capsys, tmp_path, image):
    said = fails(capsys, "inspect", tmp_path / "image.png")
    assert "image.png' is a PNG image, not a file of weights: `exact-vae encode` makes its latent." in said


def test_other_tifs_are_read_whole(tmp_path, kl_file, image):
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    assert call("encode", tmp_path / "two.tif", tmp_path / "two.latent", "--vae", kl_file, "--rows", 8) == 0
    assert len(read_latent(tmp_path / "two.latent")[0]) == 2


def test_a_batch_to_tifs(tmp_path, kl_file):
    save_file({"latent": torch.randn(2, 4, 3, 3)}, tmp_path / "two.safetensors")
    assert call("decode", tmp_path / "two.safetensors", tmp_path / "out.tif", "--vae", kl_file, "--rows", 4) == 0
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out_00001.tif", "out_00002.tif"]


def test_a_clip_of_one_frame_is_an_image(tmp_path, kl_file):
    save_file({"latent": torch.randn(1, 4, 1, 3, 5)}, tmp_path / "clip.safetensors")
    assert call("decode", tmp_path / "clip.safetensors", tmp_path / "out.tif", "--vae", kl_file) == 0
    assert Image.open(tmp_path / "out.tif").size == (20, 12)


def test_scratch_files_lie_where_they_should(tmp_path, kl_file, latent, monkeypatch):
    kept, make = [], run.make_store
    monkeypatch.setattr(run, "make_store", lambda *how: kept.append(make(*how)) or kept[-1])
    monkeypatch.setenv(scratch.VARIABLE, str(tmp_path))
    (tmp_path / "scratch").mkdir()
    how = ("--vae", kl_file, "--rows", 8, "--keep", "disk")
    assert call("decode", latent, tmp_path / "a.tif", *how, "--scratch", tmp_path / "scratch") == 0
    assert call("decode", latent, tmp_path / "a.tif", *how) == 0
    assert [one.folder for one in kept] == [tmp_path / "scratch", tmp_path]
    assert os.environ[scratch.VARIABLE] == str(tmp_path)


def test_what_cannot_be_done_is_said(capsys, tmp_path, kl_file, latent, image):
    out, vae = tmp_path / "out.tif", ("--vae", kl_file)
    assert "needs" in fails(capsys, "decode", latent, out, *vae, "--budget", "1kB")
    assert "no amount of memory" in fails(capsys, "decode", latent, out, *vae, "--budget", "lots")
    assert "0 rows" in fails(capsys, "decode", latent, out, *vae, "--rows", 0)
    assert "no folder" in fails(capsys, "decode", latent, out, *vae, "--scratch", tmp_path / "none")
    assert "cannot be written" in fails(capsys, "decode", latent, tmp_path / "none" / "out.tif", *vae)
    (tmp_path / "folder.tif").mkdir()
    assert "it is a folder" in fails(capsys, "decode", latent, tmp_path / "folder.tif", *vae)
    assert "is an input of this command" in fails(capsys, "encode", tmp_path / "image.tif", kl_file, *vae)
    assert not out.exists()


@pytest.mark.parametrize("shape", [(4,), (4, 3, 3), (0, 4, 2, 2)], ids=str)
def test_a_file_that_is_no_latent(capsys, tmp_path, kl_file, shape):
    save_file({"latent": torch.zeros(shape)}, tmp_path / "odd.safetensors")
    out = tmp_path / "out.tif"
    assert "this is no latent" in fails(capsys, "decode", tmp_path / "odd.safetensors", out, "--vae", kl_file)
    assert not out.exists()


def test_bad_tifs_are_named(capsys, tmp_path, kl_file, image):
    path, out = tmp_path / "bad.tif", tmp_path / "bad.latent"
    command = ("encode", path, out, "--vae", kl_file)
    path.write_bytes((tmp_path / "image.tif").read_bytes()[:-100])
    assert "'bad.tif' is cut short: 1 of its 7 parts are not in the file" in fails(capsys, *command)
    assert "'bad.tif' is cut short" in fails(capsys, *command, "--rows", 8)
    path.write_text("no image at all")
    assert "cannot read 'bad.tif' as an image" in fails(capsys, *command)
    tifffile.imwrite(path, image.astype(np.int16), photometric="rgb")
    assert "cannot read 'bad.tif' as an image" in fails(capsys, *command)
    assert not out.exists()


def test_an_image_that_memory_cannot_hold_is_not_tried(capsys, tmp_path, kl_file, latent, monkeypatch):
    monkeypatch.setattr(budget, "free", lambda device: 61 * 30 * 10)
    said = fails(capsys, "encode", tmp_path / "image.png", tmp_path / "a.latent", "--vae", kl_file)
    assert "cannot read 'image.png' as an image: an image of 30x61 pixels takes" in said and "use a TIFF file" in said
    monkeypatch.setattr(budget, "free", lambda device: 61 * 30 * 3)
    command = ("decode", latent, tmp_path / "a.png", "--vae", kl_file, "--budget", "100MB")
    assert "a.png' must be written as a whole" in fails(capsys, *command)


STOPPED = """
import contextlib, os, resource, signal, sys
from exact_vae import cli
from exact_vae.cli import codec

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup starts ignores this

@contextlib.contextmanager
def bar(what):
    def progress(done, total):
        if done > 700 and sys.argv[1] != "full":
            assert [name for name in os.listdir() if name.endswith(".part")]
            os.kill(os.getpid(), int(sys.argv[1]))
    yield progress

codec.bar = bar
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
@pytest.mark.parametrize(
    ("end", "before"),
    [
        (signal.SIGKILL, None),
        (signal.SIGKILL, b"old"),
        (signal.SIGTERM, None),
        (signal.SIGHUP, b"old"),
        (signal.SIGINT, b"old"),
        ("full", None),
    ],
)
def test_half_an_image_is_never_left(tmp_path, kl_file, end, before):
    """However the run ends. What had the name before keeps it."""
    save_file({"latent": torch.zeros(1, 4, 128, 32)}, tmp_path / "tall.safetensors")
    out = tmp_path / "out"
    out.mkdir()
    if before:
        (out / "a.tif").write_bytes(before)
    arguments = ("decode", tmp_path / "tall.safetensors", out / "a.tif", "--vae", kl_file, "--rows", 8)
    how = end if end == "full" else int(end)
    command = [sys.executable, "-c", STOPPED, str(how), *(str(a) for a in arguments)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, env=path)
    assert done.returncode == {signal.SIGKILL: -9, "full": 1}.get(end, 130), done.stderr
    said = {signal.SIGKILL: "", "full": f"exact-vae: '{out / 'a.tif'}' cannot be written: File too large.\n"}
    assert done.stderr == said.get(end, "exact-vae: stopped.\n")
    assert [p.suffix for p in out.iterdir() if p.name != "a.tif"] == [".part"] * (end == signal.SIGKILL)
    sweep_parts(out)  # as the next command that writes there does
    left = {p.name: p.read_bytes() for p in out.iterdir()}
    assert left == ({"a.tif": before} if before else {})


FULL = """
import resource, sys
from exact_vae import cli

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.exr", "a.tif", "f/%d.exr"])
def test_no_room_is_a_sentence_of_every_writer(tmp_path, kl_file, name):
    """OpenEXR has an error of its own for it."""
    z = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    save_file({"latent": 4 * z}, tmp_path / "z.safetensors")
    out = tmp_path / "out"
    out.mkdir()
    arguments = ("decode", tmp_path / "z.safetensors", out / name, "--vae", kl_file)
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", FULL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=path)
    where = out / name.replace("%d", "1")
    assert (done.returncode, done.stderr) == (1, f"exact-vae: '{where}' cannot be written: File too large.\n")
    assert not [file for file in out.rglob("*") if file.is_file()]


def test_kill_is_only_caught_while_a_command_runs(tmp_path, kl_file, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["inspect", str(kl_file)]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_help_tells_what_memory_may_be_used(capsys):
    for command in ("encode", "decode"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert all(name in text for name in ("--budget", "--rows", "--keep {device,system,disk}", "--scratch"))
        assert Path(scratch.VARIABLE).name in text
