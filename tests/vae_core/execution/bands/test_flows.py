"""Bands of any height, held anywhere, give the image of the whole run."""

import weakref

import pytest
import torch
from exact_vae.vae_core.checkpoints.loading import assemble
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.bands.flows import Normalization, Pointwise, build_flow
from exact_vae.vae_core.execution.bands.holding import Banding, HeldFlow, RecomputedFlow, Source
from exact_vae.vae_core.execution.bands.moments import Moments
from exact_vae.vae_core.execution.bands.readers import Reader, balance, fork
from exact_vae.vae_core.execution.bands.sides import RowByRow, split_side
from exact_vae.vae_core.execution.bands.stores import InSystemMemory, OnDevice, OnDisk
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import FAMILIES, dc_ae
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.hunyuan_image import HunyuanImageConfig
from exact_vae.vae_core.families.registry import build
from exact_vae.vae_core.families.vq import VQConfig
from exact_vae.vae_core.ops import (
    Affine,
    Conv2d,
    EveryNth,
    PixelShuffle,
    Residual,
    SideInput,
    Upsample2x,
    leaves,
    plus,
    silu,
    times,
)
from support.random_networks import random_weights, small_kl
from support.tensors import roundings
from torch import nn

TINY = next(family.example for family in FAMILIES if family.name == "tiny")
HUNYUAN = HunyuanImageConfig(
    4, Coder((32, 32, 64), (1, 1, 1), (False,) * 3, stem=32), Coder((64, 64, 32), (2, 1, 1), (False,) * 3)
)
SHORTCUTS = Coder((32, 64, 32), (1, 1, 1), (False, True, False), stem=32)
PLAIN = dc_ae.Coder((32, 32, 64), (1, 2, 1), (False, True, True), (False,) * 3, (3, 5), shuffled=False, joined=False)
SHUFFLED = dc_ae.Coder(
    (0, 32, 64), (0, 1, 2), (False, False, True), (False, True, False), (), shuffled=True, joined=True
)
MOVQ = VQConfig(4, 4, 20, SHORTCUTS, SHORTCUTS, spatial=True)
NETWORKS = {
    "kl": ("kl", small_kl()),
    "kl with attention in its levels": ("kl", small_kl(encoder=SHORTCUTS, decoder=SHORTCUTS)),
    "tiny": ("tiny", TINY),
    "dc_ae": ("dc_ae", dc_ae.DCAEConfig(4, PLAIN, PLAIN)),
    "dc_ae, shuffled": ("dc_ae", dc_ae.DCAEConfig(4, SHUFFLED, SHUFFLED)),
    "hunyuan_image": ("hunyuan_image", HUNYUAN),
    "MoVQ": ("vq", MOVQ),
}
STORES = {"device": OnDevice, "system memory": InSystemMemory, "disk": OnDisk}
HEIGHTS = [1, 40, 700, 10**9]  # numbers in a band


def network(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    family, config = NETWORKS[name]
    return assemble(family, config, random_weights(family, config), dtype, torch.device("cpu"))


class Told(Observer):
    """Calls a function with every op and the band it has made."""

    def __init__(self, tell):
        self.end_op = tell


def in_bands(ops, x: torch.Tensor, banding: Banding, tell=lambda op, band: None) -> torch.Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.cat(list(build_flow(fuse(ops), Source(x, banding), banding, Told(tell)).read(last=True)), -2)


def apart(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("numbers", HEIGHTS)
@pytest.mark.parametrize("size", [(1, 2), (2, 7), (13, 9), (16, 16)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_bands_equal_the_whole(name, size, numbers):
    net = network(name)
    torch.manual_seed(2)  # of two pixels, some have next to no variance to be divided by
    z = torch.randn(1, 4, *size, dtype=torch.float64)
    pixels = whole.run(net.decode_ops(), z.clone())
    assert apart(in_bands(net.decode_ops(), z, Banding(numbers, OnDevice())), pixels) < 1e-12
    x = torch.rand_like(pixels) * 2 - 1
    moments = whole.run(net.encode_ops(), x.clone())
    assert apart(in_bands(net.encode_ops(), x, Banding(numbers, OnDevice())), moments) < 1e-12


@pytest.mark.parametrize("given", [False, True], ids=["the input", "another image"])
@pytest.mark.parametrize("numbers", HEIGHTS)
@torch.no_grad()
def test_besides_in_bands_equal_the_whole(numbers, given):
    """After norms, inside residual blocks, one inside the other; beside the input, or an image four times as large."""
    fit = (EveryNth(4),) if given else ()
    modulate = SideInput(
        (*fit, Conv2d(3, 8), Upsample2x(), SideInput((*fit, Conv2d(3, 8, 1), Upsample2x()), times)), times
    )
    block = Residual(
        (nn.GroupNorm(2, 8), modulate, silu, Conv2d(8, 8), SideInput((*fit, Upsample2x(), Conv2d(3, 8)), plus))
    )
    ops = (Conv2d(3, 8), SideInput((*fit, Conv2d(3, 8, 5)), plus), Upsample2x(), Conv2d(8, 8), block, block)
    for op in leaves(ops):
        if isinstance(op, nn.Module):
            op.double()
    x = torch.randn(1, 3, 7, 5, dtype=torch.float64)
    other = torch.randn(1, 3, 28, 20, dtype=torch.float64)
    want = whole.run(ops, x.clone(), side_input=other if given else None)
    banding = Banding(numbers, OnDevice())
    banding = banding._replace(side_input=Source(other, banding)) if given else banding
    assert apart(in_bands(ops, x, banding), want) < 1e-12


@torch.no_grad()
def test_a_side_is_made_of_the_rows_that_a_band_needs():
    """Whatever is read at a time, from bands of any heights; and at most one row more on either side is made of it."""
    x, made = torch.randn(2, 9, 5, 3), []
    far, near = split_side((Conv2d(9, 9), Conv2d(9, 9, 1), Upsample2x(), PixelShuffle(n=3), Upsample2x()))
    assert len(far) == 1 and not split_side((Upsample2x(), EveryNth(2)))[1]
    want = whole.run(near, x.clone())
    for cuts in ([5], [1, 3, 1], [2, 3]):
        side = RowByRow(iter(x.split(cuts, -2)), near, Told(lambda op, band: made.append(band.shape[-2])), False)
        heights = [1, 1, 7, 12, 2, 13, 24]
        torch.testing.assert_close(torch.cat([side.read(n) for n in heights], -2), want)
        side.finish()
    assert max(made) <= 24 + 2 and len(made) == 3 * len(near) * len(heights)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_wherever_bands_are_held(name, store):
    net, z = network(name), torch.randn(1, 4, 12, 8, dtype=torch.float64)
    kept = z.clone()
    held = STORES[store]()
    assert apart(in_bands(net.decode_ops(), z, Banding(500, held)), whole.run(net.decode_ops(), z.clone())) < 1e-12
    assert torch.equal(z, kept)
    held.close()
    held.close()


# In bf16 most of the error is of what is stored, which both store as often: what is left between them is chance, of
# several thousand pixels a hundredth or two. In fp32 it is of the sums, whose order is the backend's, and which may be
# another of bands than of the whole: n numbers one after another are off by (n / 2) ** 0.5 times a unit, in pairs by
# log2(n) ** 0.5 times it. Of n = 9 * 64 taps one is 5.6 times the other.
NO_WORSE = {torch.bfloat16: 1.1, torch.float32: 5.6}


@pytest.mark.parametrize("dtype", NO_WORSE)
@torch.no_grad()
def test_rounding_is_no_worse_than_that_of_the_whole(dtype):
    """Against the truth in float64, from the same rounded weights."""
    family, config = NETWORKS["kl"]
    weights = {name: t.to(dtype) for name, t in random_weights(family, config).items()}
    exact, rough = (assemble(family, config, weights, d, torch.device("cpu")) for d in (torch.float64, dtype))
    generator = torch.Generator().manual_seed(0)
    bands, once = roundings(
        lambda z: whole.run(exact.decode_ops(), z.double()),
        [torch.randn(1, 4, 6, 6, generator=generator).to(dtype) for _ in range(8)],
        lambda z: in_bands(rough.decode_ops(), z, Banding(1500, OnDevice())),
        lambda z: whole.run(rough.decode_ops(), z.clone()),
    )
    assert bands < NO_WORSE[dtype] * once


class Ledger(OnDevice):
    """Counts the numbers that are held."""

    def __init__(self):
        self.now = self.most = 0

    def put(self, band):
        held, ledger, size = super().put(band), self, band.numel()
        ledger.now += size
        ledger.most = max(ledger.most, ledger.now)
        let_go = held.release
        held.release = lambda: (setattr(ledger, "now", ledger.now - size), let_go())  # type: ignore[method-assign]
        return held


@torch.no_grad()
def test_a_residual_block_peaks_near_two_activations():
    body = (nn.GroupNorm(2, 8), Conv2d(8, 8), nn.GroupNorm(2, 8), Conv2d(8, 8))
    ops = (Residual(body), Residual(body), nn.GroupNorm(2, 8))
    ledger, x = Ledger(), torch.randn(1, 8, 64, 10)
    in_bands(ops, x, Banding(4 * 80, ledger))
    assert 2 * x.numel() <= ledger.most <= 2.2 * x.numel()
    assert ledger.now == 0  # and all of it is gone in the end


@torch.no_grad()
def test_a_network_without_norms_holds_nothing():
    ledger = Ledger()
    ops = (Conv2d(3, 8), Residual((Conv2d(8, 8), Conv2d(8, 8))), Upsample2x(), Conv2d(8, 3))
    in_bands(ops, torch.randn(1, 3, 40, 10), Banding(100, ledger))
    assert ledger.most == 0


@torch.no_grad()
def test_what_is_dropped_is_computed_again():
    x, norm, conv = torch.randn(1, 8, 30, 10, dtype=torch.float64), nn.GroupNorm(2, 8).double(), Conv2d(8, 8).double()
    banding, made = Banding(200, OnDevice()), []
    source = build_flow((conv,), Source(x, banding), banding, Told(lambda op, band: made.append(band.shape[-2])))
    dropped = Normalization(norm, RecomputedFlow(source, Observer()), Observer())
    assert apart(torch.cat(list(dropped.read(last=True)), -2), norm(conv(x))) < 1e-12
    assert sum(made) == 2 * 30


def test_a_run_can_be_stopped():
    banding = Banding(50, OnDevice())

    def stop(op, band):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), torch.no_grad():
        in_bands((Conv2d(3, 3),), torch.randn(1, 3, 9, 9), banding, stop)


@torch.no_grad()
def test_every_row_of_every_op_is_announced():
    rows: dict[int, int] = {}
    ops = network("kl").decode_ops()

    def count(op, band):
        if isinstance(op, nn.Module):
            rows[id(op)] = rows.get(id(op), 0) + band.shape[-2]

    in_bands(ops, torch.randn(1, 4, 7, 5, dtype=torch.float64), Banding(300, OnDevice()), count)
    assert set(rows.values()) == {7, 14, 28}


def test_moments_survive_a_large_mean():
    """Sums of squares would have lost the variance entirely."""
    x = 1000 + 0.01 * torch.randn(1, 8, 64, 64)
    parts = [Moments.of(band) for band in x.split(5, -2)]
    found = parts[0]
    for part in parts[1:]:
        found = found.merge(part)
    mean, var = found.of_groups(4)
    groups = x.double().reshape(4, -1)
    assert torch.allclose(mean[0].double(), groups.mean(1).repeat_interleave(2), rtol=1e-7)
    assert torch.allclose(var[0].double(), groups.var(1, unbiased=False).repeat_interleave(2), rtol=2e-2)
    assert found.n == 64 * 64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_of_half_precision_are_in_fp32(dtype):
    x = (3 + torch.randn(1, 4, 9, 11)).to(dtype)
    found = Moments.of(x)
    assert found.mean.dtype == found.squares.dtype == torch.float32
    assert torch.allclose(found.mean[0], x.double().mean((0, 2, 3)).float(), atol=1e-5)


def test_balanced_bands_are_of_about_one_height():
    x = torch.arange(100.0).reshape(1, 1, 100, 1)
    pieces = list(balance(iter(x.split([1, 1, 1, 40, 2, 30, 25], -2)), 10))
    assert torch.equal(torch.cat(pieces, -2), x)
    assert all(5 <= piece.shape[-2] <= 15 for piece in pieces)
    assert [p.shape[-2] for p in balance(iter([x[..., :3, :]]), 10)] == [3]


def test_a_reader_takes_any_number_of_rows():
    x = torch.arange(20.0).reshape(1, 1, 20, 1)
    reader = Reader(iter(x.split([7, 1, 12], -2)))
    taken = [reader.read(n) for n in (2, 5, 6, 1, 6)]
    assert [t.shape[-2] for t in taken] == [2, 5, 6, 1, 6]
    assert torch.equal(torch.cat(taken, -2), x)


def test_a_fork_lets_go_of_what_both_have_read():
    bands = iter([torch.zeros(1), torch.ones(1)])
    left, right = fork(bands)
    assert next(left) == 0 and next(left) == 1
    assert [float(b) for b in right] == [0, 1] and list(left) == []


@torch.no_grad()
def test_a_hold_is_filled_once():
    banding, made = Banding(4, OnDevice()), []
    tell = Told(lambda op, band: made.append(op))
    source = Pointwise(Affine(2.0, 0.0), Source(torch.ones(1, 1, 8, 2), banding), banding, tell)
    hold = HeldFlow(source, banding, Observer())
    for last in (False, False, True):
        assert sum(band.sum() for band in hold.read(last)) == 32
    assert len(made) == 4 and hold.gone == len(hold.held)


@torch.no_grad()
def test_the_meta_device_runs_it_too():
    """So a plan can be made without numbers."""
    net = build("kl", small_kl())
    y = in_bands(net.decode_ops(), torch.empty(1, 4, 6, 6, device="meta"), Banding(100, OnDevice()))
    assert y.shape == (1, 3, 24, 24) and y.is_meta


@torch.no_grad()
def test_a_long_network_keeps_few_bands():
    """Generators that wait must not hold what they have handed on: forty layers, as many bands otherwise."""
    gone: list[weakref.ref] = []
    most = 0

    def count(op, band):
        nonlocal most
        gone.append(weakref.ref(band))
        most = max(most, sum(ref() is not None for ref in gone))

    ops = (Conv2d(4, 4), *(Residual((Conv2d(4, 4), Affine(2.0, 0.0), Conv2d(4, 4))) for _ in range(13)))
    banding = Banding(10 * 24, OnDevice())
    for _ in build_flow(ops, Source(torch.randn(1, 4, 200, 6), banding), banding, Told(count)).read(last=True):
        pass
    assert 2 <= most <= 8


def test_a_shortcut_that_is_too_short_is_no_silent_end():
    half = Conv2d(1, 1, 3, stride=2)
    with pytest.raises(AssertionError, match="fewer rows"), torch.no_grad():
        in_bands((Residual((Conv2d(1, 1),), (half,)),), torch.randn(1, 1, 9, 1), Banding(3, OnDevice()))


@pytest.mark.parametrize(("numbers", "calls"), [(3, 3), (9, 1)])
@torch.no_grad()
def test_no_convolution_runs_for_the_last_row_alone(numbers, calls):
    """Each call lays out its weights anew: at a low resolution, where an image is one band, it would cost as much."""
    made: list[int] = []
    ops, x = (Conv2d(1, 1),), torch.randn(1, 1, 9, 1)
    got = in_bands(ops, x, Banding(numbers, OnDevice()), lambda op, band: made.append(band.shape[-2]))
    assert torch.allclose(got, ops[0](x), atol=1e-6) and sum(made) == 9 and len(made) == calls


def test_a_source_that_ends_too_early_is_no_silent_end():
    banding = Banding(3, OnDevice())
    source = Source(torch.randn(1, 1, 9, 1), banding)
    source.rows = 12
    with pytest.raises(AssertionError, match="than were announced"), torch.no_grad():
        list(build_flow((Conv2d(1, 1),), source, banding, Observer()).read(last=True))
