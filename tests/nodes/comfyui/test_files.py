"""What a VAE is, and VAEs written to files."""

import numpy as np
import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from exact_vae.vae_core import load
from safetensors.torch import load_file
from support.comfyui_graphs import CORE, OURS, graph, in_comfyui, pixels, round_trip
from support.comfyui_server import failure


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
    beside, heat = sorted(server.saved_images(entry))
    assert pixels(beside).shape == (61, 5 * 75 + 4 * 8, 3) and pixels(heat).shape == (61, 4 * 75 + 3 * 8, 3)
    assert [len(entry["outputs"]["4"][key]) for key in ("a_images", "b_images")] == [1, 4], "for the slider"
    (lines,), (table,) = entry["outputs"]["4"]["text"], entry["outputs"]["7"]["text"]
    assert "vae_2: the VAE of a core loader" in lines and lines.count("PSNR") == 4
    assert len(table.splitlines()) == 6 and "| vae_2: the VAE of a core loader" in table


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


def test_a_device_of_another_machine(server):
    """Named by a shared workflow: it runs. What is no device is refused by ComfyUI and by the headless check alike."""
    loader, name = OURS[0], OURS[1]["vae_name"]
    entry = server.prompt(graph((loader, {"vae_name": name, "device": "npu:5"}), ("PreviewAny", {"source": ["1", 0]})))
    assert entry["status"]["status_str"] == "success"
    assert entry["outputs"]["1"]["text"][0].endswith("cpu; this machine has no npu:5")
    wrong = graph((loader, {"vae_name": name, "device": "gpu"}), ("ExactVAEDoctor", {"vae": ["1", 0]}))
    sentence = "there is no device 'gpu': choose auto, cpu"
    with pytest.raises(AssertionError, match=sentence):
        server.queue(wrong)
    with host.surroundings(server.base / "models"):
        report = headless.check(headless.parse(wrong), NODE_CLASS_MAPPINGS)
    assert not report.ok and sentence in report.sentence()
