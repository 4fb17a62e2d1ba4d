"""Devices that compute wrong numbers: the CPU, with one of torch's functions replaced for one dtype."""

from collections.abc import Callable

import pytest
import torch
from exact_vae.vae_core.doctor import cases, trials
from exact_vae.vae_core.doctor.emulation import Rounding
from torch import Tensor
from torch.nn import functional as F

from .processors import pretend

PIXELS = 2048  # from which pads are lost, as on MPS from 2^16


def examine_briefly(patch: pytest.MonkeyPatch) -> None:
    """The Doctor measures less often."""
    patch.setattr(trials, "RUNS", 1)
    patch.setattr(cases, "DRAWS", 2)


def lose_pads(patch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """`pad` of rows gives zeros for large images, as of frames: https://github.com/pytorch/pytorch/issues/194922"""
    pad = F.pad

    def lying(x: Tensor, sides: tuple[int, ...], *how, **more) -> Tensor:
        made = pad(x, sides, *how, **more)
        is_large = x.shape[-2:].numel() >= PIXELS and any(sides[2:])
        return torch.zeros_like(made) if x.dtype is dtype and is_large else made

    patch.setattr(F, "pad", lying)


def replace_conv2d(patch: pytest.MonkeyPatch, dtype: torch.dtype, change: Callable[[Tensor], Tensor]) -> None:
    """What `conv2d` makes in this dtype is changed. On this device half precision is not widened."""
    pretend(patch, faster_in_fp32=False)
    conv2d = F.conv2d

    def lying(x: Tensor, *how, **more) -> Tensor:
        made = conv2d(x, *how, **more)
        return change(made) if x.dtype is dtype and not made.is_meta else made  # plans compute nothing

    patch.setattr(F, "conv2d", lying)
    patch.setattr(torch.nn.Conv2d, "_conv_forward", _forward_by(lying))


def add_error(x: Tensor) -> Tensor:
    """A hundredth of the numbers' spread."""
    return x + 0.01 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel()))


def as_tf32(x: Tensor) -> Tensor:
    """x, fp32: cut to the 11 bits of TF32."""
    return Rounding(11)(x)


def not_a_number(x: Tensor) -> Tensor:
    return torch.full_like(x, torch.nan)


def fail(x: Tensor) -> Tensor:
    raise NotImplementedError("this device has no such convolution\nand more lines")


def _forward_by(conv2d: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: torch.nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    return forward
