"""Convolutions over frames where a clip begins, and on single frames, beside torch's own: the same with less work."""

import pytest
import torch
from exact_vae.vae_core.ops import LookBack, OneFrame, clip_conv
from exact_vae.vae_core.ops.conv3d import Conv3d
from support.processors import pretend
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

WIDTH, SIDE = clip_conv.CHANNELS, 24


class Convolved(TorchFunctionMode):
    """Counts the frames that convolutions of images read."""

    frames = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.conv2d:
            self.frames += len(args[0])
        return func(*args, **(kwargs or {}))


def make(dtype: torch.dtype = torch.float64, c_out: int = WIDTH, **how) -> Conv3d:
    torch.manual_seed(1)
    return Conv3d(WIDTH, c_out, **how).to(dtype).requires_grad_(False)


def clip(frames: int) -> torch.Tensor:
    made = torch.randn(frames, WIDTH, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(frames))
    return made.contiguous(memory_format=torch.channels_last)


def directly(conv: Conv3d, x: torch.Tensor) -> torch.Tensor:
    return F.conv3d(x.transpose(0, 1)[None], conv.weight, conv.bias, conv.stride, (0, 1, 1))[0].transpose(0, 1)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize(("frames", "read"), [(1, 1), (2, 4), (4, 8), (5, 9)])
@torch.no_grad()
def test_what_lies_before_a_clip_costs_nothing(repeats, frames, read):
    """Two frames of zeros or of the first again; 3 convolutions for each frame, of pairs 2."""
    conv = make()
    conv.border, conv.repeats = "constant", repeats
    seen, _ = LookBack(2, repeats).advance(clip(frames), None)
    with Convolved() as count:
        y = conv(seen)
    torch.testing.assert_close(y, directly(conv, seen), rtol=0, atol=1e-12)
    assert count.frames == read


@torch.no_grad()
def test_taps_that_meet_zeros_change_no_bit(monkeypatch):
    conv, seen = make(stride=(2, 1, 1)), LookBack(2).advance(clip(5), None)[0]
    left_out = conv(seen)
    monkeypatch.setattr(clip_conv, "_count_empty", lambda x: 0)
    assert torch.equal(conv(seen), left_out)
    torch.testing.assert_close(left_out, directly(conv, seen), rtol=0, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_of_frames_that_are_alike_are_their_own(value):
    """A clip of zeros is one of numbers too."""
    conv = make()
    found = []
    for run in (conv, lambda x: directly(conv, x)):
        x = torch.full((3, WIDTH, SIDE, SIDE), value, dtype=torch.float64, requires_grad=True)
        run(x).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frames", [3, 6, 7])
@torch.no_grad()
def test_large_weights_are_used_in_parts(monkeypatch, frames):
    conv, x = make(c_out=80), clip(frames)
    with Convolved() as whole:
        expected = conv(x)
    monkeypatch.setattr(clip_conv, "LARGE", 32 * conv.weight[0, :, 0].numel() * 8)
    with Convolved() as parts:
        torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    assert parts.frames == 3 * whole.frames


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("at_once", [clip_conv.MADE_AT_ONCE, 2**16])
@torch.no_grad()
def test_a_single_frame_meets_the_sum_of_the_taps(monkeypatch, around, at_once):
    monkeypatch.setattr(clip_conv, "MADE_AT_ONCE", at_once)
    conv, x = make(repeats=True, around=around, border="constant"), clip(1)
    op, expected = OneFrame(conv), directly(conv, x.expand(3, -1, -1, -1))
    torch.testing.assert_close(op(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(op.apply_unpadded(F.pad(x, (0, 0, 1, 1))), expected, rtol=0, atol=1e-12)
    twice = op.change(lambda weight: 2 * weight)
    both = 2 * (expected - conv.bias[:, None, None]) + conv.bias[:, None, None]
    torch.testing.assert_close(twice(x), both, rtol=0, atol=1e-12)
    torch.testing.assert_close(op(x), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_sums_in_half_precision_are_rounded_once(monkeypatch):
    """Where a processor computes in it; if not, they are not rounded at all, see test_widening.py."""
    pretend(monkeypatch, faster_in_fp32=False)
    conv, x = make(torch.bfloat16, repeats=True, border="constant"), clip(1).bfloat16()
    weight = conv.weight.float().sum(2).bfloat16()
    assert torch.equal(OneFrame(conv)(x), F.conv2d(x, weight, conv.bias, padding=1))


@torch.no_grad()
def test_of_a_single_frame_nothing_is_kept_but_what_passes_is_said():
    op = OneFrame(make(torch.bfloat16, repeats=True))
    assert op.temporary_bytes == 0
    assert op.passing_bytes == op.weight.numel() * (4 + 2)
    assert OneFrame(make()).passing_bytes == 0
