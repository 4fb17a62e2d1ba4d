"""MiniMax-H3: tiles and chunks are part of it; and diffusers, whose tiles are made as small as these."""

from dataclasses import replace

import diffusers
import pytest
import torch
from exact_vae.vae_core import VAE, from_weights
from exact_vae.vae_core.families import minimax_h3
from exact_vae.vae_core.families.registry import build
from support.diffusers_networks import DIFFUSERS
from support.random_networks import random_tensors

KIND = "minimax_h3"
SIDE, OVERLAP = 4, 1  # of tiles, in pixels of the latent
EXACT = 1e-12
MEAN, STD = (
    torch.tensor(numbers, dtype=torch.float64).view(3, 1, 1, 1) for numbers in (minimax_h3.MEAN, minimax_h3.STD)
)


def in_small_tiles(vae: VAE) -> VAE:
    """The same VAE with tiles of a few pixels of the latent."""
    config = replace(vae.config, side=SIDE, overlap=OVERLAP)
    network = build(KIND, config)
    network.load_state_dict(vae.network.state_dict(), assign=True)
    return VAE(network, KIND, config, name=KIND, dtype=vae.dtype, device=vae.device)


@pytest.fixture
def in_double(monkeypatch):
    """diffusers' norms are in fp32 whatever the rest is in; here in fp64."""
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x.double())


def make_reference():
    make = getattr(diffusers, "AutoencoderKLMiniMaxH3", None)
    if make is None:
        pytest.skip("this diffusers has no such class")
    known = make(**DIFFUSERS[KIND][1]).double().eval()
    known.load_state_dict(random_tensors({n: tuple(t.shape) for n, t in known.state_dict().items()}, torch.float64))
    side, overlap = (8 * n for n in (SIDE, OVERLAP))
    known.enable_tiling(side, side, overlap, overlap)
    return known


def clip(frames: int, h: int, w: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(1, 3, frames, h, w, generator=generator, dtype=torch.float64) * 2 - 1


def latent(channels: int, frames: int, h: int, w: int) -> torch.Tensor:
    return torch.randn(1, channels, frames, h, w, generator=torch.Generator().manual_seed(h), dtype=torch.float64)


def apart(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize(("frames", "h", "w"), [(22, 32, 24), (39, 88, 48), (22, 40, 136), (1, 72, 56)])
@torch.no_grad()
def test_encodes_as_diffusers(in_double, frames, h, w):
    known = make_reference()
    vae = in_small_tiles(from_weights(known.state_dict()))
    x = clip(frames, h, w)
    want = known.encode(((x + 1) / 2 - MEAN) / STD).latent_dist
    got = vae.encode(x)
    assert apart(got.mode(), want.mode()) < EXACT
    assert frames == 1 or apart(got.std, want.std) < EXACT


@pytest.mark.parametrize(("frames", "h", "w"), [(7, 4, 3), (12, 11, 6), (7, 5, 17), (3, 4, 5), (4, 2, 2), (8, 3, 9)])
@torch.no_grad()
def test_decodes_as_diffusers(in_double, frames, h, w):
    """Of numbers of latent frames, too, that encoding never makes."""
    known = make_reference()
    vae = in_small_tiles(from_weights(known.state_dict()))
    z = latent(4, frames, h, w)
    want = (known.decode(z).sample * STD + MEAN) * 2 - 1
    assert apart(vae.decode(z), want) < EXACT


@torch.no_grad()
def test_an_image_is_decoded_alone(in_double):
    """diffusers has no way to it: the last of the four frames that its network makes of one latent frame."""
    known = make_reference()
    vae = in_small_tiles(from_weights(known.state_dict()))
    z = latent(4, 1, 9, 6)
    want = (known._decode_clip(z) * STD + MEAN)[:, :, -1:] * 2 - 1
    assert apart(vae.decode(z), want) < EXACT
    assert apart(vae.decode(z[:, :, 0]), want[:, :, 0]) < EXACT
