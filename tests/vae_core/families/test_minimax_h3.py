"""MiniMax-H3: tiles and chunks are part of it; and diffusers, whose tiles are made as small as these."""

from dataclasses import replace

import diffusers
import pytest
import torch
from exact_vae.vae_core import VAE, from_weights
from exact_vae.vae_core.checkpoints.saving import weights_as
from exact_vae.vae_core.families import minimax_h3
from exact_vae.vae_core.families.registry import build, expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.random_networks import random_tensors, random_weights
from support.small_networks import SMALL, run_half

KIND = "minimax_h3"
SIDE, OVERLAP = 4, 1  # of tiles, in pixels of the latent
EXACT = 1e-12
MEAN, STD = (
    torch.tensor(numbers, dtype=torch.float64).view(3, 1, 1, 1)
    for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def in_small_tiles(vae: VAE) -> VAE:
    """The same VAE with tiles of a few pixels of the latent."""
    config = replace(vae.config, side=SIDE, overlap=OVERLAP)
    network = build(KIND, config)
    network.load_state_dict(vae.network.state_dict(), assign=True)
    return VAE(network, KIND, config, name=KIND, dtype=vae.dtype, device=vae.device)


def small_tiles() -> VAE:
    return in_small_tiles(from_weights(random_weights(*SMALL[KIND], torch.float64)))


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


@pytest.mark.parametrize(("frames", "numbers"), [(1, 1), (1, 5000), (22, 5000), (39, 10**6)])
@pytest.mark.parametrize("part", ["encode", "decode"])
@torch.no_grad()
def test_bands(part, frames, numbers):
    """Bands of few rows of a tile, and of all of them. Two columns of tiles share three pixels of four."""
    vae = small_tiles()
    x = clip(frames, 72, 40) if part == "encode" else latent(4, vae.clip_law.latents(frames) if frames > 1 else 1, 9, 5)
    x = x[0] if frames > 1 else x[0, :, 0]
    want = run_half(vae, part, x)
    assert apart(run_half(vae, part, x, numbers), want) < EXACT
    assert apart(run_half(vae, part, -x), want) > 1e-3


@torch.no_grad()
def test_every_frame_is_kept():
    """diffusers drops what is beyond 17 n + 5 frames; ComfyUI drops it, too, and decodes two latent frames to five."""
    law = from_weights(random_weights(*SMALL[KIND])).clip_law
    assert [law.latents(n) for n in (2, 5, 6, 22, 23, 39)] == [2, 2, 7, 7, 12, 12]
    assert [law.decoded(n) for n in range(1, 13)] == [1, 5, 9, 13, 17, 18, 22, 26, 30, 34, 35, 39]
    assert all(law.decoded(law.latents(n)) >= n for n in range(2, 60))
    vae = small_tiles()
    assert vae.encode(clip(6, 16, 24)).mode().shape[2] == 7
    assert vae.decode(latent(4, 2, 2, 3)).shape[2] == 5


@torch.no_grad()
def test_tiles_are_part_of_it():
    """With one tile for all it is another image: the released one is the blended one."""
    x = clip(1, 72, 40)[:, :, 0]
    one, several = from_weights(random_weights(*SMALL[KIND], torch.float64)), small_tiles()
    assert apart(one.encode(x).mode(), several.encode(x).mode()) > 1e-3


def test_published_tiles_are_of_256_pixels():
    config = minimax_h3.FAMILY.example
    assert (config.side * config.spatial_ratio, config.overlap * config.spatial_ratio) == (256, 64)
    assert (config.latent_channels, config.spatial_ratio, config.temporal_ratio) == (24, 16, 4)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_halves_are_known(half):
    _, config = SMALL[KIND]
    alone = replace(config, **{"decoder" if half == "encoder" else "encoder": None})
    shapes = expected_shapes(KIND, alone)
    assert minimax_h3.detect(shapes) == alone and alone.parts == (half,)


@torch.no_grad()
def test_both_layouts_compute_the_same():
    """The authors have queries, keys and values of one layer, head after head, and the gate first."""
    vae = from_weights(random_weights(*SMALL[KIND]))
    other = from_weights(weights_as(vae, "diffusers"))
    assert vae.config.fused and not other.config.fused
    z = latent(4, 7, 3, 4).float()
    given = vae.network.denormalize(z)  # diffusers' file has no statistics
    torch.testing.assert_close(other.decode(given), vae.decode(z), rtol=0, atol=1e-5)


@torch.no_grad()
def test_published_statistics_of_a_file_without_them():
    """A file of diffusers has none; the latent is that of the authors' file."""
    config = replace(SMALL[KIND][1], z_channels=24, statistics=False, fused=False)
    network = build(KIND, config)
    z = torch.zeros(1, 24, 1, 2, 2)
    assert torch.equal(network.denormalize(z).flatten(), torch.tensor(minimax_h3.MINIMAX_H3_MEAN).repeat_interleave(4))
