"""An op on the nearest rows, in bands of any height: what it makes of the whole image."""

import pytest
import torch
from exact_vae.vae_core.execution.bands.flows import read_flow
from exact_vae.vae_core.execution.bands.holding import Banding, Source
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.ops import FromTop, Near, Residual, as_single_frame, begin_window


class Sum(Near):
    """Of the rows that each sees."""

    def __init__(self, reach: int):
        self.reach = reach

    def compute_rows(self, x, first, count):
        reach = min(self.reach, x.shape[-2])
        rows = [x.narrow(-2, begin_window(at, reach, x.shape[-2]), reach).sum(-2) for at in range(first, first + count)]
        return torch.stack(rows, -2)

    def __call__(self, x):
        return self.compute_rows(x, 0, x.shape[-2])


class Count(FromTop):
    """Adds to each row how many were above it."""

    def begin(self):
        above = [0]

        def add(x):
            above[0] += x.shape[-2]
            return x + torch.arange(above[0] - x.shape[-2], above[0], dtype=x.dtype)[:, None]

        return add


def in_bands(ops, x, rows: int):
    banding = Banding(rows * x.shape[1] * x.shape[3], OnDevice())
    return [band.clone() for band in read_flow(ops, Source(x, banding), banding, Observer())]


@pytest.mark.parametrize("height", [1, 4, 7, 8, 23])
@pytest.mark.parametrize("reach", [1, 2, 5, 7, 11])
@pytest.mark.parametrize("rows", [1, 2, 3, 9, 100])
def test_bands_are_the_whole(height, reach, rows):
    x = torch.randn(2, 3, height, 5, generator=torch.Generator().manual_seed(height), dtype=torch.float64)
    op = Sum(reach)
    ops = (op, Residual((op, op)), op)
    y = op(x)
    y = op(y + op(op(y)))
    torch.testing.assert_close(torch.cat(in_bands(ops, x, rows), -2), y, rtol=1e-13, atol=1e-13)


def test_rows_are_made_as_soon_as_all_that_they_see_is_there():
    x = torch.randn(1, 1, 20, 1)
    assert [band.shape[-2] for band in in_bands((Sum(7),), x, 4)] == [5, 4, 4, 7]


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_what_depends_on_the_rows_above(rows):
    x = torch.zeros(1, 1, 11, 2)
    want = torch.arange(11.0)[:, None].expand(11, 2)
    assert torch.equal(Count()(x)[0, 0], want)
    assert torch.equal(torch.cat(in_bands((Count(),), x, rows), -2)[0, 0], want)


def test_images_of_a_batch_are_no_frames_that_see_each_other():
    """An op that reads other frames must say what it does to images; one that does not is the same for them."""
    op = Sum(3)
    with pytest.raises(NotImplementedError):
        as_single_frame((op,))
    op.over_frames = False
    assert as_single_frame((op,)) == (op,)
