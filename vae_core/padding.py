"""Pictures that are no multiple of the ratio are continued to the right and below, clips at their end."""

import torch
from torch import Tensor
from torch.nn import functional as F


def padding(h: int, w: int, ratio: int) -> tuple[int, int, str]:
    """(rows below, columns to the right, how): mirrored, or the last one repeated if the picture is too small."""
    below, right = -h % ratio, -w % ratio
    return below, right, "reflect" if below < h and right < w else "replicate"


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Continue pictures to the right and below to a multiple of the ratio."""
    below, right, how = padding(x.shape[-2], x.shape[-1], ratio)
    return F.pad(x, (0, right, 0, below), mode=how) if below or right else x


def missing_frames(frames: int, first: int, step: int) -> int:
    """How many a clip lacks that a VAE encodes to one latent frame for the `first`, and one for every `step` more."""
    return max(first - frames, 0) + -max(frames - first, 0) % step


def pad_frames(x: Tensor, first: int, step: int) -> Tensor:
    """Repeat the last frame of a clip (T, C, H, W) until there are as many as a VAE encodes."""
    missing = missing_frames(len(x), first, step)
    return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x
