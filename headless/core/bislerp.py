"""The filter "bislerp" of latents: linear between lengths and along the sphere between directions of neighbours."""

import torch
from torch import Tensor

from .resizing import crop_to_aspect, demand_sides

NEAR = 1e-5  # directions whose cosine is nearer to 1 or -1 have no way between them along the sphere


def bislerp(samples: Tensor, width: int, height: int, method: str = "bislerp", crop: str = "disabled") -> Tensor:
    """samples: (B, C, ..., H, W) -> (B, C, ..., height, width): along the width, then along the height."""
    demand_sides(width, height)
    frames = samples.movedim(1, -3).flatten(0, -4).movedim(1, -1).float()
    if crop == "center":
        frames = crop_to_aspect(frames, width / height)
    demand_sides(frames.shape[2], frames.shape[1], "what is scaled is")
    wide = _scale_side(frames, 2, width)
    made = _scale_side(wide, 1, height).movedim(-1, 1).to(samples.dtype)
    return made.unflatten(0, (len(samples), *samples.shape[2:-2])).movedim(-3, 1)


def _scale_side(frames: Tensor, side: int, length: int) -> Tensor:
    """frames: (B, H, W, C). side: 1 or 2."""
    size = frames.shape[side]
    places = ((torch.arange(length) + 0.5) * (size / length) - 0.5).clamp(min=0)
    before = places.floor().long().clamp(max=size - 1)
    share = (places - before).reshape(*[1] * side, -1, *[1] * (3 - side))
    after = (before + 1).clamp(max=size - 1)
    return _slerp(frames.index_select(side, before), frames.index_select(side, after), share)


def _slerp(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Between vectors along the last side. share: of the second."""
    lengths = first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True)
    one, other = (torch.where(n > 0, v / n, 0) for v, n in zip((first, second), lengths, strict=True))
    cosine = (one * other).sum(-1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    turned = (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()
    made = turned * (lengths[0] * (1 - share) + lengths[1] * share)
    made = torch.where(cosine > 1 - NEAR, first, made)
    return torch.where(cosine < NEAR - 1, first * (1 - share) + second * share, made)
