"""A latent as diffusion models see it, and back."""

import pytest
import torch
from exact_vae.vae_core import SPACES, BadRequest, LatentMismatch, convert
from support.small_networks import small

LATENT = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))


def test_scale_and_unscale_are_those_of_its_space():
    vae = small("kl", torch.float32)
    vae.latent_space = "sdxl"
    scaled = vae.scale(LATENT)
    assert torch.equal(scaled, convert(LATENT, SPACES["sdxl"], "raw", "scaled"))
    assert torch.equal(scaled, LATENT * 0.13025)
    torch.testing.assert_close(vae.unscale(scaled), LATENT)


def test_without_a_space_there_is_no_scale():
    vae = small("kl", torch.float32)
    vae.latent_space = None
    for change in (vae.scale, vae.unscale):
        with pytest.raises(BadRequest, match="set its latent_space"):
            change(LATENT)


def test_a_latent_of_other_models_is_refused():
    vae = small("kl", torch.float32)
    vae.latent_space = "flux1"
    with pytest.raises(LatentMismatch, match="16 channels"):
        vae.scale(LATENT)
