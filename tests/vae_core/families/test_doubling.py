"""Doublings joined in half precision: from numbers before rounding, and never when a weight was changed."""

import pytest
import torch
from exact_vae.vae_core import Half, from_weights, load, save
from exact_vae.vae_core.execution import make_request
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.families.doubling import are_joined, list_doubled, list_ops
from exact_vae.vae_core.ops import Conv2d, DoublingConv, Upsample2x, leaves
from exact_vae.vae_core.verdicts import copy_to
from support.live_memory import LiveMemory
from support.processors import pretend
from support.random_networks import random_weights
from support.small_networks import SMALL

CPU, BF16 = torch.device("cpu"), torch.bfloat16
HALVES = (torch.bfloat16, torch.float16)
Z = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def fp32_sums(monkeypatch):
    """As on a GPU, and on a processor that computes in half precision."""
    pretend(monkeypatch, faster_in_fp32=True)


def make(dtype=BF16, kind="kl", weights=None, **how):
    """A small VAE around weights in fp32, run in this dtype; on a CPU too, if it is asked for like this."""
    return from_weights(weights or random_weights(*SMALL[kind]), kind, dtype, **how)


def joined(vae) -> bool:
    return are_joined(list_ops(vae.network, Half.DECODER))


def doubled(vae) -> Conv2d:
    return list_doubled(vae.network)[0]


def sum_plainly(weight):
    """Three taps in each direction -> four, in float64."""
    sums = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float64)
    return torch.einsum("oiyx,py,qx->iopq", weight.double(), sums, sums)


@pytest.mark.parametrize("dtype", HALVES)
def test_taps_are_sums_of_the_numbers_in_the_file_rounded_once(dtype):
    vae, exact = make(dtype), make(torch.float32)
    (op,) = (op for op in leaves(list_ops(vae.network, Half.DECODER)) if isinstance(op, DoublingConv))
    assert torch.equal(op.weight, sum_plainly(doubled(exact).weight).to(dtype))
    assert op.weight.dtype is dtype and op.bias is doubled(vae).bias and op.original is doubled(vae)


@pytest.mark.parametrize("dtype", (torch.float32, *HALVES))
def test_sums_of_many_channels_are_made_little_by_little(dtype):
    """As exact, and never much more in memory than what is kept, however many channels."""
    conv, before = Conv2d(1024, 8).to(dtype), torch.randint(-999, 999, (8, 1024, 3, 3)) / 256  # sums are exact in fp32
    with LiveMemory() as memory:
        op = DoublingConv(conv, before)
    assert memory.most - before.nbytes < 1.5 * op.weight.nbytes
    assert torch.equal(op.weight, sum_plainly(before).to(dtype))


def test_of_weights_in_half_precision_there_are_no_such_numbers():
    low = {name: t.to(BF16) for name, t in random_weights(*SMALL["kl"]).items()}
    assert not joined(make(weights=low))
    assert not joined(make(weights={name: t.float() for name, t in low.items()})), "fp32 that holds no more digits"
    assert joined(make(weights={name: t.half() for name, t in random_weights(*SMALL["kl"]).items()}))
    assert not joined(make(torch.float16, weights=low)), "fewer digits"
    assert not joined(make(torch.float32))  # which needs none: `fuse` joins all of them
    assert are_joined(fuse(make(torch.float32).network.decode_ops()))


def test_the_numbers_are_no_part_of_the_weights():
    vae = make()
    plain = make(weights={name: t.to(BF16) for name, t in random_weights(*SMALL["kl"]).items()})
    assert doubled(vae).unrounded.dtype is torch.float32
    assert vae.network.state_dict().keys() == plain.network.state_dict().keys()
    assert vae.fingerprint == plain.fingerprint


PATCHES = {
    "copied over its data": lambda conv, new: conv.weight.data.copy_(new),
    "added to": lambda conv, new: conv.weight.add_(new - conv.weight),
    "other data": lambda conv, new: setattr(conv.weight, "data", new.clone()),
    "another parameter": lambda conv, new: setattr(conv, "weight", torch.nn.Parameter(new.clone(), False)),
    "one number": lambda conv, new: conv.weight.data.view(-1)[7:8].copy_(new.view(-1)[7:8]),
}


@pytest.mark.parametrize("how", PATCHES)
@torch.no_grad()
def test_a_changed_weight_never_runs_with_what_was_kept(how):
    """The bits are those of a VAE that never knew other weights. And back: those of before."""
    vae = make()
    conv, before = doubled(vae), vae.decode(Z)
    own = conv.weight.clone()
    PATCHES[how](conv, (own.float() * 1.5 + 0.125).to(BF16))
    after, plan = vae.decode(Z), vae.plan("decode", Z.shape)
    plain = from_weights(vae.network.state_dict(), "plain")
    assert torch.equal(after, plain.decode(Z)) and plan == plain.plan("decode", Z.shape)
    assert not torch.equal(after, before)
    doubled(vae).weight.data.copy_(own)
    assert torch.equal(vae.decode(Z), before)


def test_a_vae_that_others_cast_has_no_stale_numbers():
    for dtype in (torch.float16, torch.float32):
        vae = make()
        vae.network.to(dtype)
        plain = from_weights(vae.network.state_dict(), "plain", dtype)
        assert not joined(vae) and torch.equal(vae.decode(Z), plain.decode(Z))


def test_all_ways_to_half_precision_give_the_same_bits(tmp_path):
    want = make().decode(Z)
    path = tmp_path / "exact.safetensors"
    save(make(torch.float32), path)
    loaded = load(path, dtype=BF16)
    assert loaded.dtype is BF16 and joined(loaded)
    cast, again = make(torch.float32).to(BF16), make().to(BF16)
    ways = (loaded, cast, again, copy_to(make(torch.float32), CPU, BF16), copy_to(make(), CPU, BF16))
    assert all(torch.equal(vae.decode(Z), want) for vae in ways)
    assert torch.equal(torch.cat(list(make().decode_rows(Z)), -2)[None], want)
    back = make().to(torch.float32).to(BF16)  # of which fp32 holds no more digits
    assert not joined(back)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["kl", "wan", "dc_ae"])
@torch.no_grad()
def test_it_rounds_as_much_as_the_two_ops(kind, dtype):
    """To a fifth: a small network has few weights. benchmarks/doubling.py measures published sizes."""
    exact, vae = make(torch.float64, kind), make(dtype, kind)
    z = torch.randn(3, vae.latent_channels, 8, 8, generator=torch.Generator().manual_seed(2))
    want = exact.decode(z.to(dtype).double())

    def err() -> float:
        return (vae.decode(z) - want).square().mean().sqrt().item()

    assert joined(vae)
    together = err()
    for conv in list_doubled(vae.network):
        conv.unrounded = None
    assert not joined(vae) and together < 1.2 * err()


def test_plans_know():
    vae = make()
    request = make_request(vae.family, vae.config, Half.DECODER, (1, 4, 64, 64), BF16, joined=True)
    apart = make_request(vae.family, vae.config, Half.DECODER, (1, 4, 64, 64), BF16)
    assert not any(isinstance(op, Upsample2x) for op in leaves(request.ops))
    assert request.work < apart.work and request.whole.largest <= apart.whole.largest
    assert vae.plan("decode", (1, 4, 64, 64), rows=8).work == request.plan_bands(8, on_cpu=True).work


def test_a_processor_that_sums_in_half_precision_runs_the_two_ops(monkeypatch):
    pretend(monkeypatch, faster_in_fp32=False)
    for answer in (False, True):
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda answer=answer: answer)
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_fp16_supported", lambda answer=answer: not answer)
        assert joined(make()) is answer and joined(make(torch.float16)) is not answer
