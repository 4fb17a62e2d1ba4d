"""Latents: what they remember, noise, files, and empty ones."""

import numpy as np
import pytest
from exact_vae.vae_core.checkpoints import built_in
from support.comfyui_graphs import OURS, graph, in_comfyui, pixels, small_wan
from support.comfyui_server import failure


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


def test_noise_for_a_vae(server):
    nodes = graph(
        OURS,
        ("ExactLatentNoise", {"seed": 5, "width": 72, "height": 56, "batch_size": 2, "strength": 1.0, "vae": ["1", 0]}),
        ("ExactVAEDecode", {"samples": ["2", 0], "vae": ["1", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "noise"}),
    )
    assert [pixels(p).shape for p in server.images(server.prompt(nodes))] == [(56, 72, 3)] * 2


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
    (path,) = server.saved_images(entry)
    want = pixels(path)
    assert want.shape == (50, 70, 3) and "shape: (1, 4, 7, 9)" in entry["outputs"]["5"]["text"][0]
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
    small_wan(server, "wan.safetensors")
    nodes = graph(
        (loader, {"vae_name": "wan.safetensors"}),
        ("ExactEmptyLatent", {"vae": ["1", 0], "width": 64, "height": 48, "batch_size": 1, "length": 9}),
        ("ExactLatentInspect", {"samples": ["2", 0]}),
    )
    shown = server.prompt(nodes)["outputs"]["3"]["text"][0]
    assert "shape: (1, 16, 3, 6, 8)" in shown and "every number is 0" in shown


def test_an_empty_latent_gets_a_sentence(server):
    nodes = graph(
        ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        OURS,
        ("ExactVAEDecode", {"samples": ["1", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["3", 0], "filename_prefix": "never"}),
    )
    assert "no sampler has worked on" in failure(server.prompt(nodes))
