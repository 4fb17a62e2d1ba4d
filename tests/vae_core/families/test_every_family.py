"""What holds for all families: no way of running changes the result, and half precision keeps to what they state."""

from functools import cache
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import VAE, from_weights
from exact_vae.vae_core.execution import count_latent_frames, make_request, whole
from exact_vae.vae_core.execution.plans.places import DISK
from exact_vae.vae_core.families import FAMILIES, ClipLaw, Half
from exact_vae.vae_core.ops import splits_in_time
from support.random_networks import random_weights
from support.slow import mark_slow
from support.small_networks import AT_ONCE, SMALL, cells_of, run_half
from support.small_networks import small as made_anew

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ROUNDING = {family.name: family.rounding for family in FAMILIES}
EXACT = 1e-12
small = cache(made_anew)


def of_clips() -> list[str]:
    return [kind for kind, (_, config) in SMALL.items() if config.temporal_ratio]


def given(vae: VAE, part: str, latents: int) -> torch.Tensor:
    """An image (C, H, W), or a clip of so many latent frames (C, T, H, W), or what is decoded to it."""
    generator = torch.Generator().manual_seed(latents)
    net, ratio = vae.network, vae.spatial_ratio
    law = net.clip_law or ClipLaw()
    frames = law.first + (latents - 1) * law.step
    cells = cells_of(vae, 2, 3)
    channels, *shape = (vae.in_channels, frames, *(n * ratio for n in cells))
    if part == "decode":
        channels, *shape = (vae.latent_channels, latents, *cells)
    x = torch.rand(channels, *shape[0 if vae.temporal_ratio else 1 :], generator=generator, dtype=torch.float64)
    return 2 * x - 1 if part == "encode" else whole.run(net.from_latent_ops(), (4 * x[None] - 2).to(vae.dtype))[0]


def apart(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


BANDS = ({"numbers": 1}, {"numbers": 3000, "keep": DISK})
FRAMES = ({"frames": 1}, {"frames": 3}, {"frames": 1, "numbers": 3000}, {"frames": 3, "numbers": 1, "keep": DISK})


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("kind", SMALL)
@torch.no_grad()
def test_bands_and_frames_are_the_whole(kind, part):
    """In bands, a few frames at a time, and both. Some networks see all frames of a clip at once."""
    vae, (family, config) = small(kind), SMALL[kind]
    assert (vae.family, vae.config) == (family, config)
    x = given(vae, part, 4)
    want = run_half(vae, part, x)
    assert apart(run_half(vae, part, -x), want) > 1e-4, "the result does not depend on the image"
    cut = x.ndim == 4 and splits_in_time(vae.network.encode_ops() if part == "encode" else vae.network.decode_ops())
    assert cut == (x.ndim == 4 and (kind, part) not in AT_ONCE)
    for way in (*BANDS[family == "effnet" :], *(FRAMES if cut else ())):  # whose many layers are slow row by row
        assert apart(run_half(vae, part, x, **way), want) < EXACT, way


@pytest.mark.parametrize("kind", of_clips())
@torch.no_grad()
def test_images_in_bands_are_the_whole(kind):
    """Of networks of clips: the rewritten network that sees one frame. One runs images as clips."""
    vae = small(kind)
    for part in ("encode", "decode") if not (vae.clip_law and vae.clip_law.images_are_clips) else ():
        x = given(vae, part, 1)[:, 0]
        for numbers in (1, 300):
            assert apart(run_half(vae, part, x, numbers), run_half(vae, part, x)) < EXACT


@pytest.mark.parametrize("dtype", mark_slow(HALVES, ["fp16"]))
@pytest.mark.parametrize("kind", SMALL)
@torch.no_grad()
def test_half_precision(kind, dtype):
    """Of the same rounded weights and input, whole and in bands: as near to fp32 as the family states."""
    family, _ = SMALL[kind]
    half, stated = HALVES[dtype], getattr(ROUNDING[family], dtype)
    weights = {name: t.to(half) for name, t in random_weights(*SMALL[kind]).items()}
    exact, rough = (from_weights({n: t.float() for n, t in weights.items()}) for _ in range(2))
    rough.to(dtype=half)  # what loading would not do on a CPU
    assert all(p.dtype is half for p in rough.network.parameters())
    for part in ("encode", "decode"):
        x = given(exact, part, 2).to(half)
        want = run_half(exact, part, x.float())
        for numbers in (0, 3000):
            got = run_half(rough, part, x, numbers)
            assert got.dtype is torch.float32 and torch.isfinite(got).all()
            assert (got - want).square().mean().sqrt() <= stated * want.std()


@pytest.mark.parametrize("kind", of_clips())
def test_latent_frames_are_those_that_encoding_makes(kind):
    family, config = SMALL[kind]
    for frames in (1, 2, 4, 5, 8, 9, 22, 23, 39):
        made = make_request(family, config, Half.ENCODER, (1, 3, frames, 32, 32), torch.float32)
        found = made.shape[0] if len(made.shape) == 4 else 1
        assert count_latent_frames(family, config, frames) == found


def test_a_vae_of_images_makes_a_latent_of_each_frame():
    assert count_latent_frames(*SMALL["kl"], 7) == 7


def test_the_page_says_what_families_state():
    """Of fp16's largest number, and how much is rounded: docs/exactness.md."""
    page = (Path(__file__).parents[3] / "docs" / "exactness.md").read_text()
    rows = [f"| {family.name} | {family.rounding.overflows} |" for family in FAMILIES if family.rounding.overflows]
    assert "| family | in fp16 |\n|---|---|\n" + "\n".join(rows) + "\n\n" in page
    (one,) = {family.rounding[:2] for family in FAMILIES}
    assert f"{one[0]:.1%} and {one[1]:.2%}".replace("%", " %") in page
