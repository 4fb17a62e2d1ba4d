"""Reports on latents: statistics and warnings."""

import pytest
import torch
from exact_vae.vae_core import VAE, load
from exact_vae.vae_core.latents.noise import Noise
from exact_vae.vae_core.latents.spaces import SPACES
from exact_vae.vae_core.latents.tag import Tag
from exact_vae.vae_core.reports.latent import (
    channel_statistics,
    describe_latent,
    describe_numbers,
    find_warnings,
    format_fixed,
)


def test_statistics():
    z = torch.randn(2, 4, 3, 6, 5, dtype=torch.float64) * 3 + 1
    found = channel_statistics(z)
    channels = z.transpose(0, 1).flatten(1)
    assert torch.allclose(found.mean, channels.mean(1), atol=1e-12)
    assert torch.allclose(found.std, channels.std(1, correction=0), atol=1e-12)
    assert torch.equal(found.least, channels.amin(1)) and torch.equal(found.most, channels.amax(1))
    assert found.broken == 0
    broken = z.clone()
    broken[0, 1, 0, 0, 0] = float("nan")
    broken[0, 2, 0, 0, 1] = float("inf")
    found = channel_statistics(broken)
    assert found.broken == 2 and torch.isfinite(torch.stack(found[:4])).all()


def test_neighbours():
    smooth = channel_statistics(Noise(0, spectrum="brown").draw((1, 4, 32, 32))).neighbours
    assert smooth > 0.6 and abs(channel_statistics(Noise(0).draw((1, 4, 32, 32))).neighbours) < 0.05
    assert (
        channel_statistics(torch.ones(1, 4, 1, 1)).neighbours != channel_statistics(torch.ones(1, 4, 1, 1)).neighbours
    )  # NaN


def said(latent, tag=None, vae=None) -> str:
    return "; ".join(find_warnings(latent, channel_statistics(latent), tag, vae))


def sampled(channels=4, spread=1.0):
    """As smooth as a latent of an image is."""
    return Noise(1, spectrum="pink").draw((1, channels, 32, 32)) * spread


def test_what_is_odd():
    assert "every number is 0" in said(torch.zeros(1, 4, 8, 8))
    broken = sampled()
    broken[0, 1, 2, 3] = float("nan")
    assert "1 of its 4096 numbers are NaN or infinite" in said(broken)
    assert "not correlated: this is noise" in said(Noise(0).draw((1, 4, 32, 32)))
    assert said(sampled(spread=5.0)) == ""


@pytest.mark.parametrize(("space", "raw"), [("sd1", 5.5), ("sdxl", 7.7), ("flux1", 2.8)])
def test_it_looks_scaled(space, raw):
    one = SPACES[space]
    tag = Tag("kl", one.channels, one.ratio, (32, 32), space=space)
    assert "a scaled latent, not a raw one" in said(sampled(one.channels), tag) or space == "flux1"
    assert said(sampled(one.channels, raw) + one.shift, tag) == ""
    assert said(sampled(one.channels), Tag("kl", one.channels, one.ratio, (32, 32), None, "scaled", space)) == ""


def test_it_looks_scaled_whosever_it_is():
    """All models of 4 channels have raw latents of a larger spread."""
    assert "a scaled latent" in said(sampled(4))
    assert said(sampled(16)) == ""  # some of 16 channels have not


def test_another_vae_made_it():
    tag = Tag("kl", 4, 8, (32, 32), vae="a")
    assert "another VAE made it" in said(sampled(spread=5.0), tag, "b")
    assert said(sampled(spread=5.0), tag, "a") == "" == said(sampled(spread=5.0), tag)


def test_a_report():
    vae: VAE = load()
    tag = Tag("kl", 4, 8, (2, 3), (16, 20), space="sd1")
    text = describe_latent(torch.randn(1, 4, 2, 3), tag, vae.fingerprint)
    assert "of: SD 1.x, SD 2.x, PixArt-alpha, at 1/8, raw\nimage: 20x16\n" in text
    assert len(text.split("\n\n")[1].splitlines()) == 4
    many = describe_latent(torch.randn(1, 128, 2, 3))
    assert "of: FLUX.2 or DC-AE in-1.0 or DC-AE mix-1.0 or LTX-Video, by its channels" in many and many.endswith(
        "... and 96 more"
    )
    assert "nobody known, by its channels" in describe_latent(torch.randn(1, 99, 2, 3))


@pytest.mark.parametrize("number, said", [(-0.0004, "0.000"), (-0.0, "0.000"), (-0.0006, "-0.001"), (3.14159, "3.142")])
def test_zero_has_no_sign(number, said):
    assert format_fixed(number) == said


def test_no_line_says_minus_nothing():
    x = torch.tensor([-0.0004, 0.0004, -0.0003]).expand(1, 4, 5, 3)
    assert "-0.000" not in describe_latent(x) + describe_numbers(x)
