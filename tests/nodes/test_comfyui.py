"""In a real ComfyUI: EXACT_VAE_COMFYUI=<its folder> pytest tests/nodes/test_comfyui.py

EXACT_VAE_COMFYUI_PYTHON names the interpreter that has ComfyUI's requirements, if it is not the one of the tests.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from exact_vae.nodes.host_codec import TILED, WHOLE
from exact_vae.vae_core import built_in, load
from exact_vae.vae_core.families.kl import FAMILY
from PIL import Image
from safetensors.torch import load_file, save_file
from samples import random_weights

sys.path.insert(0, str(Path(__file__).parent))
from comfyui_server import ROOT, Browser, Server, failure

FOLDER = os.environ.get("EXACT_VAE_COMFYUI")
pytestmark = pytest.mark.skipif(not FOLDER, reason="needs a ComfyUI: EXACT_VAE_COMFYUI=<its folder>")


@pytest.fixture(scope="module")
def server(tmp_path_factory, taef2):
    base = tmp_path_factory.mktemp("comfyui")
    started = Server(Path(FOLDER or ""), base)
    for half in taef2:
        (base / "models" / "vae_approx" / half.name).write_bytes(half.read_bytes())
    weights = random_weights("kl", FAMILY.example)
    save_file({n: t.half() for n, t in weights.items()}, base / "models" / "vae" / "sd.safetensors")
    decoy = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8)}
    prefixed = {f"first_stage_model.{n}": t.half() for n, t in weights.items()}
    save_file({**prefixed, **decoy}, base / "models" / "checkpoints" / "full.safetensors")
    ramp = np.linspace(0, 255, 61 * 75 * 3).reshape(61, 75, 3).astype(np.uint8)
    Image.fromarray(ramp).save(base / "input" / "odd.png")
    Image.fromarray(ramp[:56, :72]).save(base / "input" / "even.png")
    Image.fromarray(np.tile(ramp, (3, 1, 1))).save(base / "input" / "tall.png")
    started.wait()
    yield started
    started.stop()


def graph(*nodes: tuple[str, dict]) -> dict:
    """Nodes 1, 2, ... in API format."""
    return {str(i + 1): {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in enumerate(nodes)}


def round_trip(image: str, loader: tuple, encode: str, decode: str, **tiled) -> dict:
    return graph(
        ("LoadImage", {"image": image}),
        loader,
        (encode, {"pixels": ["1", 0], "vae": ["2", 0]}),
        (decode, {"samples": ["3", 0], "vae": ["2", 0], **tiled}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "out"}),
    )


OURS = ("ExactVAELoader", {"vae_name": "sd.safetensors"})
CORE = ("VAELoader", {"vae_name": "sd.safetensors"})
TILES = {"tile_size": 64, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def in_comfyui(server, nodes: dict) -> np.ndarray:
    (path,) = server.pictures(server.prompt(nodes))
    return pixels(path)


def in_headless(server, nodes: dict, tmp_path) -> np.ndarray:
    core = headless.core_nodes(server.base / "input", tmp_path, tmp_path, NODE_CLASS_MAPPINGS)
    with host.surroundings(server.base / "models"):
        headless.run(headless.parse(nodes), {**NODE_CLASS_MAPPINGS, **core})
    (path,) = tmp_path.glob("*.png")
    return pixels(path)


def test_the_pack_loads_without_a_word(server):
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    loaded = [line for line in log.splitlines() if "seconds:" in line and "exact-vae" in line]
    assert len(loaded) == 1
    words = [line for line in log.splitlines() if "exact" in line.lower() and "seconds:" not in line]
    assert not [line for line in words if "warn" in line.lower() or "error" in line.lower()]


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_object_info_is_complete(server, node):
    info = server.get(f"/object_info/{node}")[node]
    inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
    assert info["python_module"] == "custom_nodes.comfyui-exact-vae"
    assert all(options[1]["tooltip"] for options in inputs.values())
    assert len(info["output_tooltips"]) == len(info["output"])
    assert info["description"] and info["search_aliases"] and info["category"].startswith("Exact VAE")
    assert f"# {info['display_name']}" in server.get(f"/extensions/comfyui-exact-vae/docs/{node}.md")


def test_texts_are_merged_into_the_host_s(server):
    merged = server.get("/i18n")
    for language in ("en", "zh"):
        texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        assert {node: merged[language]["nodeDefs"][node] for node in texts} == texts
        assert set(texts) == set(NODE_CLASS_MAPPINGS)


def test_what_a_latent_remembers_goes_through_core_s_nodes(server):
    """The size while it is true, and no longer."""
    nodes = graph(
        ("LoadImage", {"image": "odd.png"}),
        ("ExactVAELoader", {"vae_name": built_in.NAME}),
        ("ExactVAEEncode", {"pixels": ["1", 0], "vae": ["2", 0]}),
        ("RepeatLatentBatch", {"samples": ["3", 0], "amount": 2}),
        ("LatentFromBatch", {"samples": ["4", 0], "batch_index": 1, "length": 1}),
        ("LatentComposite", {"samples_to": ["5", 0], "samples_from": ["3", 0], "x": 8, "y": 8, "feather": 0}),
        ("LatentUpscaleBy", {"samples": ["6", 0], "upscale_method": "nearest-exact", "scale_by": 2.0}),
        ("LatentCrop", {"samples": ["3", 0], "width": 64, "height": 64, "x": 8, "y": 0}),
    )
    for i, size in ((6, (61, 75, 3)), (7, (128, 160, 3)), (8, (64, 64, 3))):
        shown = {
            "9": {"class_type": "ExactVAEDecode", "inputs": {"samples": [str(i), 0], "vae": ["2", 0]}},
            "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "tags"}},
        }
        assert in_comfyui(server, {**nodes, **shown}).shape == size


def test_core_s_nodes_keep_their_names(server):
    assert server.get("/object_info/VAEDecode")["VAEDecode"]["display_name"] == "VAE Decode"


def test_the_example_workflow_is_offered(server):
    assert "round_trip" in json.dumps(server.get("/api/workflow_templates"))
    workflow = server.get("/api/workflow_templates/comfyui-exact-vae/round_trip.json")
    known = server.get("/object_info")
    assert {node["type"] for node in workflow["nodes"]} - {"MarkdownNote"} <= set(known)


@pytest.mark.parametrize("image", ["odd.png", "even.png"])
@pytest.mark.parametrize(
    "name", ["sd.safetensors", "taef2", built_in.NAME, "pixel_space", "checkpoints/full.safetensors"]
)
def test_pixels_equal_the_headless_run(server, tmp_path, image, name):
    nodes = round_trip(image, ("ExactVAELoader", {"vae_name": name}), "ExactVAEEncode", "ExactVAEDecode")
    ours = in_comfyui(server, nodes)
    assert np.array_equal(ours, in_headless(server, nodes, tmp_path))
    assert ours.shape == pixels(server.base / "input" / image).shape


def test_the_example_s_twin_runs(server, tmp_path):
    nodes = json.loads((ROOT / "example_workflows" / "api" / "round_trip.json").read_text())
    (server.base / "input" / "example.png").write_bytes((server.base / "input" / "odd.png").read_bytes())
    assert np.array_equal(in_comfyui(server, nodes), in_headless(server, nodes, tmp_path))


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
@pytest.mark.parametrize("encode", ["ExactVAEEncode", "VAEEncode", "ExactVAETiledEncode"])
@pytest.mark.parametrize("decode", ["ExactVAEDecode", "VAEDecode", "ExactVAETiledDecode"])
def test_every_way_through_gives_one_picture(server, loader, encode, decode):
    """Either loader, either encoder, either decoder: the same pixels, but for the last bit."""
    want = in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecode"))
    got = in_comfyui(server, round_trip("even.png", loader, encode, decode))
    assert np.abs(got - want).max() <= 1


def tall(loader: tuple, encode: str, decode: str, **tiled) -> dict:
    """183 rows, in tiles of 64 pixels."""
    nodes = round_trip("tall.png", loader, encode, decode, **tiled)
    nodes["3"]["inputs"] |= tiled if "Tiled" in encode else {}
    nodes["4"]["inputs"] = {k: v for k, v in nodes["4"]["inputs"].items() if k not in tiled or "Tiled" in decode}
    return nodes


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
@pytest.mark.parametrize("keep", ["automatic", "disk"])
def test_bands_give_the_picture_of_the_whole(server, tmp_path, loader, keep):
    want = in_comfyui(server, tall(loader, "ExactVAEEncode", "ExactVAEDecode"))
    nodes = tall(loader, "ExactVAETiledEncode", "ExactVAETiledDecode", **TILES, keep=keep)
    entry = server.prompt(nodes)
    (path,) = server.pictures(entry)
    assert np.abs(pixels(path) - want).max() <= 1
    where = {"automatic": "on the device", "disk": "on disk"}[keep]
    for node in ("3", "4"):
        (shown,) = entry["outputs"][node]["text"]
        assert shown.startswith(f"bands of 64 rows, kept {where}; at most ")
    assert np.abs(in_headless(server, nodes, tmp_path) - want).max() <= 1


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_blended_tiles_are_another_picture(server, loader):
    """As core's are, which runs them three times; both are about as far from the whole."""
    want = in_comfyui(server, tall(loader, "ExactVAEEncode", "ExactVAEDecode"))
    entry = server.prompt(tall(loader, "ExactVAEEncode", "ExactVAETiledDecode", **TILES, mode="blended approximate"))
    (path,) = server.pictures(entry)
    (shown,) = entry["outputs"]["4"]["text"]
    assert shown.startswith("blended, approximate: 10 tiles of 64 pixels, 32 shared; each whole; at most ")
    ours = np.abs(pixels(path) - want).mean()
    core_s = np.abs(
        in_comfyui(server, tall(loader, "ExactVAEEncode", "VAEDecodeTiled", **TILES))[:183, :75] - want
    ).mean()
    assert 1 < ours < 1.5 * core_s


def test_tiles_that_cannot_be_get_a_sentence(server):
    tiled = {**TILES, "overlap": 64, "mode": "blended approximate"}
    said = failure(server.prompt(tall(OURS, "ExactVAEEncode", "ExactVAETiledDecode", **tiled)))
    assert "tiles of 64 pixels cannot overlap by 64" in said


def test_the_plan_is_drawn_on_the_node(server):
    """As progress text, which the frontend draws on any node. A node that the cache answers for is not drawn anew."""
    nodes = tall(OURS, "ExactVAEEncode", "ExactVAETiledDecode", **TILES, keep="device")
    nodes["5"]["inputs"]["filename_prefix"] = "drawn"
    browser = Browser(server)
    try:
        entry = server.prompt(nodes, client=browser.name)
        texts = dict(browser.texts())
    finally:
        browser.close()
    assert entry["status"]["status_str"] == "success"
    assert texts["4"] == entry["outputs"]["4"]["text"][0]
    assert texts["4"].startswith("bands of 64 rows, kept on the device; at most ")


def test_our_vae_in_core_s_tiled_decode(server):
    """Core's tiles are no exact picture, but they must be as good with our VAE as with core's."""
    want = in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecodeTiled", **TILES))
    got = in_comfyui(server, round_trip("even.png", OURS, "VAEEncode", "VAEDecodeTiled", **TILES))
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_inpainting(server, loader):
    nodes = graph(
        ("LoadImage", {"image": "even.png"}),
        loader,
        ("VAEEncodeForInpaint", {"pixels": ["1", 0], "vae": ["2", 0], "mask": ["1", 1], "grow_mask_by": 6}),
        ("ExactVAEDecode", {"samples": ["3", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "inpaint"}),
    )
    assert in_comfyui(server, nodes).shape == (56, 72, 3)


@pytest.mark.parametrize("name", ["sd.safetensors", "taef2"])
def test_saved_by_core_s_node(server, name):
    """VAESave writes what our loader holds, in names that both loaders know."""
    nodes = graph(
        ("ExactVAELoader", {"vae_name": name}), ("VAESave", {"vae": ["1", 0], "filename_prefix": f"vae/{name}"})
    )
    assert server.prompt(nodes)["status"]["status_str"] == "success"
    (saved,) = (server.base / "output" / "vae").glob(f"{name}*.safetensors")
    assert load(saved).latent_channels == (4 if name == "sd.safetensors" else 128)
    again = server.base / "models" / "vae" / f"again_{name}.safetensors"
    again.write_bytes(saved.read_bytes())
    if name == "sd.safetensors":
        weights = load_file(server.base / "models" / "vae" / name)
        assert all(torch.equal(t.to(weights[n].dtype), weights[n]) for n, t in load_file(saved).items())
        reloaded = round_trip("even.png", ("VAELoader", {"vae_name": again.name}), "VAEEncode", "VAEDecode")
        assert (
            np.abs(
                in_comfyui(server, reloaded)
                - in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecode"))
            ).max()
            <= 1
        )


def test_another_device_is_asked_for(server):
    """Select VAE Device copies the object and clones its patcher; what comes out still decodes."""
    nodes = graph(
        ("LoadImage", {"image": "even.png"}),
        OURS,
        ("SelectVAEDevice", {"vae": ["2", 0], "device": "default"}),
        ("ExactVAEEncode", {"pixels": ["1", 0], "vae": ["3", 0]}),
        ("VAEDecode", {"samples": ["4", 0], "vae": ["3", 0]}),
        ("SaveImage", {"images": ["5", 0], "filename_prefix": "device"}),
    )
    assert in_comfyui(server, nodes).shape == (56, 72, 3)


def test_noise_for_a_vae(server):
    nodes = graph(
        OURS,
        ("ExactLatentNoise", {"seed": 5, "width": 72, "height": 56, "batch_size": 2, "strength": 1.0, "vae": ["1", 0]}),
        ("ExactVAEDecode", {"samples": ["2", 0], "vae": ["1", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "noise"}),
    )
    assert [pixels(p).shape for p in server.pictures(server.prompt(nodes))] == [(56, 72, 3)] * 2


def test_latents_go_through_files_and_core_s_nodes(server):
    """Ours is saved, and loaded by core; core's is saved, and loaded by ours; the numbers stay what they were."""
    size = {"width": 70, "height": 50, "batch_size": 1}
    nodes = graph(
        OURS,
        ("ExactLatentNoise", {"seed": 5, **size, "strength": 1.0, "vae": ["1", 0], "source": "nvidia"}),
        ("ExactSaveLatent", {"samples": ["2", 0], "filename_prefix": "latents/ours"}),
        ("SaveLatent", {"samples": ["2", 0], "filename_prefix": "latents/core"}),
        ("ExactLatentInspect", {"samples": ["2", 0], "vae": ["1", 0]}),
        ("ExactVAEDecode", {"samples": ["2", 0], "vae": ["1", 0]}),
        ("SaveImage", {"images": ["6", 0], "filename_prefix": "direct"}),
    )
    entry = server.prompt(nodes)
    (path,) = server.pictures(entry)
    want = pixels(path)
    assert want.shape == (50, 70, 3) and "shape      (1, 4, 7, 9)" in entry["outputs"]["5"]["text"][0]
    saved = server.base / "output" / "latents"
    (server.base / "input" / "ours.latent").write_bytes((saved / "ours_00001_.latent").read_bytes())
    ways = (
        ("LoadLatent", "ours.latent", (56, 72, 3)),  # core forgets the size
        ("ExactLoadLatent", "latents/ours_00001_.latent [output]", (50, 70, 3)),
        ("ExactLoadLatent", "latents/core_00001_.latent [output]", (56, 72, 3)),
    )
    for kind, name, shape in ways:
        found = graph(
            OURS,
            (kind, {"latent": name}),
            ("ExactVAEDecode", {"samples": ["2", 0], "vae": ["1", 0]}),
            ("SaveImage", {"images": ["3", 0], "filename_prefix": "loaded"}),
        )
        got = in_comfyui(server, found)
        assert got.shape == shape and np.abs(got[:50, :70] - want).max() <= 1


@pytest.mark.parametrize("loader", ["ExactVAELoader", "VAELoader"])
def test_an_empty_latent_of_clips(server, loader):
    random_file(server, "wan.safetensors", "wan21.original")
    nodes = graph(
        (loader, {"vae_name": "wan.safetensors"}),
        ("ExactEmptyLatent", {"vae": ["1", 0], "width": 64, "height": 48, "batch_size": 1, "length": 9}),
        ("ExactLatentInspect", {"samples": ["2", 0]}),
    )
    shown = server.prompt(nodes)["outputs"]["3"]["text"][0]
    assert "shape      (1, 16, 3, 6, 8)" in shown and "every number is 0" in shown


def test_an_empty_latent_gets_a_sentence(server):
    nodes = graph(
        ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        OURS,
        ("ExactVAEDecode", {"samples": ["1", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "never"}),
    )
    assert "no sampler has worked on" in failure(server.prompt(nodes))


def test_cropping_is_core_s(server):
    """The picture that core's encoder sees of an odd one."""
    want = in_comfyui(server, round_trip("odd.png", CORE, "VAEEncode", "VAEDecode"))
    nodes = round_trip("odd.png", OURS, "ExactVAEEncode", "ExactVAEDecode")
    nodes["3"]["inputs"]["odd_sizes"] = "crop"
    assert np.abs(in_comfyui(server, nodes) - want).max() <= 1


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_a_hole_is_filled_and_the_rest_stays_to_the_bit(server, tmp_path, loader):
    image = np.asarray(Image.open(server.base / "input" / "odd.png"))
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[20:40, 24:50] = 0  # LoadImage gives a mask of what is transparent
    Image.fromarray(np.concatenate([image, alpha], -1)).save(server.base / "input" / "hole.png")
    nodes = graph(
        ("LoadImage", {"image": "hole.png"}),
        loader,
        ("ExactVAEEncodeForInpaint", {"pixels": ["1", 0], "vae": ["2", 0], "mask": ["1", 1], "grow_mask_by": 6}),
        ("ExactVAEDecodeOntoOriginal",
         {"samples": ["3", 0], "vae": ["2", 0], "image": ["1", 0], "mask": ["1", 1], "feather": 4}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "onto"}),
    )  # fmt: skip
    found = in_comfyui(server, nodes)
    outside = alpha[..., 0] == 255
    assert np.array_equal(found[outside], image[outside]) and not np.array_equal(found[~outside], image[~outside])
    if loader == OURS:
        assert np.array_equal(found, in_headless(server, nodes, tmp_path))


def test_a_hole_is_encoded_as_core_encodes_it(server):
    """Grey where the mask was before it grew."""

    def decoded(node: str) -> np.ndarray:
        nodes = graph(
            ("LoadImage", {"image": "even.png"}),
            ("SolidMask", {"value": 0.0, "width": 72, "height": 56}),
            ("SolidMask", {"value": 1.0, "width": 20, "height": 13}),
            ("MaskComposite", {"destination": ["2", 0], "source": ["3", 0], "x": 27, "y": 18, "operation": "add"}),
            CORE,
            (node, {"pixels": ["1", 0], "vae": ["5", 0], "mask": ["4", 0], "grow_mask_by": 7}),
            ("VAEDecode", {"samples": ["6", 0], "vae": ["5", 0]}),
            ("SaveImage", {"images": ["7", 0], "filename_prefix": node}),
        )
        return in_comfyui(server, nodes)

    assert np.abs(decoded("ExactVAEEncodeForInpaint") - decoded("VAEEncodeForInpaint")).max() <= 1


def test_vaes_are_compared(server):
    nodes = graph(
        ("LoadImage", {"image": "odd.png"}),
        OURS,
        CORE,
        ("ExactVAECompare", {"image": ["1", 0], "vae": ["2", 0], "vae_2": ["3", 0], "mode": "both", "tile_size": 64,
                             "overlap": 32}),
        ("SaveImage", {"images": ["4", 1], "filename_prefix": "beside"}),
        ("SaveImage", {"images": ["4", 2], "filename_prefix": "heat"}),
        ("PreviewAny", {"source": ["4", 0]}),
    )  # fmt: skip
    entry = server.prompt(nodes)
    beside, heat = sorted(server.pictures(entry))
    assert pixels(beside).shape == (61, 5 * 75 + 4 * 8, 3) and pixels(heat).shape == (61, 4 * 75 + 3 * 8, 3)
    (report,) = entry["outputs"]["4"]["text"]
    assert len(report.splitlines()) == 5 and "vae_2: the VAE of a core loader" in report
    assert entry["outputs"]["7"]["text"] == [report]


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_a_vae_is_described(server, loader):
    nodes = graph(
        loader,
        ("ExactVAEInfo", {"vae_name": "the VAE that is connected", "vae": ["1", 0]}),
        ("ExactVAEInfo", {"vae_name": "sd.safetensors"}),
    )
    shown = server.prompt(nodes)["outputs"]
    for node in ("2", "3"):
        assert "Autoencoder-KL (2-D), 4 channels at 1/8" in shown[node]["text"][0]


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_what_our_node_saves_core_loads(server, loader, layout):
    save = {"vae": ["1", 0], "filename_prefix": f"vae/ours_{layout}", "layout": layout}
    entry = server.prompt(graph(loader, ("ExactVAESave", save)))
    (file,) = entry["outputs"]["2"]["files"]
    saved = server.base / "output" / file["subfolder"] / file["filename"]
    assert load(saved).latent_channels == 4
    again = server.base / "models" / "vae" / f"ours_{layout}.safetensors"
    again.write_bytes(saved.read_bytes())
    want = in_comfyui(server, round_trip("even.png", CORE, "VAEEncode", "VAEDecode"))
    back = round_trip("even.png", ("VAELoader", {"vae_name": again.name}), "VAEEncode", "VAEDecode")
    assert np.abs(in_comfyui(server, back) - want).max() <= 1


def test_a_place_outside_of_the_output_folder_gets_a_sentence(server):
    said = failure(server.prompt(graph(OURS, ("ExactVAESave", {"vae": ["1", 0], "filename_prefix": "../../x"}))))
    assert "'../../x' is no place in the output folder" in said


def test_a_latent_of_another_vae_gets_a_sentence(server):
    nodes = graph(
        ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        OURS,
        ("ExactVAEDecode", {"samples": ["1", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "never"}),
    )
    said = failure(server.prompt(nodes))
    assert "this latent has 16 channels" in said and "'sd.safetensors' needs 4" in said


def random_file(server, name: str, of: str) -> None:
    """A file of models/vae with the shapes of this header."""
    from samples import header

    generator = torch.Generator().manual_seed(0)
    weights = {n: (torch.randn(s, generator=generator) * 0.02).half() for n, s in header(of)["shapes"].items()}
    save_file(weights, server.base / "models" / "vae" / name)


def test_a_vae_of_another_family_is_left_to_core(server):
    """Core loads it, our nodes call core's own methods. Stable Cascade's stage A is one that this pack does not run."""
    random_file(server, "stage_a.safetensors", "stable-cascade-stage-a.comfy")
    loader = ("VAELoader", {"vae_name": "stage_a.safetensors"})
    entry = server.prompt(round_trip("odd.png", loader, "ExactVAEEncode", "ExactVAEDecode"))
    assert [pixels(path).shape for path in server.pictures(entry)] == [(61, 75, 3)]  # core would crop
    assert entry["outputs"]["4"]["text"] == [WHOLE]
    tiled = tall(loader, "ExactVAETiledEncode", "ExactVAETiledDecode", **TILES)
    for node in ("3", "4"):
        tiled[node]["inputs"]["mode"] = "blended approximate"
    entry = server.prompt(tiled)
    assert [pixels(path).shape for path in server.pictures(entry)] == [(183, 75, 3)]
    assert entry["outputs"]["3"]["text"] == entry["outputs"]["4"]["text"] == [TILED]
    info = graph(loader, ("ExactVAEInfo", {"vae_name": "the VAE that is connected", "vae": ["1", 0]}))
    assert "this pack does not run" in server.prompt(info)["outputs"]["2"]["text"][0]
    said = failure(server.prompt(graph(loader, ("ExactVAESave", {"vae": ["1", 0], "filename_prefix": "x"}))))
    assert "does not run this VAE's family and cannot name its weights" in said


@pytest.mark.parametrize("loader", ["ExactVAELoader", "VAELoader"])
def test_a_batch_is_a_clip_to_a_vae_of_clips(server, loader):
    """As core's nodes take it: five frames are two of the latent, and come back as five pictures."""
    random_file(server, "wan.safetensors", "wan21.original")

    def frames(encode: str, decode: str, loader: str) -> np.ndarray:
        nodes = graph(
            ("LoadImage", {"image": "even.png"}),
            ("RepeatImageBatch", {"image": ["1", 0], "amount": 5}),
            (loader, {"vae_name": "wan.safetensors"}),
            (encode, {"pixels": ["2", 0], "vae": ["3", 0]}),
            (decode, {"samples": ["4", 0], "vae": ["3", 0]}),
            ("SaveImage", {"images": ["5", 0], "filename_prefix": "clip"}),
        )
        return np.stack([pixels(path) for path in sorted(server.pictures(server.prompt(nodes)))])

    want, found = frames("VAEEncode", "VAEDecode", "VAELoader"), frames("ExactVAEEncode", "ExactVAEDecode", loader)
    assert found.shape == (5, 56, 72, 3) and np.abs(found - want).max() <= 1
