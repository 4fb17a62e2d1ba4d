"""A VAE that `exact-vae train` has tuned is a VAE to ComfyUI too."""

from dataclasses import replace

import numpy as np
import torch
from exact_vae.cli import main
from exact_vae.training.procedural import draw_image
from exact_vae.vae_core import load
from exact_vae.vae_core.families.kl import FAMILY
from PIL import Image
from safetensors.torch import load_file, save_file
from support.comfyui_graphs import run_and_read
from support.random_networks import random_weights


def test_core_s_pixels_of_a_tuned_vae_are_ours(server, tmp_path):
    """Of SD's encoder, whose widths core expects, and a decoder of a quarter of its widths."""
    decoder = FAMILY.example.decoder
    assert decoder
    narrow = replace(decoder, widths=tuple(width // 4 for width in decoder.widths))
    base, tuned = tmp_path / "base.safetensors", server.base / "models" / "vae" / "tuned.safetensors"
    save_file(random_weights("kl", replace(FAMILY.example, decoder=narrow)), base)
    for i in range(6):
        Image.fromarray(draw_image(32, np.random.default_rng(i))).save(tmp_path / f"{i}.png")
    quick = {
        "--data": tmp_path,
        "--vae": base,
        "--out": tuned,
        "--steps": 3,
        "--crop": 16,
        "--batch": 1,
        "--threads": 1,
    }
    assert main(["train", *(str(word) for pair in quick.items() for word in pair)]) == 0
    before, after = load_file(base), load_file(tuned)
    assert any(not torch.equal(before[name], after[name]) for name in before)

    nodes = (
        ("LoadImage", {"image": "even.png"}),
        ("VAELoader", {"vae_name": tuned.name}),
        ("VAEEncode", {"pixels": ["1", 0], "vae": ["2", 0]}),
        ("VAEDecode", {"samples": ["3", 0], "vae": ["2", 0]}),
    )
    image, found = run_and_read(server, *nodes, of=(1, 0)), run_and_read(server, *nodes, of=(4, 0))
    vae = load(tuned, dtype=torch.float32)
    pixels = vae.decode(vae.encode(image.movedim(-1, 1) * 2 - 1).mode())
    want = ((pixels + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert found.shape == want.shape and found.std() > 1e-3
    assert (found - want).abs().max() < 1e-4
