"""Group norms of whole clips, and with the activation after them. Shapes are (B, C, H, W)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .tree import Op, Ops, leaves, name_original


def share_numbers(norm: nn.GroupNorm, twin: nn.GroupNorm) -> None:
    """The twin has the weight and bias of the norm, parameters of a network or tensors that were made for a run."""
    numbers: Any = {"weight": norm.weight, "bias": norm.bias}
    twin._parameters = numbers


class GroupNormOverFrames(Op, nn.GroupNorm):
    """A group norm whose statistics are those of all frames of a clip together. (T, C, H, W) -> same"""

    def forward(self, input: Tensor) -> Tensor:
        t, c, h, w = input.shape
        clip = input.permute(0, 2, 3, 1).reshape(1, t * h, w, c).permute(0, 3, 1, 2)
        return super().forward(clip).permute(0, 2, 3, 1).reshape(t, h, w, c).permute(0, 3, 1, 2)

    def as_single_frame(self) -> Ops:
        norm = nn.GroupNorm(self.num_groups, self.num_channels, self.eps, device="meta")
        share_numbers(self, norm)
        return (norm,)


class GroupNormSilu(Op, nn.GroupNorm):
    """A group norm and SiLU after it. (B, C, H, W) -> same

    Of the norm's own weights, so it is made for a run, and is no part of a network.
    """

    def __init__(self, norm: nn.GroupNorm):
        nn.GroupNorm.__init__(self, norm.num_groups, norm.num_channels, norm.eps, device="meta")
        share_numbers(norm, self)
        name_original(norm, self)

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(super().forward(input), inplace=not torch.is_grad_enabled())


class GroupNormSiluOverFrames(GroupNormSilu, GroupNormOverFrames):
    """The same with the statistics of all frames of a clip together. (T, C, H, W) -> same"""


def add_silu(norm: nn.GroupNorm) -> GroupNormSilu:
    """The norm and SiLU after it, as one op."""
    return (GroupNormSiluOverFrames if isinstance(norm, GroupNormOverFrames) else GroupNormSilu)(norm)


def list_norms(ops: Ops) -> list[nn.GroupNorm]:
    """The group norms, in the order of a run: as many, and in the same order, whatever is joined to them for a run."""
    return [op for op in leaves(ops) if isinstance(op, nn.GroupNorm)]
