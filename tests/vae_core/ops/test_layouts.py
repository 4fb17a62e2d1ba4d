"""How weights of convolutions lie in memory."""

import pytest
import torch
from exact_vae.vae_core.ops import CHANNELS_LAST, lay_out
from exact_vae.vae_core.ops.time import CHANNELS_LAST_3D, TAPS, TAPS_CHANNELS_LAST, Conv3d


@pytest.mark.parametrize(
    ("order", "layout"),
    [
        (TAPS, torch.contiguous_format),
        (TAPS_CHANNELS_LAST, torch.channels_last),
        (CHANNELS_LAST, torch.channels_last),
        (CHANNELS_LAST_3D, torch.channels_last_3d),
    ],
)
def test_numbers_stay_where_a_weight_is_laid_out_anew(order, layout):
    """Taps of several frames lie one after the other, each in its layout."""
    before = torch.randn((6, 5, 3, 2, 4)[: len(order)])
    weight = before.clone()
    lay_out(weight, order)
    where = weight.data_ptr()
    lay_out(weight, order)
    assert torch.equal(weight, before) and weight.data_ptr() == where
    laid = weight[:, :, 1] if order[0] == 2 else weight
    assert laid.is_contiguous(memory_format=layout)


def test_taps_are_laid_out_once():
    conv = Conv3d(2, 3, 3)
    before, taps = conv.weight.clone(), conv.taps()
    where = conv.weight.data_ptr()
    assert all(tap.is_contiguous() for tap in taps) and torch.equal(conv.weight, before)
    assert conv.taps()[0].data_ptr() == taps[0].data_ptr() and conv.weight.data_ptr() == where
