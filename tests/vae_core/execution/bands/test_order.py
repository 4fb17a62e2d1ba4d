"""What is held is computed in its order: the same numbers in the same memory, however deep a network is."""

import pytest
import torch
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.bands.flows import build_flow, read_flow
from exact_vae.vae_core.execution.bands.holding import Banding, Source
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.ops import Conv2d, Residual
from support.small_networks import small
from torch import nn


class Counting(OnDevice):
    """Knows how many numbers it held at most."""

    def __init__(self):
        self.held = self.most = 0

    def put(self, band):
        self.held += band.numel()
        self.most = max(self.most, self.held)
        stored = super().put(band)
        release, size = stored.release, band.numel()

        def let_go():
            self.held -= size
            release()

        stored.release = let_go
        return stored


def test_deeper_than_functions_may_call_one_another():
    torch.manual_seed(0)
    ops = tuple(Residual((nn.GroupNorm(1, 2).double(), Conv2d(2, 2).double())) for _ in range(300))
    x, banding = torch.randn(1, 2, 5, 4, dtype=torch.float64), Banding(8, OnDevice())
    with torch.no_grad():
        got = torch.cat(list(read_flow(ops, Source(x, banding), banding, Observer())), -2)
        want = whole.run(ops, x)
    assert (got - want).abs().max() < 1e-11 * want.abs().max()


@pytest.mark.parametrize("kind", ["kl", "vq: MoVQ", "mage"])
@torch.no_grad()
def test_no_more_is_held_than_if_each_flow_asks_the_one_before(kind):
    vae = small(kind)
    ops, x = vae.network.decode_ops(), torch.randn(1, 4, 6, 5, dtype=torch.float64)
    most, made = [], []
    for in_order in (True, False):
        store = Counting()
        banding = Banding(900, store)
        banding = banding._replace(side_input=Source(x, banding))
        source = Source(x, banding)
        bands = read_flow(ops, source, banding, Observer()) if in_order else None
        bands = bands or build_flow(ops, source, banding, Observer()).read(last=True)
        made.append(torch.cat(list(bands), -2))
        most.append(store.most)
        assert store.held == 0
    assert torch.equal(*made) and most[0] == most[1] > 0
