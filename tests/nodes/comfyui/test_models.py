"""Around core's samplers, with diffusion models that are tiny but real to it."""

import numpy as np
import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.vae_core import load
from safetensors.torch import load_file
from support import tiny_diffusion_models
from support.comfyui_graphs import from_header, graph, in_comfyui, pixels, run_and_read
from support.comfyui_server import ROOT

VAE = ("ExactVAELoader", {"vae_name": "sd3_tiny.safetensors"})
MODEL = ("UNETLoader", {"unet_name": "sd3.safetensors", "weight_dtype": "default"})
TEXT = ("TestConditioning", {"width": tiny_diffusion_models.TEXT, "pooled": tiny_diffusion_models.TEXT, "seed": 3})
SOURCE = [("LoadImage", {"image": "odd.png"}), VAE, MODEL, TEXT]
SETTINGS = {"scheduler": "simple", "steps": 3, "denoise": 0.6}


@pytest.fixture(scope="module")
def models(server):
    """The server, with a model and the VAE of its latents."""
    tiny_diffusion_models.sd3(server.base / "models" / "diffusion_models" / "sd3.safetensors")
    from_header(server, VAE[1]["vae_name"], "taesd3.comfy")
    return server


def encoded(amount: int = 1) -> list:
    """Nodes 1 to 6; the last is a batch of latents."""
    return [
        *SOURCE,
        ("ExactVAEEncode", {"pixels": ["1", 0], "vae": ["2", 0]}),
        ("RepeatLatentBatch", {"samples": ["5", 0], "amount": amount}),
    ]


def sampled(noise: tuple[str, dict], amount: int = 2) -> list:
    """Nodes 1 to 11: the last samples the batch with this noise."""
    return [
        *encoded(amount),
        noise,
        ("BasicGuider", {"model": ["3", 0], "conditioning": ["4", 0]}),
        ("KSamplerSelect", {"sampler_name": "euler"}),
        ("BasicScheduler", {"model": ["3", 0], **SETTINGS}),
        ("SamplerCustomAdvanced", {"noise": ["7", 0], "guider": ["8", 0], "sampler": ["9", 0], "sigmas": ["10", 0],
                                   "latent_image": ["6", 0]}),
    ]  # fmt: skip


def ours(**inputs) -> tuple[str, dict]:
    size = {"width": 64, "height": 64, "batch_size": 1, "strength": 1.0}
    return "ExactLatentNoise", {"seed": 7, **size, **inputs}


def with_ours(**inputs) -> list:
    """The same with the NOISE output of our node, which is its second."""
    nodes = sampled(ours(**inputs))
    nodes[10][1]["noise"] = ["7", 1]
    return nodes


def test_the_sampler_draws_our_noise(models):
    """One stream for the batch, from the CPU: core's noise of that seed, to the bit. Other noise is other latents."""
    core = run_and_read(models, *sampled(("RandomNoise", {"noise_seed": 7})), of=(11, 0))["samples"]
    assert core.shape == (2, 16, 8, 10) and core.std() > 0.1
    assert torch.equal(run_and_read(models, *with_ours(batch_seeds="single"), of=(11, 0))["samples"], core)
    each = run_and_read(models, *with_ours(batch_seeds="increment"), of=(11, 0))["samples"]
    assert torch.equal(each[0], run_and_read(models, *with_ours(batch_seeds="same"), of=(11, 0))["samples"][1])
    for other in (each, run_and_read(models, *with_ours(source="nvidia"), of=(11, 0))["samples"]):
        assert not torch.allclose(other[1], core[1], atol=1e-2)


def test_ksampler_between_our_nodes(models):
    """Its noise is that of the same seed of ours."""
    settings = {"seed": 7, "cfg": 1.0, "sampler_name": "euler", **SETTINGS}
    links = {"model": ["3", 0], "positive": ["4", 0], "negative": ["4", 0], "latent_image": ["6", 0]}
    found = run_and_read(models, *encoded(2), ("KSampler", {**links, **settings}), of=(7, 0))
    want = run_and_read(models, *with_ours(batch_seeds="single"), of=(11, 0))["samples"]
    assert torch.allclose(found["samples"], want, atol=1e-5)


def test_the_size_and_whose_it_is_survive_the_sampler(models):
    latent = run_and_read(models, *with_ours(), of=(11, 0))
    assert latent["exact_vae"]["size"] == [61, 75] and latent["exact_vae"]["family"] == "tiny"
    decode = [
        ("ExactVAEDecode", {"samples": ["11", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["12", 0], "filename_prefix": "sampled"}),
    ]
    shown = models.images(models.prompt(graph(*with_ours(), *decode)))
    assert [pixels(path).shape for path in shown] == [(61, 75, 3)] * 2


def test_a_tag_that_no_longer_fits_is_dropped(models):
    """An empty latent for a VAE of 4 channels, which the sampler makes one of its model's 16."""
    empty = ("ExactEmptyLatent", {"vae": ["5", 0], "width": 75, "height": 61, "batch_size": 1})
    settings = {"seed": 7, "cfg": 1.0, "sampler_name": "euler", **SETTINGS, "denoise": 1.0}
    links = {"model": ["3", 0], "positive": ["4", 0], "negative": ["4", 0], "latent_image": ["6", 0]}
    nodes = [*SOURCE, ("ExactVAELoader", {"vae_name": "sd.safetensors"}), empty, ("KSampler", {**links, **settings})]
    assert run_and_read(models, *nodes, of=(6, 0))["exact_vae"]["channels"] == 4
    decode = [
        ("ExactVAEDecode", {"samples": ["7", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["8", 0], "filename_prefix": "dropped"}),
    ]
    assert in_comfyui(models, graph(*nodes, *decode)).shape == (64, 80, 3)


@pytest.fixture(scope="module")
def checkpoint(server):
    """The name of an SD 1.5 with all its parts."""
    weights = load_file(server.base / "models" / "vae" / "sd.safetensors")
    tiny_diffusion_models.sd15(server.base / "models" / "checkpoints" / "sd15.ckpt", weights)
    return "sd15.ckpt"


def test_image_to_image_runs(server, checkpoint):
    """The example workflow, with a small image."""
    nodes = headless.load(ROOT / "example_workflows" / "img2img.json", NODE_CLASS_MAPPINGS).to_json()
    nodes["1"]["inputs"] |= {"width": 75, "height": 61}
    nodes["2"]["inputs"]["ckpt_name"] = checkpoint
    found = in_comfyui(server, nodes)
    assert found.shape == (61, 75, 3) and np.isfinite(found).all() and found.std() > 1


def test_our_vae_in_a_checkpoint_that_core_saves(server, checkpoint):
    loader = ("CheckpointLoaderSimple", {"ckpt_name": checkpoint})
    parts = {"model": ["1", 0], "clip": ["1", 1], "vae": ["2", 0], "filename_prefix": "checkpoints/saved"}
    vae = ("ExactVAELoader", {"vae_name": "sd.safetensors"})
    entry = server.prompt(graph(loader, vae, ("CheckpointSave", parts)))
    assert entry["status"]["status_str"] == "success"
    (saved,) = (server.base / "output" / "checkpoints").glob("saved*.safetensors")
    want = load(server.base / "models" / "vae" / "sd.safetensors").network.state_dict()
    found = load(saved).network.state_dict()
    assert found.keys() == want.keys() and all(torch.equal(found[n].to(t), t) for n, t in want.items())
    saved.unlink()
