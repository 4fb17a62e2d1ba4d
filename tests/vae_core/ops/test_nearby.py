"""Attention to the nearest pixels and frames: against the matrix of all scores, whole and row by row."""

import pytest
import torch
from exact_vae.vae_core.ops import attend_nearby, begin_window, nearby
from torch.nn import functional as F


def begin(at: int, reach: int, length: int) -> int:
    """Of the window of NATTEN, spelled out: in the middle of it where it may be."""
    fitting = [first for first in range(length - reach + 1) if first <= at < first + reach]
    return min(fitting, key=lambda first: abs(first + reach // 2 - at))


def see(length: int, reach: int) -> torch.Tensor:
    """(queries, keys) of one axis."""
    reach = min(reach, length)
    begins = torch.tensor([begin(at, reach, length) for at in range(length)])[:, None]
    places = torch.arange(length)
    return (places >= begins) & (places < begins + reach)


def attend_to_all(q, k, v, kernel):
    """By the scores of every query with every key."""
    t, h, w, heads, c = q.shape
    masks = (see(length, reach) for length, reach in zip((t, h, w), kernel, strict=True))
    seen = torch.einsum("ai,bj,ck->abcijk", *(mask.double() for mask in masks)).flatten(3).flatten(0, 2) > 0
    flat = (x.flatten(0, 2).transpose(0, 1) for x in (q, k, v))
    return F.scaled_dot_product_attention(*flat, seen).transpose(0, 1).view(t, h, w, heads, c)


def draw(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


CASES = [
    ((5, 19, 21), (3, 7, 7)),
    ((1, 9, 30), (3, 5, 5)),
    ((13, 4, 17), (11, 11, 11)),
    ((2, 3, 2), (11, 11, 11)),
    ((4, 8, 8), (1, 1, 1)),
]


@pytest.mark.parametrize(("size", "kernel"), CASES)
def test_each_sees_its_window(size, kernel):
    q, k, v = draw(*size, 2, 4)
    got = attend_nearby(q, k, v, kernel)
    torch.testing.assert_close(got, attend_to_all(q, k, v, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize("at_once", [1, 2**12])
def test_few_blocks_at_once(at_once, monkeypatch):
    monkeypatch.setattr(nearby, "AT_ONCE", at_once)
    q, k, v = draw(3, 10, 40, 2, 4)
    torch.testing.assert_close(attend_nearby(q, k, v, (3, 5, 5)), attend_to_all(q, k, v, (3, 5, 5)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("first", "count"), [(0, 3), (4, 1), (11, 9), (0, 20)])
def test_some_rows_of_what_they_see(first, count):
    """A few rows of the result are made of the rows that they see, wherever these begin."""
    q, k, v = draw(2, 20, 9, 1, 4)
    want = attend_nearby(q, k, v, (3, 7, 5))[:, first : first + count]
    low, high = begin_window(first, 7, 20), begin_window(first + count - 1, 7, 20) + 7
    got = attend_nearby(q[:, first : first + count], k[:, low:high], v[:, low:high], (3, 7, 5), first - low)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


def test_the_largest_blocks_are_enough_for_a_count():
    """So that planning takes no time for each of them."""
    axes = [nearby.cut_axis(0, length, length, 7, 8) for length in (43, 44, 1001)]

    def count(frames, rows, columns) -> int:
        return frames.seen * rows.seen * columns[0].seen * len(columns)

    every = [count(*blocks) for blocks in nearby._list_blocks(axes, 64)]
    (largest,) = nearby._list_blocks(axes, 64, largest=True)
    assert len(every) > 100 and count(*largest) == max(every)
