"""Pasting one batch into another at a place, through a mask: images and latents alike, (B, C, ..., H, W)."""

from torch import Tensor

from .resizing import repeat_to, resize, resize_latent


def paste(into: Tensor, what: Tensor, x: int, y: int, mask: Tensor | None, scaled: bool) -> Tensor:
    """-> a copy of `into`. x, y: in its pixels. mask: (B, H, W), 1 where it is pasted; scaled to what is pasted.

    scaled: scale what is pasted to the size of what it is pasted into.
    """
    if scaled:
        what = resize_latent(what, into.shape[-1], into.shape[-2], "bilinear")
    what = repeat_to(what, len(into))
    made = into.clone()
    height, width = min(what.shape[-2], into.shape[-2] - y), min(what.shape[-1], into.shape[-1] - x)
    if height <= 0 or width <= 0:
        return made
    there, visible = made[..., y : y + height, x : x + width], what[..., :height, :width]
    if mask is None:
        there.copy_(visible)
        return made
    share = repeat_to(_fit_mask(mask, what), len(into))[..., :height, :width]
    share = share.reshape(len(share), *[1] * (into.ndim - 3), height, width)
    there.copy_(share * visible + (1 - share) * there)
    return made


def _fit_mask(mask: Tensor, what: Tensor) -> Tensor:
    flat = mask.reshape(-1, *mask.shape[-2:], 1)
    return resize(flat, what.shape[-1], what.shape[-2], "bilinear")[..., 0]
