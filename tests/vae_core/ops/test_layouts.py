"""How weights of convolutions lie in memory."""

import pytest
import torch
from exact_vae.vae_core.ops.time import TAPS, TAPS_CHANNELS_LAST, Conv3d


@pytest.mark.parametrize("order, back", (TAPS, TAPS_CHANNELS_LAST))
def test_orders_of_taps_undo_each_other(order, back):
    weight = torch.randn(6, 5, 3, 2, 4)
    laid = weight.permute(order).contiguous().permute(back)
    assert torch.equal(laid, weight)
    layout = torch.channels_last if order is TAPS_CHANNELS_LAST[0] else torch.contiguous_format
    assert laid[:, :, 1].is_contiguous(memory_format=layout)


def test_taps_are_laid_out_once():
    conv = Conv3d(2, 3, 3)
    before, taps = conv.weight.clone(), conv.taps()
    where = conv.weight.data_ptr()
    assert all(tap.is_contiguous() for tap in taps) and torch.equal(conv.weight, before)
    assert conv.taps()[0].data_ptr() == taps[0].data_ptr() and conv.weight.data_ptr() == where
