"""Previews of latents, and fingerprints of VAEs."""

import pytest
import torch
from exact_vae.vae_core import LatentMismatch, from_weights, load
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.latents.conventions import convert
from exact_vae.vae_core.latents.previews import (
    PUBLISHED,
    Factors,
    false_colours,
    fit,
    fit_least_squares,
    preview,
    published_factors,
)
from exact_vae.vae_core.latents.spaces import SPACES
from support.random_networks import random_weights, small_kl
from torch.nn import functional as F


def explained(found, want) -> float:
    """The share of an image's variance that a preview has."""
    rest = (found - want).square().mean() / (want - want.mean((0, 2, 3), keepdim=True)).square().mean()
    return 1 - rest.item()


def test_pixels_are_their_own_preview():
    vae = from_weights({"pixel_space_vae": torch.tensor(1.0)}, "pixel")
    found = fit(vae)
    assert torch.allclose(found.weight, torch.eye(3), atol=1e-3) and found.bias.abs().max() < 1e-3


def test_least_squares_finds_a_line():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 6, 16, 16, generator=generator)
    weight, bias = torch.randn(6, 3, generator=generator), torch.randn(3, generator=generator)
    found = fit_least_squares(z, preview(z, Factors(weight, bias)))
    assert torch.allclose(found.weight, weight, atol=1e-3) and torch.allclose(found.bias, bias, atol=1e-3)


def test_a_fitted_preview_is_near_the_image(photo):
    """Without decoding: of the photograph's cells it has most. Fitted on the photograph itself it would be 0.95."""
    vae = load(built_in.VAE_FILE)
    x = photo.movedim(-1, 1) * 2 - 1
    z = vae.encode(x).mode()
    assert explained(preview(z, fit(vae)), F.avg_pool2d(x, 8)) > 0.75
    assert fit(vae) is fit(vae)  # remembered
    again = load(built_in.VAE_FILE)
    again.findings = vae.findings  # of the same weights
    assert fit(again) is fit(vae)


def test_a_decoder_alone(taef2, photo):
    _, decoder = taef2
    x = photo.movedim(-1, 1) * 2 - 1
    z = load(*taef2).encode(x).mode()
    assert explained(preview(z, fit(load(decoder))), F.avg_pool2d(x, 16)) > 0.5


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_factors(name):
    """For raw latents they give what the published ones give for scaled ones."""
    space = SPACES[name]
    factors = published_factors(name, space)
    assert factors is not None and factors.weight.shape == (space.channels, 3)
    z = torch.randn(2, space.channels, 4, 4)
    scaled = convert(z, space, "raw", "scaled")
    want = preview(scaled, Factors(torch.tensor(PUBLISHED[name]), torch.zeros(3)))
    assert torch.allclose(preview(z, factors), want, atol=1e-5)
    assert published_factors("wan21", SPACES["wan21"]) is None


def test_a_latent_of_other_channels():
    factors = published_factors("sd1", SPACES["sd1"])
    assert factors
    with pytest.raises(LatentMismatch, match="this latent has 16 channels, but the preview is for 4"):
        preview(torch.zeros(1, 16, 2, 2), factors)


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_false_colours(channels):
    z = torch.randn(2, channels, 8, 8)
    found = false_colours(z)
    assert found.shape == (2, 3, 8, 8) and found.abs().max() <= 1
    assert torch.isfinite(false_colours(torch.zeros(1, channels, 4, 4))).all()
    if channels == 16:
        strong = z.clone()
        strong[:, 5] *= 50
        red = false_colours(strong)[:, 0].flatten()
        assert torch.corrcoef(torch.stack([red, strong[:, 5].flatten()]))[0, 1].abs() > 0.95


def test_fingerprints():
    weights = random_weights("kl", small_kl())
    whole = from_weights(weights).fingerprint
    assert len(whole) == 16 and whole == from_weights(dict(weights)).fingerprint
    assert whole == from_weights({n: t.bfloat16() for n, t in weights.items()}).fingerprint
    other = dict(weights)
    other["decoder.conv_out.weight"] = other["decoder.conv_out.weight"] * 1.1
    assert whole != from_weights(other).fingerprint
    assert from_weights({"pixel_space_vae": torch.tensor(1.0)}).fingerprint
