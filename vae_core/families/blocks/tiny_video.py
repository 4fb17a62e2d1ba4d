"""Blocks of the tiny autoencoders of clips, under their author's names (madebyollin/taehv taehv.py)."""

from torch import nn

from ...ops import AnyOp, Conv2d, Ops, Residual, Upsample2x, chain
from .tiny_frames import BesideBefore, FramesApart, FramesTogether

WIDENING = 4  # of the channels within a block of the super decoder
WIDE_GROUPED = (2, 6)  # numbers of the convolutions over pixels in a block of the wide decoder; the others mix channels


class MemBlock(nn.Module):
    """(T, C, H, W) -> same"""

    def __init__(self, c: int, before: BesideBefore, act: AnyOp):
        super().__init__()
        self.before, self.act = before, act
        self.conv = nn.ModuleDict({"0": Conv2d(2 * c, c), "2": Conv2d(c, c), "4": Conv2d(c, c)})

    def ops(self) -> Ops:
        first, second, third = self.conv.values()
        return (Residual((self.before, first, self.act, second, self.act, third)), self.act)


class SuperMemBlock(nn.Module):
    """(T, C, H, W) -> same"""

    def __init__(self, c: int, before: BesideBefore, act: AnyOp):
        super().__init__()
        self.before, self.act = before, act
        self.conv = nn.ModuleDict({
            "0": Conv2d(2 * c, 2 * c, 7, groups=2 * c, bias=False), "1": Conv2d(2 * c, WIDENING * c, 1),
            "3": Conv2d(WIDENING * c, c, 1, bias=False),
        })  # fmt: skip

    def ops(self) -> Ops:
        deep, widen, narrow = self.conv.values()
        return (Residual((self.before, deep, widen, self.act, narrow)),)


class WideMemBlock(nn.Module):
    """(T, C, H, W) -> same. group: channels that each of its convolutions over pixels sees

    Reference: madebyollin/taehv (MIT), branch 2026_03_11_taeltx23_wide.
    """

    def __init__(self, c: int, before: BesideBefore, act: AnyOp, group: int):
        super().__init__()
        self.before, self.act = before, act
        over_pixels = {str(i): Conv2d(c, c, groups=c // group) for i in WIDE_GROUPED}
        self.conv = nn.ModuleDict({"0": Conv2d(2 * c, c, 1), "2": over_pixels["2"], "4": Conv2d(c, c, 1),
                                   "6": over_pixels["6"]})  # fmt: skip

    def ops(self) -> Ops:
        first, *others = self.conv.values()
        later = [op for conv in others for op in (self.act, conv)]
        return (Residual((self.before, first, *later)), self.act)


class TPool(nn.Module):
    """(T, C, H, W) -> (T / frames, C, H, W)"""

    def __init__(self, c: int, frames: int):
        super().__init__()
        self.together = FramesTogether(frames) if frames > 1 else None
        self.conv = Conv2d(frames * c, c, 1, bias=False)

    def ops(self) -> Ops:
        return chain(self.together, self.conv)


class TGrow(nn.Module):
    """(T, C, H, W) -> (T * frames, C, H, W), then perhaps without the first of these"""

    def __init__(self, c: int, frames: int, drop: AnyOp | None):
        super().__init__()
        self.conv = Conv2d(c, frames * c, 1, bias=False)
        self.apart, self.drop = FramesApart(frames) if frames > 1 else None, drop

    def ops(self) -> Ops:
        return chain(self.conv, self.apart, self.drop)


class UpConv(Conv2d):
    """Doubles pixels first: authors double them before a TGrow, which as a 1x1 convolution may as well come before."""

    def ops(self) -> Ops:
        return (Upsample2x(), self)
