"""exact-vae demo: what it writes and prints, with the built-in VAE and with a user's."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from exact_vae.cli import demo, main, three_ways
from exact_vae.vae_core import VAE, DoesNotFit, load, readers
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.images import heatmaps, metrics
from PIL import Image
from support.slow import slow

WRITTEN = {"original.png", "decoded.png", "latent.png", "error.png", "bands.png", "tiles.png", "report.html"}


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def facts(text: str) -> dict[str, str]:
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in text.splitlines())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "my <photo>.png"
    Image.open(built_in.PHOTOGRAPH).crop((300, 100, 397, 161)).save(path)
    return path


def planes(path) -> "metrics.Tensor":
    return readers.read(path)[0].movedim(-1, 1)


def test_an_image_of_the_user_s(image, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert run("demo", image, "--out", out) == 0
    told = facts(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == WRITTEN
    a, b = planes(image), planes(out / "decoded.png")
    assert a.shape == b.shape == planes(out / "original.png").shape == planes(out / "error.png").shape
    assert float(told["PSNR"].split()[0]) == pytest.approx(metrics.psnr(a, b).item(), abs=0.1)
    assert float(told["SSIM"]) == pytest.approx(metrics.ssim(a, b).item(), abs=0.005)
    assert (planes(out / "error.png") - heatmaps.heat_map(a, b)).abs().mean() < 0.03
    assert "97x61" in told["image"] and "4 channels at 1/8" in told["VAE"]
    assert told["report"] == str(out / "report.html")


def test_continuous_integration_looks_at_what_was_written(image, tmp_path, capsys):
    look = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "check_demo.py"))["main"]
    for name in ("original.png", "decoded.png"):
        Image.open(image).save(tmp_path / name)
    look(tmp_path)
    assert capsys.readouterr().out == "97x61, inf dB\n"
    Image.new("RGB", (97, 61)).save(tmp_path / "decoded.png")
    with pytest.raises(SystemExit, match="not the photograph"):
        look(tmp_path)


def test_the_page_shows_the_images_and_the_measures(image, tmp_path, capsys):
    assert run("demo", image, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    told = facts(capsys.readouterr().out)
    assert page.count('src="data:image/png;base64,') == len(WRITTEN) - 1 and "http" not in page
    assert told["PSNR"] in page and told["colour shift"] in page
    assert "my &lt;photo&gt;.png" in page and "<photo>" not in page


@pytest.fixture
def ways():
    vae = load(dtype=torch.float64)
    latent = torch.randn(1, 4, 34, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return three_ways.decode_three_ways(vae, latent)


def test_bands_are_the_whole_run_and_tiles_are_not(ways):
    whole, bands, tiles = ways
    assert whole.plan.startswith("whole") and not whole.difference
    assert bands.plan.startswith("bands of 16 rows, kept on disk") and tiles.plan.startswith("blended, approximate: 2 ")
    assert (bands.pixels - whole.pixels).abs().max() < 1e-11 < 1e-3 < (tiles.pixels - whole.pixels).abs().max()
    assert re.fullmatch(r"\d+\.\d dB from whole, at most [\d.]+ of 255 levels", tiles.difference)


def test_without_room_for_the_whole_run_the_rest_is_shown(image, tmp_path, capsys, monkeypatch):
    def refuse(vae, latent):
        raise DoesNotFit("decoding it needs 9 GiB.")

    monkeypatch.setattr(demo, "decode_three_ways", refuse)
    assert run("demo", image, "--out", tmp_path / "out") == 0
    assert facts(capsys.readouterr().out)["three ways"] == "left out: decoding it needs 9 GiB."
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN - {"bands.png", "tiles.png"}


def test_of_a_large_image_the_middle_is_decoded():
    latent = torch.arange(200.0).expand(1, 4, 3, 200)
    middle = three_ways.take_middle(latent, 8)
    assert middle.shape == (1, 4, 3, 96) and middle[0, 0, 0, 0] == 52


def test_a_difference_is_told_in_levels():
    whole = torch.zeros(1, 3, 2, 2)
    assert three_ways.describe_difference(whole, whole) == "the same as whole to the last bit"
    assert three_ways.describe_difference(whole, whole + 2 / 255) == "48.1 dB from whole, at most 1 of 255 levels"


@slow("the command of README and of CI is the same")
def test_without_an_image_the_shipped_one_is_taken(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 0
    told = facts(capsys.readouterr().out)
    assert told["image"] == "photograph.jpg, 750x422"
    assert Image.open(tmp_path / "exact-vae-demo" / "decoded.png").size == (750, 422)


def test_a_vae_of_the_user_s(image, kl_file, tmp_path, capsys):
    assert run("demo", image, "--vae", kl_file, "--out", tmp_path / "out") == 0
    assert "4 channels at 1/4" in facts(capsys.readouterr().out)["VAE"]


def test_what_is_read_is_not_written_over(image, tmp_path, capsys):
    assert run("demo", image, "--out", tmp_path / "out") == 0
    before = (tmp_path / "out" / "decoded.png").read_bytes()
    capsys.readouterr()
    assert run("demo", tmp_path / "out" / "decoded.png", "--out", tmp_path / "out") == 1
    assert "another name" in capsys.readouterr().err
    assert (tmp_path / "out" / "decoded.png").read_bytes() == before


@pytest.mark.parametrize("found", ["not there", "no image"])
def test_no_image(found, tmp_path, capsys):
    path = tmp_path / "x.png"
    if found == "no image":
        path.write_text("hello")
    assert run("demo", path, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("file", "it is a file, not a folder"), ("x" * 300, "File name too long")], ids=["file", "long"]
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(image, tmp_path, capsys, monkeypatch, name, words):
    monkeypatch.setattr(VAE, "encode", lambda *_, **__: pytest.fail("it was encoded"))
    (tmp_path / "file").write_text("")
    assert run("demo", image, "--out", tmp_path / name) == 1
    said = capsys.readouterr().err
    assert f"{name[-9:]}' cannot be written: {words}." in said and said.count("\n") == 1


def test_a_folder_is_no_image(tmp_path, capsys):
    assert run("demo", tmp_path, "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err == f"exact-vae: '{tmp_path}' is a folder, not a file.\n"
