"""Half precision that a CPU computes in fp32: rounded once, some rows at a time, in the memory that plans count."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import families
from exact_vae.vae_core.execution.plans.backend import count_scratch
from exact_vae.vae_core.families.effnet import Doubling
from exact_vae.vae_core.families.paella import Up
from exact_vae.vae_core.ops import (
    Conv2d,
    Conv3d,
    DoubleFrames,
    DoublingConv,
    OneFrame,
    Upsample2x,
    WidenedDoublingConv,
    attend,
    attention,
    conv2d,
    linear,
    pad_borders,
    widening,
)
from support.live_memory import LiveMemory
from support.processors import pretend

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def faster_in_fp32(monkeypatch):
    pretend(monkeypatch, faster_in_fp32=True)


def whole_numbers(*shape, most=3):
    """Of which all sums are exact in fp32, in whatever order, and not in half precision."""
    return torch.randint(-most, most + 1, shape, generator=torch.Generator().manual_seed(sum(shape))).float()


def fill(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(whole_numbers(*parameter.shape))
    return layer


OPS = {
    "3 x 3": lambda: Conv2d(5, 6),
    "1 x 1": lambda: Conv2d(5, 6, 1, bias=False),
    "halving": lambda: Conv2d(5, 6, stride=2, pad=(0, 1)),
    "4 x 4 halving": lambda: Conv2d(5, 6, 4, stride=2, pad=(1, 1)),
    "groups": lambda: Conv2d(6, 6, groups=3),
    "mirrored": lambda: Conv2d(5, 6, border="reflect"),
    "wrapped": lambda: Conv2d(5, 6, border="circular y"),
    "doubling of 4 x 4": lambda: Up(5, 6),
    "doubling of 2 x 2": lambda: Doubling(5, 6),
    "frames": lambda: Conv3d(5, 6),
    "frames in pairs": lambda: Conv3d(32, 32, repeats=True),
    "frames around": lambda: Conv3d(5, 6, around=True),
    "frames halved": lambda: Conv3d(5, 6, stride=(2, 2, 2)),
}


def run(op, way, x):
    return op.apply_unpadded(x) if way == "apply_unpadded" and hasattr(op, way) else op(x)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("way", ["forward", "apply_unpadded"])
@pytest.mark.parametrize("at_once", [1, 6000, widening.AT_ONCE])
@pytest.mark.parametrize("kind", OPS)
@torch.no_grad()
def test_sums_are_exact_and_rounded_once(kind, at_once, way, dtype, monkeypatch):
    """However many rows are computed at once."""
    monkeypatch.setattr(widening, "AT_ONCE", at_once)
    op = fill(OPS[kind]())
    x = whole_numbers(7, 32 if "pairs" in kind else op.in_channels, 14, 16)
    want = run(op, way, x)
    found = run(op.to(dtype), way, x.to(dtype))
    assert found.dtype is dtype and torch.equal(found, want.to(dtype))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", HALVES)
@torch.no_grad()
def test_so_are_doublings_time_products_and_attention(dtype, monkeypatch):
    x = whole_numbers(2, 5, 9, 8)
    conv, weight = fill(Conv2d(5, 6)).to(dtype), whole_numbers(7, 8)
    op = DoublingConv(conv)
    want = torch.nn.functional.conv_transpose2d(x, op.weight.float(), op.bias.float(), 2, 1)
    assert torch.equal(op(x.to(dtype)), want.to(dtype))
    assert torch.equal(op.apply_unpadded(x.to(dtype)), want[..., 2:-2, :].to(dtype))
    assert torch.equal(linear(x.to(dtype), weight.to(dtype)), (x @ weight.T).to(dtype))
    frames = fill(DoubleFrames(5, 3))
    assert torch.equal(frames(x), frames.to(dtype)(x.to(dtype)).float())
    q, k, v = (torch.randn(1, 2, 40, 16, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(3))
    exact = attend(q.double(), k.double(), v.double())
    error = (attend(q, k, v) - exact).abs().max()
    assert error <= 1.01 * torch.finfo(dtype).eps / 2 * exact.abs().max()
    monkeypatch.setattr(attention, "KEYS", 100)
    assert not attention.is_worth_widening(k) and (attend(q, k, v) - exact).abs().max() < 0.05


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("weights", [1, 10_000, widening.WEIGHTS])
@torch.no_grad()
def test_joined_doublings_round_nothing_but_their_result(weights, dtype, monkeypatch):
    """However many channels are made at once. The two ops give the same bits where all sums are exact."""
    monkeypatch.setattr(widening, "WEIGHTS", weights)
    monkeypatch.setattr(widening, "AT_ONCE", 6000)
    x, conv = whole_numbers(2, 5, 9, 8), fill(Conv2d(5, 40))
    conv.weight.mul_(67)  # of which sums of four have more digits than half precision
    want, op = conv(Upsample2x()(x)), WidenedDoublingConv(conv.to(dtype), conv.weight.float())
    for made in (op(x.to(dtype)), WidenedDoublingConv(conv)(x.to(dtype))):
        assert torch.equal(made, want.to(dtype)) and made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(op.apply_unpadded(x.to(dtype)), want[..., 2:-2, :].to(dtype))
    assert torch.equal(
        op.change(lambda sums: sums / 4)(x.to(dtype)), ((want - spread(conv)) / 4 + spread(conv)).to(dtype)
    )
    with torch.enable_grad():
        assert torch.equal(op(x.to(dtype)), want.to(dtype))


def spread(conv):
    return conv.bias.float()[:, None, None]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("file", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_joined_doublings_are_as_exact_as_the_rounding_of_their_result(file, dtype):
    """So no less exact than the two ops, of weights in the file's dtype."""
    conv, x = Conv2d(64, 8, bias=False).to(file), torch.randn(1, 64, 16, 16).to(dtype)
    exact = torch.nn.functional.conv2d(Upsample2x()(x.double()), conv.weight.double(), padding=1)
    before = conv.weight.detach().float().clone()  # not the parameter, which `to` changes
    made = WidenedDoublingConv(conv.to(dtype), before)(x)
    assert (made - exact).square().mean() <= 1.01 * (exact.to(dtype) - exact).square().mean()


@pytest.mark.parametrize("dtype", HALVES)
@torch.no_grad()
def test_taps_over_frames_are_summed_for_an_image_without_rounding(dtype):
    """One frame that is seen again before and after itself: all taps meet it."""
    conv, x = Conv3d(32, 8, repeats=True, bias=False).to(dtype), torch.randn(1, 32, 16, 16).to(dtype)
    exact = torch.nn.functional.conv2d(pad_borders(x.double(), (1, 1, 1, 1), conv.border), conv.weight.double().sum(2))
    made = OneFrame(conv)(x)
    assert (made - exact).square().mean() <= 1.01 * (exact.to(dtype) - exact).square().mean()


@pytest.mark.parametrize("dtype", HALVES)
@torch.no_grad()
def test_plans_count_what_sums_of_taps_take(dtype):
    """More channels than are made at once: their sums, and those of two taps while they are made."""
    x, conv = torch.ones(1, 256, 8, 8, dtype=dtype), Conv2d(256, 512).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    op = WidenedDoublingConv(conv)
    with LiveMemory() as memory:
        made = op(x)
    shown = WidenedDoublingConv(Conv2d(256, 512).to("meta", dtype))
    counted = count_scratch("conv_transpose2d", made.to("meta"), (x.to("meta"), shown.sums))
    kept = sum(t.nbytes for t in (conv.weight, conv.bias, x, made))
    assert shown(x.to("meta")).shape == made.shape
    assert memory.most - kept <= counted
    assert widening.WEIGHTS < memory.most - kept < 3 * widening.WEIGHTS


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["frames", "frames in pairs", "frames around"])
@pytest.mark.parametrize("begins", ["zeros", "one frame"])
@torch.no_grad()
def test_so_are_the_short_ways_of_clips(begins, kind, dtype):
    """Of frames that are all the same the taps are summed, and those that meet zeros are left out."""
    op = fill(OPS[kind]())
    x = whole_numbers(1, op.in_channels, 14, 16).repeat(4, 1, 1, 1)
    if begins == "zeros":
        x[:2] = 0
    for clip in (x[:3], x):
        assert torch.equal(op.to(dtype)(clip.to(dtype)), op.float()(clip).to(dtype))


def test_families_call_no_convolution_of_torch_s():
    """Which would be slow in half precision on most CPUs."""
    files = [*Path(families.__file__).parent.rglob("*.py")]
    assert len(files) > 40 and not [f.name for f in files if re.search(r"\bF\.conv|functional\.conv", f.read_text())]


def test_gradients_and_other_devices_are_left_alone():
    x = torch.ones(1, 5, 4, 4, dtype=torch.bfloat16)
    with torch.no_grad():
        assert widening.widens(x) and not widening.widens(x.float()) and not widening.widens(x.to("meta"))
    assert not widening.widens(x)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("side", [24, 200])
@torch.no_grad()
def test_plans_count_what_it_takes(side, dtype, monkeypatch):
    """What is made, and what is there meanwhile: never less than is measured, and not half as much again."""
    monkeypatch.setattr(widening, "AT_ONCE", 2**20)
    x, weight = torch.ones(1, 32, side, 40, dtype=dtype), torch.ones(48, 32, 3, 3, dtype=dtype)
    run = partial(conv2d, x.contiguous(memory_format=torch.channels_last), weight, None, 1, 1)
    with LiveMemory() as memory:
        made = run()
    counted = count_scratch("conv2d", made.to("meta"), (x.to("meta"), weight.to("meta")))
    backend = 2 * 4 * weight.numel() * 48 // 32  # what no tensor of torch's holds
    took = memory.most - sum(t.nbytes for t in (x, weight, made))  # of which views are looked at
    assert took <= counted <= 1.2 * took + backend
