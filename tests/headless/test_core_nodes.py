"""The core nodes: which there are, latents in and out of their folders, a whole graph."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.headless import CORE_ALIASES, Cache, check, core_nodes, parse, run
from exact_vae.headless.core.nodes import FREE, IN_FOLDERS, name_of
from exact_vae.headless.interface import Interface
from exact_vae.vae_core import VAE
from exact_vae.vae_core.errors import BrokenCheckpoint, DoesNotFit, LatentMismatch
from exact_vae.vae_core.execution.plans import budget
from PIL import Image
from safetensors.torch import load_file, save_file


def grey(levels, dtype=np.uint8) -> Image.Image:
    return Image.fromarray(np.array(levels, dtype=dtype))


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def test_every_class_is_listed_once(nodes):
    listed = [name_of(one) for one in (*IN_FOLDERS, *FREE)]
    assert len(listed) == len(nodes) and set(nodes) == set(listed)


def test_aliases_resolve_in_the_mapping_given(folders):
    class Loader:
        pass

    class Decode:
        pass

    pack = {"ExactVAELoader": Loader, "ExactVAETiledDecode": Decode}
    nodes = core_nodes(folders.input, folders.output, folders.temp, pack)
    assert {core: nodes[core] for core in CORE_ALIASES if core in nodes} == {
        "VAELoader": Loader,
        "VAEDecodeTiled": Decode,
        "VAETiledDecode": Decode,
    }


def test_core_s_encoders_take_several_images_as_the_loader_was_told(folders):
    class Encode:
        FUNCTION = "encode"

        @classmethod
        def INPUT_TYPES(cls):
            return {
                "required": {"pixels": ("IMAGE",), "vae": ("VAE",)},
                "optional": {"frames": (["clip"],), "seed": ("INT",)},
            }

        def encode(self, pixels, vae, *, frames="clip", seed=0):
            return frames, seed

    node = core_nodes(folders.input, folders.output, folders.temp, {"ExactVAEEncode": Encode})["VAEEncode"]
    assert node.INPUT_TYPES()["optional"].keys() == {"seed"}
    run_it = getattr(node(), node.FUNCTION)
    vae = VAE.__new__(VAE)
    for vae.separate_images, said in ((False, "clip"), (True, "separate images")):
        assert run_it(None, vae, seed=3) == (said, 3)
    assert run_it(None, "no VAE") == ("clip", 0)


def test_two_sets_of_folders_do_not_meet(nodes, tmp_path):
    other = core_nodes(tmp_path, tmp_path, tmp_path, {})
    assert other["LoadImage"].folders.input == tmp_path
    assert nodes["LoadImage"].folders.input == tmp_path / "in"


def test_every_node_keeps_the_contract(nodes):
    for name, cls in nodes.items():
        types = cls.INPUT_TYPES()
        declared = {**types["required"], **types.get("optional", {})}
        code = getattr(cls, cls.FUNCTION if cls.FUNCTION != "run_nested" else "run").__code__
        assert set(code.co_varnames[1 : code.co_argcount]) == {*declared, *types.get("hidden", {})}, name
        assert all(entry[1]["tooltip"].endswith(".") for entry in declared.values()), name
        assert cls.DESCRIPTION.endswith("."), name
        assert len(getattr(cls, "OUTPUT_TOOLTIPS", ())) == len(cls.RETURN_TYPES), name


@pytest.mark.parametrize("kind, channels", [("EmptyLatentImage", 4), ("EmptySD3LatentImage", 16)])
def test_empty_latents(nodes, kind, channels):
    (latent,) = nodes[kind]().generate(64, 32, 2)
    assert torch.equal(latent["samples"], torch.zeros(2, channels, 4, 8))
    assert latent["downscale_ratio_spacial"] == 8


def test_empty_image(nodes):
    (image,) = nodes["EmptyImage"]().generate(3, 2, 4, 0xFF0033)
    assert image.shape == (4, 2, 3, 3)
    assert torch.equal(image[3, 1, 2], torch.tensor([1.0, 0.0, 0.2]))


@pytest.mark.parametrize("kind", ["EmptyImage", "EmptyLatentImage", "EmptySD3LatentImage"])
def test_what_memory_cannot_hold_is_not_tried(nodes, kind, monkeypatch):
    monkeypatch.setattr(budget, "free", lambda device: 2**20)
    with pytest.raises(
        DoesNotFit, match=r"^90 x .* numbers take .* MiB of memory, and 1.0 MiB are free: use a smaller"
    ):
        nodes[kind]().generate(512, 512, 90)


def latent_file(nodes, folders, **values):
    (entry,) = nodes["SaveLatent"]().save(values, "latents/x", {"1": {}}, None)["ui"]["latents"]
    return entry, folders.output / entry["subfolder"] / entry["filename"]


def test_a_latent_comes_back(nodes, folders):
    samples = torch.randn(1, 4, 2, 3)
    entry, path = latent_file(nodes, folders, samples=samples.transpose(2, 3), noise_mask=torch.ones(1))
    assert entry == {"filename": "x_00001_.latent", "subfolder": "latents", "type": "output"}
    assert set(load_file(path)) == {"latent_tensor", "latent_format_version_0"}
    (latent,) = nodes["LoadLatent"]().load(f"latents/{entry['filename']} [output]")
    assert torch.equal(latent["samples"], samples.transpose(2, 3))


def test_an_old_latent_is_scaled_back(nodes, folders):
    save_file({"latent_tensor": torch.full((1, 4, 1, 1), 0.18215)}, folders.input / "old.latent")
    (latent,) = nodes["LoadLatent"]().load("old.latent")
    assert torch.allclose(latent["samples"], torch.ones(1, 4, 1, 1))
    assert nodes["LoadLatent"].INPUT_TYPES()["required"]["latent"][0] == ["old.latent"]


def test_what_is_no_latent_is_refused(nodes, folders):
    save_file({"weight": torch.zeros(1)}, folders.input / "model.latent")
    with pytest.raises(LatentMismatch, match=r"model\.latent' holds no latent"):
        nodes["LoadLatent"]().load("model.latent")
    (folders.input / "broken.latent").write_bytes(b"xx")
    with pytest.raises(BrokenCheckpoint, match=r"broken\.latent' is a text, not a file of a latent"):
        nodes["LoadLatent"]().load("broken.latent")
    assert nodes["LoadLatent"].VALIDATE_INPUTS(latent="gone.latent").startswith("Invalid latent file: gone.latent (")
    assert nodes["LoadLatent"].VALIDATE_INPUTS(latent=None) is True


READING = ["LoadImage", "LoadImageMask", "LoadImageOutput", "LoadLatent", "LoadVideo", "LoadAudio"]


@pytest.mark.parametrize("kind", READING)
def test_nodes_that_read_files_answer_for_the_name_alone(nodes, folders, kind):
    cls = nodes[kind]
    interface = Interface.of(cls)
    assert [one.name for one in interface.inputs if interface.validates(one.name)] == [cls.FILE]
    said = cls.VALIDATE_INPUTS(**{cls.FILE: "gone [input]"})
    assert said == f"Invalid {cls.KIND} file: gone [input] (there is no file 'gone' in the input folder)"
    (folders.input / "there").write_bytes(b"1")
    assert cls.VALIDATE_INPUTS(**{cls.FILE: "there"}) is cls.VALIDATE_INPUTS(**{cls.FILE: None}) is True
    before = cls.IS_CHANGED(**{cls.FILE: "there"})
    (folders.input / "there").write_bytes(b"12")
    assert cls.IS_CHANGED(**{cls.FILE: "there"}) != before


def test_a_mask_is_read_once_while_its_file_is_the_same(folders, nodes, put):
    put(Image.new("RGB", (8, 8), "red"), "red.png")
    graph = parse({"1": node("LoadImageMask", image="red.png", channel="red"), "2": node("MaskPreview", mask=["1", 0])})
    cache = Cache()
    assert [run(graph, nodes, cache=cache).executed for _ in range(2)] == [("1", "2"), ()]
    put(Image.new("RGB", (9, 8), "blue"), "red.png")
    assert run(graph, nodes, cache=cache).executed == ("1", "2")
    wrong = check(graph.put("1.channel", "rot"), nodes).node_errors["1"]["errors"]
    assert [one["type"] for one in wrong] == ["value_not_in_list"]


def test_a_whole_graph(folders, nodes, put):
    put(Image.new("RGB", (8, 8), "red"), "sub/red.png")
    graph = {
        "1": node("LoadImage", image="sub/red.png"),
        "2": node("SaveImage", images=["1", 0], filename_prefix="copy"),
        "3": node("PreviewImage", images=["1", 0]),
    }
    results = run(parse(graph), nodes)
    assert results.executed == ("1", "2", "3")
    assert results.outputs["2"] == {"images": [{"filename": "copy_00001_.png", "subfolder": "", "type": "output"}]}
    with Image.open(folders.output / "copy_00001_.png") as file:
        assert file.getpixel((0, 0)) == (255, 0, 0)


def test_the_docs_say_which_of_the_commonest_nodes_run():
    page = (Path(__file__).parents[2] / "docs" / "headless.md").read_text()
    table, _ = page.split("### The commonest")[1].split("## ")[0].split("All of them run here.")
    counted = re.findall(r"(\w[\w. ]*?) (\d+)(?=[,\s])", "\n".join(row for row in table.splitlines() if row[:1] == "|"))
    names, counts = [name for name, _ in counted], [int(count) for _, count in counted]
    assert len(set(names)) == 60 and counts == sorted(counts, reverse=True)
    known = core_nodes("input", "output", "temp", {})
    assert not [name for name in names if name not in known]


def test_the_docs_list_every_core_node_that_runs():
    page = (Path(__file__).parents[2] / "docs" / "headless.md").read_text()
    table = page.split("## Which nodes run")[1].split("### ")[0].replace(" and their tiled forms", ", VAETiledEncode")
    listed = re.split(r", | \|\n| \| ", table)
    known = core_nodes("input", "output", "temp", {})
    assert not [name for name in known if name not in listed]
