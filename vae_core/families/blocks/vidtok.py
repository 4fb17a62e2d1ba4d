"""What VidTok's halves are made of: norms of single pixels, and three ways of looking at other frames.

Reference: microsoft/VidTok vidtok/modules/model_3dcausal.py, model_3dcausal_v1_1.py and model_3dnoncausal.py (MIT), by
whose names the parameters are known. A version is that of a causal network:

    1.0   before the first frame are zeros; each frame is doubled
    1.1   before the first frame is that frame again; frames are doubled with those between them
    ''    no causal one: zeros before the first frame and after the last; each frame is doubled
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...devices.dtypes import at_least_fp32
from ...ops import Conv3d, EachTwice, Kernel, LookAround, Op, Ops, Residual, Temporal, chain, join
from .ldm import AttnBlock, Resample
from .ldm import ResnetBlock as ImageBlock
from .ldm_3d import Kit, ResnetBlock
from .ltx import ChannelNorm

OLDER, NEWER, AROUND = VERSIONS = ("1.0", "1.1", "")


class Norm(nn.Module):
    """The authors wrap it: `norm1.norm`."""

    def __init__(self, c: int):
        super().__init__()
        self.norm = ChannelNorm(c)

    def ops(self) -> Ops:
        return (self.norm,)


class Causal(nn.Module):
    """A convolution over frames to its own, wrapped: `conv1.conv`. repeats: the first frame, else zeros before it."""

    def __init__(self, c_in: int, c: int, kernel: Kernel = 3, stride: Kernel = 1, repeats: bool = True):
        super().__init__()
        self.conv = Conv3d(c_in, c, kernel, stride=stride, repeats=repeats, border="constant")

    def ops(self) -> Ops:
        return self.conv.ops()


class Around(Conv3d):
    """A convolution over the frame after, too. Beyond both ends of a clip are zeros, so it is run in parts."""

    def __init__(self, c_in: int, c: int, kernel: Kernel = 3, stride: Kernel = 1):
        super().__init__(c_in, c, kernel, stride=stride)

    def ops(self) -> Ops:
        return (LookAround(self.frames // 2, repeats=False), self)


CONVS = {OLDER: partial(Causal, repeats=False), NEWER: Causal, AROUND: Around}


def over_frames(c: int, version: str) -> ResnetBlock:
    """A residual block of convolutions over frames alone."""
    return ResnetBlock(c, c, Kit(partial(CONVS[version], kernel=(3, 1, 1)), Norm, bool(version)))


class Middle(nn.Module):
    def __init__(self, c: int, version: str):
        super().__init__()
        kit = Kit(CONVS[version], Norm, bool(version))
        self.block_1, self.attn_1, self.block_2 = ResnetBlock(c, c, kit), AttnBlock(c, Norm), ResnetBlock(c, c, kit)

    def ops(self) -> Ops:
        return chain(self.block_1, self.attn_1, self.block_2)


class InSpace(nn.Module):
    """Residual blocks of one resolution on single frames, and the change of pixels after them. side: 'down' or 'up'"""

    def __init__(self, c_in: int, c: int, blocks: int, side: str | None):
        super().__init__()
        self.block = nn.ModuleList(ImageBlock(c_in if i == 0 else c, c, Norm) for i in range(blocks))
        self.downsample = Resample(c, up=False) if side == "down" else None
        self.upsample = Resample(c, up=True) if side == "up" else None


class InTime(nn.Module):
    """A residual block over frames for each of those, and the change of the number of frames."""

    def __init__(self, c: int, blocks: int, version: str, change: "HalfFrames | TwiceFrames | None"):
        super().__init__()
        self.block = nn.ModuleList(over_frames(c, version) for _ in range(blocks))
        self.downsample = change if isinstance(change, HalfFrames) else None
        self.upsample = change if isinstance(change, TwiceFrames) else None


def run_level(space: Any, time: Any) -> Ops:
    """InSpace and InTime: the blocks of one resolution by turns, then the change of pixels, then that of frames."""
    pairs = (block for pair in zip(space.block, time.block, strict=True) for block in pair)
    return chain(*pairs, space.downsample, space.upsample, time.downsample, time.upsample)


class Mixed(nn.Module):
    """A convolution over frames beside what is done without one, in shares that the file knows."""

    def __init__(self, c: int, version: str, stride: Kernel = 1):
        super().__init__()
        self.conv: nn.Module = CONVS[version](c, c, stride=stride)
        self.mix_factor, self.version = nn.Parameter(torch.full((1,), 2.0)), version

    def mix(self, convolved: Ops, plain: Ops) -> Residual:
        body, skip = (Share(self.mix_factor, rest) for rest in (True, False))
        return Residual((*convolved, body), (*plain, skip))


class HalfFrames(Mixed):
    """Of three frames one, every second time: by a mean and by a convolution. (2 T, C, H, W) -> (T, C, H, W)"""

    def __init__(self, c: int, version: str):
        super().__init__(c, version, (2, 1, 1))

    def ops(self) -> Ops:
        beside = OneBefore(self.version == NEWER) if self.version else OneAfter()
        conv = self.conv.conv if isinstance(self.conv, Causal) else self.conv
        return (beside, self.mix((conv,), (MeanOfThree(),)))


class TwiceFrames(Mixed):
    """Two frames of each, as they are and convolved. (T, C, H, W) -> (2 T, C, H, W). first: see Between"""

    def __init__(self, c: int, version: str, first: int):
        super().__init__(c, version)
        self.first = first

    def ops(self) -> Ops:
        return (Between(self.first) if self.version == NEWER else EachTwice(), self.mix(chain(self.conv), ()))


class Share(Op):
    """Times sigmoid(factor), or times the rest to 1. Pointwise. (B, C, H, W) -> same"""

    keeps_scale = True

    def __init__(self, factor: Tensor, rest: bool):
        self.factor, self.rest = factor, rest
        self.in_place = rest  # after a convolution; the other path reads what both do

    def __call__(self, x: Tensor) -> Tensor:
        return x * self._share(x)

    def apply_in_place(self, x: Tensor) -> Tensor:
        return x.mul_(self._share(x))

    def _share(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(self.factor.to(at_least_fp32(x.dtype))).view(())  # of no axis, so x keeps its dtype
        return 1 - share if self.rest else share


class _AtBeginning(Temporal):
    """Does something to the beginning of a clip, and nothing to an image."""

    keeps_scale = True

    def __init__(self, n: int):
        super().__init__()
        self.n = n

    def as_single_frame(self) -> Ops:
        return ()


class FramesBefore(_AtBeginning):
    """The first frame of a clip so many times more. (T, C, H, W) -> (T + n, C, H, W)"""

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return join([x[:1].expand(self.n, *x.shape[1:]), x]) if past is None else x, x[:0].clone()


class WithoutFirst(_AtBeginning):
    """The clip without its first frames, all of which come in its first part. (T, C, H, W) -> (T - n, C, H, W)"""

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return x[self.n :] if past is None else x, x[:0].clone()


class OneBefore(Temporal):
    """Puts the frame before x in front of it; before the first that frame again (`repeats`), or zeros."""

    keeps_scale = True

    def __init__(self, repeats: bool):
        super().__init__()
        self.repeats = repeats

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        if past is None:
            past = x[:1] if self.repeats else torch.zeros_like(x[:1])
        return join([past, x]), x[-1:].clone()

    def as_single_frame(self) -> Ops:
        return ()


class OneAfter(Temporal):
    """Puts a frame of zeros after the last. (2 T, C, H, W) -> (2 T + 1, C, H, W)

    Of a part it gives as many frames as make whole groups of three that move on by two.
    """

    keeps_scale = True
    ahead = 1

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._group(_add(past, x))

    def end(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = _add(past, x)
        return self._group(join([seen, torch.zeros_like(seen[:1])]))

    def _group(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        groups = max(0, len(seen) - 1) // 2
        return seen[: 2 * groups + 1] if groups else seen[:0], seen[2 * groups :].clone()


class MeanOfThree(Temporal):
    """Of three frames, every second time. (2 T + 1, C, H, W) -> (T, C, H, W)"""

    keeps_scale = True
    growth = 0.5

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return (x[:-1:2] + x[1::2]).add_(x[2::2]).div_(3), x[:0].clone()

    def as_single_frame(self) -> Ops:
        return ()


class Between(Temporal):
    """Two frames of each, at a quarter of the way to its neighbours. (T, C, H, W) -> (2 T, C, H, W)

    The first n, which are the first frame of the latent, know no others, and no others know them. They come in the
    first part of a clip. Before the first and after the last of either is that frame again.
    """

    keeps_scale = True
    growth = 2.0
    ahead = 1

    def __init__(self, first: int):
        super().__init__()
        self.first = first

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._double(x, past, ends=False)

    def end(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._double(x, past, ends=True)

    def _double(self, x: Tensor, past: Tensor | None, ends: bool) -> tuple[Tensor, Tensor]:
        """past: the last frame, of whose two the second is not made yet; none before the frames after the first."""
        made: list[Tensor] = []
        if past is None:
            start, seen = x[: self.first], x[self.first :]
            made += [start[:1], *_between(start), start[-1:]]
        else:
            seen = _add(past, x)
        if past is None or not len(past):
            made += [seen[:1]]
        made += [*_between(seen), *([seen[-1:]] if ends else [])]
        return join(made), seen[-1:].clone()

    def as_single_frame(self) -> Ops:
        return ()


def _add(past: Tensor | None, x: Tensor) -> Tensor:
    """What was kept and the next frames, which at the end of a clip may be none, of any shape."""
    if past is None or not len(x):
        return x if past is None else past
    return join([past, x])


def _between(x: Tensor) -> list[Tensor]:
    """(T, C, H, W) -> the 2 T - 2 frames between the first and the last, if there are any"""
    if len(x) < 2:
        return []
    pairs = [torch.lerp(x[:-1], x[1:], weight).permute(0, 2, 3, 1) for weight in (0.25, 0.75)]
    return [torch.stack(pairs, 1).flatten(0, 1).permute(0, 3, 1, 2)]
