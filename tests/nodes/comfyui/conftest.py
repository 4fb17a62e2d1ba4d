"""In a real ComfyUI: EXACT_VAE_COMFYUI=<its folder> pytest -n0 tests/nodes/comfyui

EXACT_VAE_COMFYUI_PYTHON names the interpreter that has ComfyUI's requirements, if it is not the one of the tests.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.vae_core.families.kl import FAMILY
from exact_vae.vae_core.families.tiny import FAMILY as TINY
from PIL import Image
from safetensors.torch import save_file
from support.beside_core import node
from support.comfyui_server import Server
from support.headers import header
from support.random_networks import random_tensors, random_weights


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """Its folder."""
    folder = os.environ.get("EXACT_VAE_COMFYUI")
    if not folder:
        pytest.skip("needs a ComfyUI: EXACT_VAE_COMFYUI=<its folder>")
    return Path(folder)


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """One for all tests, with VAEs of random weights and three images.

    sd.safetensors, the same VAE in a full checkpoint, and two halves by the names and shapes of FLUX.2's tiny VAE.
    """
    base = tmp_path_factory.mktemp("comfyui")
    started = Server(comfyui, base)
    for half in ("encoder", "decoder"):
        weights = random_tensors(header(f"taef2.{half}")["shapes"])
        torch.save(weights, base / "models" / "vae_approx" / f"taef2_{half}.pth")
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


@pytest.fixture(scope="session")
def taesd(server):
    """Two halves of random weights by the name of SD 1.x's tiny VAE, by which its latents are known."""
    weights = random_weights("tiny", TINY.example)
    for half in ("encoder", "decoder"):
        part = {n.removeprefix(f"{half}."): t for n, t in weights.items() if n.startswith(half)}
        save_file(part, server.base / "models" / "vae_approx" / f"taesd_{half}.safetensors")


@pytest.fixture(scope="session")
def sources(server) -> dict:
    """Nodes that read what the server has, for graphs that change it."""
    generator = torch.Generator().manual_seed(0)
    for name, shape in (("large", (2, 4, 19, 23)), ("other", (1, 4, 10, 7))):
        samples = torch.randn(shape, generator=generator)
        tensors = {"latent_tensor": samples, "latent_format_version_0": torch.tensor([])}
        save_file(tensors, server.base / "input" / f"{name}.latent")
    return {
        "odd": node("LoadImage", image="odd.png"),
        "tall": node("LoadImage", image="tall.png"),
        "mask": node("LoadImageMask", image="odd.png", channel="green"),
        "small": node("LoadImageMask", image="even.png", channel="red"),
        "clear": node("JoinImageWithAlpha", image=["odd", 0], alpha=["small", 0]),
        "large": node("LoadLatent", latent="large.latent"),
        "other": node("LoadLatent", latent="other.latent"),
        "one": node("PrimitiveString", value="one"),
        "two": node("PrimitiveString", value="two"),
    }
