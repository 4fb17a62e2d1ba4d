"""Doublings joined in half precision: from numbers before rounding, and never from those of a weight that was changed.

Where half precision is computed in fp32 they are joined always, because no sum is rounded.
"""

import pytest
import torch
from exact_vae.vae_core import Half, from_weights, load, save
from exact_vae.vae_core.execution import make_request
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.families import build, doubling
from exact_vae.vae_core.families.doubling import find_joined, list_doubled, list_ops, list_planned_ops
from exact_vae.vae_core.ops import Conv2d, DoublingConv, Upsample2x, WidenedDoublingConv, leaves
from exact_vae.vae_core.verdicts import copy_to
from support.live_memory import LiveMemory
from support.processors import pretend
from support.random_networks import random_weights
from support.small_networks import SMALL

CPU, BF16 = torch.device("cpu"), torch.bfloat16
HALVES = (torch.bfloat16, torch.float16)
Z = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True, params=["in half precision", "in fp32"])
def widened(request, monkeypatch):
    """On a processor that computes in half precision, as GPUs do, and on one that computes it in fp32."""
    pretend(monkeypatch, faster_in_fp32=request.param == "in fp32")
    for dtype in ("bf16", "fp16"):
        monkeypatch.setattr(f"torch.ops.mkldnn._is_mkldnn_{dtype}_supported", lambda: True)
    return request.param == "in fp32"


def make(dtype=BF16, kind="kl", weights=None, **how):
    """A small VAE around weights in fp32, run in this dtype; on a CPU too, if it is asked for like this."""
    return from_weights(weights or random_weights(*SMALL[kind]), kind, dtype, **how)


def joined(vae, **how):
    """What its first doubling that is joined is joined to; None: there is none."""
    return next(filter(None, find_joined(list_ops(vae.network, Half.DECODER, **how))), None)


def round_weights(dtype=BF16, kind="kl"):
    return {name: t.to(dtype) for name, t in random_weights(*SMALL[kind]).items()}


def doubled(vae) -> Conv2d:
    return list_doubled(vae.network)[0]


def sum_plainly(weight):
    """Three taps in each direction -> four, in float64."""
    sums = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float64)
    return torch.einsum("oiyx,py,qx->iopq", weight.double(), sums, sums)


@pytest.mark.parametrize("dtype", HALVES)
def test_taps_are_sums_of_the_numbers_in_the_file(dtype, widened):
    """Rounded once; or not at all."""
    vae, exact = make(dtype), make(torch.float32)
    (op,) = (op for op in leaves(list_ops(vae.network, Half.DECODER)) if isinstance(op, DoublingConv))
    wanted = sum_plainly(doubled(exact).weight)
    assert op.bias is doubled(vae).bias and op.original is doubled(vae)
    if widened:
        assert op.weight is doubled(vae).unrounded and op.temporary_bytes == 0
        assert torch.allclose(op._sum(slice(1, 3)).double(), wanted[:, 1:3], rtol=0, atol=1e-6)
    else:
        assert op.weight.dtype is dtype and torch.equal(op.weight, wanted.to(dtype))


@pytest.mark.parametrize("dtype", (torch.float32, *HALVES))
def test_sums_of_many_channels_are_made_little_by_little(dtype):
    """As exact, and never much more in memory than what is kept, however many channels."""
    conv, before = Conv2d(1024, 8).to(dtype), torch.randint(-999, 999, (8, 1024, 3, 3)) / 256  # sums are exact in fp32
    with LiveMemory() as memory:
        op = DoublingConv(conv, before)
    assert memory.most - before.nbytes < 1.5 * op.weight.nbytes
    assert torch.equal(op.weight, sum_plainly(before).to(dtype))


def test_of_weights_in_half_precision_there_are_no_such_numbers(widened):
    """Where sums are not rounded they are not needed."""
    rounded = WidenedDoublingConv if widened else None
    low = round_weights()
    assert joined(make(weights=low)) is rounded
    assert joined(make(weights={name: t.float() for name, t in low.items()})) is rounded, "fp32 of no more digits"
    assert joined(make(weights=round_weights(torch.float16))) is (rounded or DoublingConv)
    assert joined(make(torch.float16, weights=low)) is rounded, "fewer digits"
    assert not joined(make(torch.float32))  # which needs none: `fuse` joins all of them
    assert find_joined(fuse(make(torch.float32).network.decode_ops())) == (DoublingConv,)
    assert find_joined(list_ops(make().network, Half.ENCODER)) == ()


def test_the_numbers_are_no_part_of_the_weights():
    vae = make()
    plain = make(weights=round_weights())
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


def test_a_vae_that_others_cast_has_no_stale_numbers(widened):
    for dtype in (torch.float16, torch.float32):
        vae = make()
        vae.network.to(dtype)
        plain = from_weights(vae.network.state_dict(), "plain", dtype)
        assert bool(joined(vae)) is (widened and dtype is torch.float16)
        assert torch.equal(vae.decode(Z), plain.decode(Z))


def test_all_ways_to_half_precision_give_the_same_bits(tmp_path):
    want = make().decode(Z)
    path = tmp_path / "exact.safetensors"
    save(make(torch.float32), path)
    loaded = load(path, dtype=BF16)
    assert loaded.dtype is BF16 and joined(loaded) and doubled(loaded).unrounded is not None
    cast, again = make(torch.float32).to(BF16), make().to(BF16)
    ways = (loaded, cast, again, copy_to(make(torch.float32), CPU, BF16), copy_to(make(), CPU, BF16))
    assert all(torch.equal(vae.decode(Z), want) for vae in ways)
    assert torch.equal(torch.cat(list(make().decode_rows(Z)), -2)[None], want)
    back = make().to(torch.float32).to(BF16)  # of which fp32 holds no more digits
    assert doubled(back).unrounded is None


@pytest.mark.parametrize("file", [torch.float32, BF16])
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["kl", "wan", "dc_ae"])
@torch.no_grad()
def test_it_rounds_as_much_as_the_two_ops(kind, dtype, file, widened, monkeypatch):
    """To a fifth: a small network has few weights. benchmarks/doubling.py measures published sizes.

    Where sums are not rounded, to a thousandth.
    """
    weights = {name: t.float() for name, t in round_weights(file, kind).items()}
    exact, vae = make(torch.float64, kind, weights), make(dtype, kind, weights)
    if not widened and doubled(vae).unrounded is None:
        pytest.skip("it is the two ops")
    z = torch.randn(3, vae.latent_channels, 8, 8, generator=torch.Generator().manual_seed(2))
    want = exact.decode(z.to(dtype).double())

    def err() -> float:
        return (vae.decode(z) - want).square().mean().sqrt().item()

    assert joined(vae)
    together = err()
    for conv in list_doubled(vae.network):
        conv.unrounded = None
    monkeypatch.setattr(doubling, "_is_widened", lambda weight: False)
    assert not joined(vae) and together < 1.2 * err()


def test_gradients_run_the_two_ops_of_rounded_weights(monkeypatch, widened):
    """On every processor, with the bits of torch's own."""
    vae = make(weights=round_weights())
    z = Z.to(BF16).requires_grad_()
    assert joined(vae, grad=True) is None
    made = vae.decode(z, grad=True)
    made.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()
    pretend(monkeypatch, faster_in_fp32=False)
    assert torch.equal(made, make(weights=round_weights()).decode(z, grad=True))


def test_plans_know(widened):
    vae = make()
    kind = joined(vae)
    request = make_request(vae.family, vae.config, Half.DECODER, (1, 4, 64, 64), BF16, joined=(kind,))
    apart = make_request(vae.family, vae.config, Half.DECODER, (1, 4, 64, 64), BF16)
    assert kind is (WidenedDoublingConv if widened else DoublingConv)
    assert not any(isinstance(op, Upsample2x) for op in leaves(request.ops))
    assert request.work < apart.work and request.whole.largest <= apart.whole.largest
    assert (request.weights.made == 0) is widened and apart.weights.made == 0
    assert vae.plan("decode", (1, 4, 64, 64), rows=8) == request.plan_bands(8, on_cpu=True)


@pytest.mark.parametrize("known", [(0,), (1, 2)])
@pytest.mark.parametrize("kind", ["tiny", "wan", "wan: enlarging", "consistency"])
def test_plans_know_which_of_several_are_joined(kind, known, widened):
    """Where some weights have been patched, or came in fp32 in a file that is else in half precision."""
    vae = from_weights(random_weights(*SMALL[kind]), kind, BF16)
    for i, conv in enumerate(list_doubled(vae.network)):
        conv.unrounded = conv.unrounded if i in known else None
    ops = list_ops(vae.network, Half.DECODER)
    kinds = find_joined(ops)
    assert set(kinds) == ({WidenedDoublingConv} if widened else {DoublingConv, None})
    planned = list_planned_ops(build(vae.family, vae.config), Half.DECODER, kinds)
    assert [type(op) for op in leaves(planned)] == [type(op) for op in leaves(ops)]


def test_a_processor_that_sums_in_half_precision_runs_the_two_ops(monkeypatch):
    pretend(monkeypatch, faster_in_fp32=False)
    for answer in (False, True):
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda answer=answer: answer)
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_fp16_supported", lambda answer=answer: not answer)
        assert bool(joined(make())) is answer and bool(joined(make(torch.float16))) is not answer
