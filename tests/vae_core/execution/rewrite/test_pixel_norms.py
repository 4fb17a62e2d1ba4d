"""Norms of pixels with SiLU after them, written where the convolution over frames reads: the same, in fewer tensors."""

import pytest
import torch
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.plans.shapes import Census, ShapesOnly
from exact_vae.vae_core.execution.rewrite import fuse as rewriting
from exact_vae.vae_core.execution.rewrite.pixel_norms import PixelNorm, PixelNormBack, join_pixel_norms
from exact_vae.vae_core.families.blocks.wan import RMSNorm
from exact_vae.vae_core.ops import LookBack, as_single_frame, chain, leaves, silu
from support.small_networks import run_half, small

KINDS = ("wan", "wan: 2.2", "hunyuan_video_15")
WAYS = ({}, {"numbers": 300}, {"frames": 1}, {"frames": 2, "numbers": 300})


def draw(vae, part):
    """Three latent frames of z, or their pixels."""
    n, ratio = (vae.in_channels, vae.spatial_ratio) if part == "encode" else (vae.latent_channels, 1)
    frames = 1 + 2 * vae.temporal_ratio if part == "encode" else 3
    shape = (n, frames, 2 * ratio, 3 * ratio)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def apart(monkeypatch):
    """From here on nothing is joined."""
    return lambda: monkeypatch.setattr(rewriting, "join_pixel_norms", lambda ops: ops)


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_computes_the_same(kind, part, apart):
    vae = small(kind)
    x = draw(vae, part)
    made = [run_half(vae, part, x, **way) for way in WAYS]
    apart()
    want = run_half(vae, part, x)
    assert torch.equal(made[0], want)
    assert all((one - want).abs().max() < 1e-12 * want.abs().max() for one in made)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.no_grad()
def test_the_bits_are_those_of_three_ops(dtype, repeats):
    """At the start of a clip and later, with as many frames kept as the convolution wants."""
    norm, back = RMSNorm(6).to(dtype), LookBack(2, repeats)
    torch.nn.init.normal_(norm.gamma)
    (joined,) = join_pixel_norms((norm, silu, back))
    assert isinstance(joined, PixelNormBack) and joined.original is norm
    past = known = None
    for t in (1, 3, 2):
        x = torch.randn(t, 5, 4, 6, dtype=torch.float64).to(dtype).permute(0, 3, 1, 2)
        want, past = back.advance(silu(norm(x)), past)
        made, known = joined.advance(x, known)
        assert torch.equal(made, want) and torch.equal(known, past)
        assert made.is_contiguous(memory_format=torch.channels_last)


def test_what_is_joined():
    ops = small("wan").network.decode_ops()
    made = list(leaves(join_pixel_norms(ops)))
    assert not any(isinstance(op, RMSNorm) or op is silu for op in made)
    assert any(isinstance(op, PixelNorm) and not op.silu for op in made)  # before attention
    assert sum(isinstance(op, LookBack) for op in made) == 1  # of the first convolution, which follows another
    alone = list(leaves(join_pixel_norms(as_single_frame(ops))))
    assert not any(isinstance(op, (PixelNormBack, LookBack)) for op in alone)
    assert len(list(leaves(as_single_frame(join_pixel_norms(ops))))) == len(alone)
    assert len(join_pixel_norms(chain(silu, RMSNorm(2), silu, silu))) == 3


class Joined(Census):
    """Numbers that were copied into joined tensors."""

    numbers = 0

    def see(self, name, made, args):
        self.numbers += made.numel() if name == "cat" else 0


@torch.no_grad()
def test_frames_before_are_not_joined_by_copies(apart):
    """Of all that is copied to stand beside the frames before it, what a decoder makes last is the most."""
    network = small("wan").network.to("meta")
    x = torch.empty(3, 4, 2, 3, dtype=torch.float64, device="meta")

    def count() -> int:
        census = Joined()
        with ShapesOnly(census):
            whole.run(rewriting.fuse(network.decode_ops()), x, in_place=True)
        return census.numbers

    together = count()
    apart()
    assert together < 0.4 * count()
