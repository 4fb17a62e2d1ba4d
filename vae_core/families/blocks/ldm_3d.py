"""What Tencent's autoencoders of clips have in common: residual blocks of convolutions over frames, and attention.

Reference: diffusers' AutoencoderKLHunyuanVideo and AutoencoderKLHunyuanVideo15. The parameters bear the names of
Tencent's own files, which are those of latent diffusion but for causal convolutions: these are wrapped, `conv1.conv`.
"""

import copy
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...ops import Conv2d, Conv3d, Global, GroupNormOverFrames, Kernel, Ops, Residual, attend, chain, silu
from ..shapes import Shapes
from .ldm import GROUPS, RESAMPLING, from_tokens, tokens
from .wan import RMSNorm


class Causal(nn.Module):
    """A convolution over frames to its own. Before the first is that frame again.

    border: what is beyond the borders of an image, see Window; by default the nearest pixel
    """

    def __init__(self, c_in: int, c_out: int, kernel: Kernel = 3, stride: tuple[int, int, int] = (1, 1, 1),
                 border: str | None = None):  # fmt: skip
        super().__init__()
        self.conv = Conv3d(c_in, c_out, kernel, stride=stride, repeats=True, border=border)

    def ops(self) -> Ops:
        return self.conv.ops()


def around(c_in: int, c_out: int, kernel: int = 3) -> Conv3d:
    """A convolution over the frames before and after too, with zeros beyond both ends of the clip."""
    return Conv3d(c_in, c_out, kernel, around=True)


def group_norm(c: int) -> GroupNormOverFrames:
    return GroupNormOverFrames(GROUPS, c, eps=1e-6)


class Kit(NamedTuple):
    """What blocks are made of. causal: does no frame see those after it?"""

    conv: Callable[..., nn.Module]
    norm: Callable[[int], nn.Module]
    causal: bool


GROUPED = Kit(Causal, group_norm, causal=True)  # HunyuanVideo
RMS = Kit(Causal, RMSNorm, causal=True)  # HunyuanVideo 1.5
AROUND = Kit(around, group_norm, causal=False)  # HunyuanImage 3.0


class ResnetBlock(nn.Module):
    """(T, c_in, H, W) -> (T, c_out, H, W)"""

    def __init__(self, c_in: int, c_out: int, kit: Kit):
        super().__init__()
        self.norm1, self.conv1 = kit.norm(c_in), kit.conv(c_in, c_out)
        self.norm2, self.conv2 = kit.norm(c_out), kit.conv(c_out, c_out)
        self.nin_shortcut = kit.conv(c_in, c_out, 1) if c_in != c_out else None

    def ops(self) -> Ops:
        body = chain(self.norm1, silu, self.conv1, self.norm2, silu, self.conv2)
        return (Residual(body, chain(self.nin_shortcut)),)


class AttnBlock(Global):
    """Single-head self-attention over all pixels of a clip, or of its frames so far. (T, C, H, W) -> same"""

    over_frames, last_conv = True, "proj_out"

    def __init__(self, c: int, kit: Kit):
        super().__init__()
        self.looks_back = kit.causal
        self.norm = kit.norm(c)
        self.q, self.k, self.v, self.proj_out = (Conv2d(c, c, 1) for _ in range(4))

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return tokens(self.k(x)), tokens(self.v(x))

    def recall(self, x: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
        y = self._attended(tokens(self.q(x)), *memory)
        return self.proj_out(from_tokens(y, x))

    def _attended(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(T, 1, pixels, C). Of more frames remembered than asked for, the last are those that ask."""
        if not self.over_frames:
            return attend(q, k, v)
        if not self.looks_back:
            return attend(_in_one(q), _in_one(k), _in_one(v)).view(q.shape)
        before = len(k) - len(q)
        seen = [slice(before + t + 1) for t in range(len(q))]
        return torch.cat([
            attend(one, _in_one(k[to]), _in_one(v[to]))
            for one, to in zip(q.split(1), seen, strict=True)
        ])  # fmt: skip

    def as_single_frame(self) -> Ops:
        one = copy.copy(self)  # of the same weights
        one.over_frames = False
        return (one,)

    def work(self, made: Tensor) -> float:
        t, c, h, w = made.shape
        frames = 1 if not self.over_frames else (t + 1) / 2 if self.looks_back else t
        return made.numel() * (4 * c + 2 * frames * h * w)

    def ops(self) -> Ops:
        return (Residual((self.norm, self)),)


def _in_one(x: Tensor) -> Tensor:
    """(T, 1, pixels, C) -> (1, 1, T * pixels, C)"""
    return x.reshape(1, 1, -1, x.shape[-1])


class Middle(nn.Module):
    def __init__(self, c: int, attention: bool, kit: Kit):
        super().__init__()
        self.block_1 = ResnetBlock(c, c, kit)
        self.attn_1 = AttnBlock(c, kit) if attention else None
        self.block_2 = ResnetBlock(c, c, kit)

    def ops(self) -> Ops:
        return chain(self.block_1, self.attn_1, self.block_2)


FOREIGN = re.compile(r"^quantize\.|norm_layer|mix_factor|spatial|temporal|time_|temp_|conv3d")
CONV = re.compile(r"\.conv[12](\.conv)?\.weight$")


def reads_as(shapes: Shapes, kit: Kit) -> bool:
    """Residual blocks of this kit, and nothing of another network?"""
    convs = [(bool(found[1]), len(shape)) for name, shape in shapes.items() if (found := CONV.search(name))]
    wrapped = kit.conv is Causal
    rms = sum(name.endswith(".norm1.gamma") for name in shapes) * 4 > len(convs)
    return (
        convs.count((wrapped, 5)) * 2 > len(convs)
        and rms == (kit.norm is RMSNorm)
        and not any(map(FOREIGN.search, shapes))
    )


def unwrapped(shapes: Shapes) -> Shapes:
    """The same under the names of latent diffusion: `conv1.conv.weight` is `conv1.weight`."""
    wrapped = any(".conv1.conv." in name for name in shapes)
    return {re.sub(r"\.conv\.(weight|bias)$", r".\1", name): s for name, s in shapes.items()} if wrapped else shapes


def keeps_channels(shapes: Shapes) -> bool:
    """Does a change of resolution keep the number of channels?  shapes: unwrapped"""
    changes = [shape for name, shape in shapes.items() if RESAMPLING.match(name)]
    return sum(len(shape) == 5 and shape[0] == shape[1] for shape in changes) * 2 > len(changes)
