"""The command line: results on stdout, sentences on stderr, exit codes 0, 1 and 2."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.cli import main
from exact_vae.nodes.images import to_image
from exact_vae.vae_core import load
from exact_vae.vae_core.families.tiny import FAMILY
from exact_vae.vae_core.latents.files import read_latent
from PIL import Image
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def image(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (21, 30, 3)).astype(np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(levels).save(path)
    return path


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def fails(capsys, *arguments) -> str:
    """The one sentence on stderr of a command that could not be done."""
    assert run(*arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("exact-vae: ") and said.err.count("\n") == 1
    return said.err


def test_inspect(capsys, kl_file):
    assert run("inspect", kl_file) == 0
    text = capsys.readouterr().out
    assert "4 channels at 1/4" in text and "layout:     ldm" in text and "missing" not in text


def test_inspect_as_json(capsys, kl_file):
    assert run("inspect", kl_file, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["family"], facts["latent_channels"], facts["spatial_ratio"]) == ("kl", 4, 4)
    assert facts["config"]["encoder"]["widths"] == [32, 64, 64]
    assert run("inspect", kl_file, kl_file, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_inspect_tells_what_is_missing(capsys, tmp_path, kl_file):
    weights = load_file(kl_file)
    del weights["decoder.conv_out.bias"]
    save_file(weights, tmp_path / "bad.safetensors")
    assert run("inspect", tmp_path / "bad.safetensors") == 0
    assert "missing:    decoder.conv_out.bias" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".safetensors", ".latent"])
def test_round_trip(capsys, tmp_path, kl_file, image, suffix):
    latent, out = tmp_path / f"latent{suffix}", tmp_path / "out.png"
    assert run("encode", image, latent, "--vae", kl_file) == 0
    assert run("decode", latent, out, "--vae", kl_file) == 0
    assert "30x21" in capsys.readouterr().out
    vae = load(kl_file)
    levels = torch.from_numpy(np.array(Image.open(image))).float() / 255
    posterior = vae.encode(levels.movedim(-1, 0)[None] * 2 - 1)
    assert torch.equal(read_latent(latent)[0], posterior.mode())
    want = (to_image(vae.decode(posterior.mode(), size=(21, 30)))[0] * 255).to(torch.uint8)
    assert np.array_equal(np.array(Image.open(out)), want.numpy())


def test_a_sample_needs_a_seed(tmp_path, kl_file, image):
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert run("encode", image, path, "--vae", kl_file, "--sample", seed) == 0
    a, b, c = (read_latent(path)[0] for path in paths)
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("name", ["image.png", "image.tif", "folder"])
def test_transparency(capsys, tmp_path, kl_file, name):
    """Of an image, one read by rows, and frames in a folder: left out, which is said, or laid over a background."""
    levels = np.zeros((8, 12, 4), np.uint8)
    levels[..., 0], levels[:, :6, 3] = 255, 255
    over = np.where(levels[..., 3:] == 255, levels[..., :3], (0, 255, 0)).astype(np.uint8)

    def encode(pixels: np.ndarray, *how: str) -> torch.Tensor:
        source, latent = tmp_path / name, tmp_path / "latent.safetensors"
        if name == "folder":
            source.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(source / "1.png" if name == "folder" else source)
        assert run("encode", source, latent, "--vae", kl_file, *how) == 0
        return read_latent(latent)[0]

    assert torch.equal(encode(levels), encode(levels[..., :3]))
    first, second = capsys.readouterr().out.splitlines()
    assert "; transparency is left out (see --alpha)" in first and "left out" not in second
    assert torch.equal(encode(levels, "--alpha", "composite", "--background", "#00ff00"), encode(over))
    assert "left out" not in capsys.readouterr().out
    said = fails(capsys, "encode", tmp_path / name, tmp_path / "new.safetensors", "--vae", kl_file, "--alpha", "keep")
    assert "cannot keep alpha" in said and not (tmp_path / "new.safetensors").exists()
    said = fails(capsys, "encode", tmp_path / name, tmp_path / "new.safetensors", "--background", "#00ff00")
    assert "--background is for --alpha composite" in said


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".tif", ".bmp"])
def test_formats(tmp_path, kl_file, image, ending):
    latent, out = tmp_path / "latent.safetensors", tmp_path / f"out{ending}"
    run("encode", image, latent, "--vae", kl_file)
    assert run("decode", latent, out, "--vae", kl_file) == 0
    assert Image.open(out).size == (30, 21)


def test_a_batch_becomes_several_files(capsys, tmp_path, kl_file):
    save_file({"latent": torch.randn(2, 4, 3, 3)}, tmp_path / "two.safetensors")
    assert run("decode", tmp_path / "two.safetensors", tmp_path / "out.png", "--vae", kl_file) == 0
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out_00001.png", "out_00002.png"]


def round_trip(folder: Path, image: str) -> Path:
    """The example workflow, with an image of one's own in the example's place."""
    workflow = json.loads((ROOT / "example_workflows" / "round_trip.json").read_text())
    (first,) = [node for node in workflow["nodes"] if node["type"] == "ExactExampleImage"]
    first.update(type="LoadImage", widgets_values=[image, "image"], widgets_values_named={})
    workflow["nodes"] = [node for node in workflow["nodes"] if node["type"] != "PreviewImage"]
    (folder / "workflow.json").write_text(json.dumps(workflow))
    return folder / "workflow.json"


def test_graph_command_line_and_python_agree(capsys, tmp_path, taef2, photo):
    """TAEF2 on a photograph of odd size: one image, three ways."""
    for folder in ("input", "models/vae_approx"):
        (tmp_path / folder).mkdir(parents=True)
    for half in taef2:
        shutil.copy(half, tmp_path / "models" / "vae_approx")
    levels = (photo[0, :251, :301] * 255).round().to(torch.uint8)
    Image.fromarray(levels.numpy()).save(tmp_path / "input" / "example.png")
    source = tmp_path / "input" / "example.png"
    assert run("encode", source, tmp_path / "a.safetensors", "--vae", *taef2) == 0
    assert run("decode", tmp_path / "a.safetensors", tmp_path / "a.png", "--vae", taef2[1]) == 0
    graph = round_trip(tmp_path, "example.png")
    folders = ("--input", tmp_path / "input", "--output", tmp_path / "output", "--models", tmp_path / "models")
    capsys.readouterr()
    assert run("run", graph, "--set", "2.vae_name=taef2", *folders) == 0
    (written,) = capsys.readouterr().out.split()
    vae = load(*taef2)
    posterior = vae.encode(levels.movedim(-1, 0)[None].float() / 255 * 2 - 1)
    pixels = vae.decode(posterior.mode(), size=posterior.size)
    python = (((pixels + 1) / 2).clamp(0, 1)[0].movedim(0, -1) * 255).to(torch.uint8).numpy()
    assert np.array_equal(np.array(Image.open(written)), python)
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), python)


def test_bad_input_gets_one_sentence(capsys, tmp_path, kl_file, image):
    text = tmp_path / "text.safetensors"
    text.write_text("this is no VAE, but a text")
    run("encode", image, tmp_path / "good.safetensors", "--vae", kl_file)
    save_file({"latent": torch.zeros(1, 16, 2, 2)}, tmp_path / "other.safetensors")
    capsys.readouterr()
    latent, out = tmp_path / "good.safetensors", tmp_path / "out.png"
    assert "is a text, not a file of weights" in fails(capsys, "inspect", text)
    assert "there is no file" in fails(capsys, "inspect", tmp_path / "none.safetensors")
    assert "is a text" in fails(capsys, "encode", image, latent, "--vae", text)
    assert "as an image" in fails(capsys, "encode", text, latent, "--vae", kl_file)
    assert "there is no file" in fails(capsys, "decode", tmp_path / "none", out, "--vae", kl_file)
    assert "has 16 channels" in fails(capsys, "decode", tmp_path / "other.safetensors", out, "--vae", kl_file)
    assert "the ending of no image" in fails(capsys, "decode", latent, tmp_path / "out.xyz", "--vae", kl_file)
    assert "cannot be written" in fails(capsys, "decode", latent, tmp_path / "no" / "out.png", "--vae", kl_file)
    assert "cannot be written" in fails(capsys, "encode", image, tmp_path / "no" / "l.latent", "--vae", kl_file)
    for ending in ("png", "exr", "tif"):  # said before anything is loaded
        nowhere = tmp_path / "no" / f"out.{ending}"
        assert "there is no folder" in fails(capsys, "decode", latent, nowhere, "--vae", tmp_path / "none")
    assert "cannot be used" in fails(capsys, "decode", latent, out, "--vae", kl_file, "--device", "cuda:77")
    assert "cannot be used" in fails(capsys, "decode", latent, out, "--vae", kl_file, "--device", "nonsense")
    assert "no use for the latent space" in fails(
        capsys, "decode", latent, out, "--vae", kl_file, "--latent-space", "sd3"
    )
    assert fails(capsys, "decode", latent, out, "--vae", kl_file, "--latent-space").endswith(
        "takes none, as only a tiny VAE needs to be told its own.\n"
    )
    tiny = tmp_path / "mine.safetensors"
    save_file(random_weights("tiny", FAMILY.example), tiny)
    for space in ((), ("sd9",), ("flux1",)):
        said = fails(capsys, "decode", latent, out, "--vae", tiny, "--latent-space", *space)
        assert "sd1, sdxl, sd-x4" in said and "wan21" not in said
    assert not out.exists()


def test_what_is_read_is_not_written_over(capsys, tmp_path, kl_file, image):
    kept = kl_file.read_bytes()
    assert "is an input of this command" in fails(capsys, "encode", image, kl_file, "--vae", kl_file)
    assert "cannot hold a latent" in fails(capsys, "encode", image, image, "--vae", kl_file)
    assert kl_file.read_bytes() == kept and Image.open(image).size == (30, 21)


def test_more_bad_input(capsys, tmp_path, kl_file, image):
    latent = tmp_path / "good.safetensors"
    run("encode", image, latent, "--vae", kl_file)
    capsys.readouterr()
    (tmp_path / "folder.png").mkdir()
    assert "it is a folder" in fails(capsys, "decode", latent, tmp_path / "folder.png", "--vae", kl_file)
    assert "cannot be used" in fails(capsys, "decode", latent, tmp_path / "o.png", "--vae", kl_file, "--device", "meta")
    assert "the ending of no image" in fails(capsys, "decode", latent, tmp_path / "o.ico", "--vae", kl_file)
    graph = ROOT / "example_workflows" / "round_trip.json"
    assert "no folder of models" in fails(capsys, "run", graph, "--models", tmp_path / "no")
    tag = {"exact_vae": '{"size": [-5, 3], "latent": [2, 2]}'}
    save_file({"latent": torch.zeros(1, 4, 2, 2)}, latent, metadata=tag)
    assert run("decode", latent, tmp_path / "o.png", "--vae", kl_file) == 0
    assert Image.open(tmp_path / "o.png").size == (8, 8)


def test_core_s_workflow_runs_unchanged(capsys, tmp_path, kl_file, image):
    """Core's ids, core's inputs: a workflow made without this pack runs without ComfyUI."""
    (tmp_path / "models" / "vae").mkdir(parents=True)
    shutil.copy(kl_file, tmp_path / "models" / "vae" / "my.safetensors")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": image.name}},
        "2": {"class_type": "VAELoader", "inputs": {"vae_name": "my.safetensors"}},
        "3": {"class_type": "VAEEncodeTiled", "inputs": {"pixels": ["1", 0], "vae": ["2", 0], "tile_size": 512,
              "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}},
        "4": {"class_type": "VAEDecodeTiled", "inputs": {"samples": ["3", 0], "vae": ["2", 0], "tile_size": 512,
              "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "core"}},
        "6": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": "latents/core"}},
    }  # fmt: skip
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    folders = ("--input", tmp_path, "--output", tmp_path / "out", "--models", tmp_path / "models")
    assert run("run", tmp_path / "graph.json", *folders) == 0
    written = sorted((Path(line) for line in capsys.readouterr().out.split()), key=lambda path: path.suffix)
    assert [p.name for p in written] == ["core_00001_.latent", "core_00001_.png"]
    latent = read_latent(written[0])[0]
    want = (to_image(load(kl_file).decode(latent, size=(21, 30)))[0] * 255).to(torch.uint8)
    assert np.array_equal(np.array(Image.open(written[1])), want.numpy())


def test_a_graph_that_is_partly_wrong(capsys, tmp_path):
    """What can run runs, what was left out is said, and the exit code tells."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "good"}},
        "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "bad"}},
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    assert run("run", tmp_path / "graph.json", "--output", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out.strip().endswith("good_00001_.png")
    assert (
        said.err.startswith("exact-vae: parts of the workflow were not run: node 3 (SaveImage)")
        and "images" in said.err
    )


def test_a_graph_with_an_unknown_node(capsys, tmp_path):
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps({"1": {"class_type": "ExactVAEDecod", "inputs": {}}}))
    assert "there is no node class 'ExactVAEDecod' here; nearest is ExactVAEDecode" in fails(capsys, "run", graph)


def test_without_a_vae_the_built_in_one_is_taken(capsys, tmp_path, image):
    assert run("encode", image, tmp_path / "a.latent") == 0
    assert run("decode", tmp_path / "a.latent", tmp_path / "copy.png") == 0
    assert Image.open(tmp_path / "copy.png").size == (30, 21)
    assert read_latent(tmp_path / "a.latent")[0].shape == (1, 4, 3, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect"],
        ["encode", "a.png"],
        ["decode", "a", "b", "--vae", "c", "--dtype", "int4"],
        ["nonsense"],
        ["run", "g.json", "--set", "x"],
        ["encode", "a", "b.latent", "--vae", "c", "--sample", str(2**64)],
    ],
)
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as e:
        main(arguments)
    assert e.value.code == 2
    assert "usage: exact-vae" in capsys.readouterr().err
