"""Tiles and chunks that networks are defined by: where they lie, and that what is blended is all there."""

from itertools import pairwise

import pytest
import torch
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.ops import Chunked, Tiled
from exact_vae.vae_core.ops.tiles import cut


@pytest.mark.parametrize(("side", "overlap"), [(16, 4), (4, 1), (5, 2)])
def test_tiles_cover_a_side(side, overlap):
    for length in range(1, 100):
        cuts = cut(length, side, overlap)
        assert cuts[0].start == 0 and cuts[-1].end == length and sum(one.shown for one in cuts) == length
        for one, after in pairwise(cuts):
            assert one.end - one.start == side and after.start == one.start + one.shown
            assert after.shared == one.end - after.start >= overlap
        shared = [one.shared for one in cuts[1:]]
        assert max(shared, default=0) - min(shared, default=0) <= 1 and shared == sorted(shared, reverse=True)
        assert (length <= side) == (len(cuts) == 1)


def test_as_the_page_has_it():
    assert [(one.start, one.shared) for one in cut(40, 16, 4)] == [(0, 0), (12, 4), (24, 4)]


def keep(x: torch.Tensor) -> torch.Tensor:
    return x + 0


@pytest.mark.parametrize("size", [(3, 4), (5, 9), (8, 23)])
def test_what_is_the_same_in_all_tiles_stays(size):
    """Fades sum to 1, in both directions."""
    x = torch.randn(2, 3, *(2 * n for n in size), dtype=torch.float64)
    assert (whole.run((Tiled((keep,), 4, 1, (2, 2)),), x) - x).abs().max() < 1e-14


@pytest.mark.parametrize("frames", [2, 7, 8, 12, 23])
def test_chunks_fade_into_one_another(frames):
    x = torch.randn(frames, 3, 4, 5, dtype=torch.float64)
    op = Chunked((keep,), 7, 5, 5, lambda n: n, (1, 1), continues=True)
    assert (whole.run((op,), x) - x).abs().max() < 1e-14


def test_gradients_go_through():
    x = torch.randn(12, 3, 10, 9, dtype=torch.float64, requires_grad=True)
    chunks = Chunked((keep,), 7, 5, 5, lambda n: n, (1, 1), continues=True)
    whole.run((Tiled((chunks,), 4, 1, (1, 1)),), x).sum().backward()
    assert x.grad is not None and (x.grad - 1).abs().max() < 1e-14
