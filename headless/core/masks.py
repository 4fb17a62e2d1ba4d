"""Core nodes for masks, and for pasting and blending images with them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from .declaring import LARGEST, Core, Nested, row, whole
from .pasting import paste
from .resizing import match_channels, repeat_to, resize, resize_cropped


class _Mask(Core):
    RETURN_TYPES = ("MASK",)
    OUTPUT_TOOLTIPS = ("The mask.",)
    CATEGORY = "image/mask"


class InvertMask(_Mask):
    DESCRIPTION = "Inverts a mask."
    TAKES = {"mask": ("MASK",)}

    def run(self, mask: Tensor) -> tuple[Tensor]:
        return (1.0 - mask,)


class MaskToImage(Core):
    DESCRIPTION = "Shows a mask as a grey image."
    TAKES = {"mask": ("MASK",)}

    def run(self, mask: Tensor) -> tuple[Tensor]:
        height, width = mask.shape[-2:]
        return (mask.reshape(-1, height, width, 1).expand(-1, -1, -1, 3),)


class ImageToMask(_Mask):
    DESCRIPTION = "Takes one channel of images as a mask."
    CHANNELS: ClassVar[list[str]] = ["red", "green", "blue", "alpha"]
    TAKES = {"image": ("IMAGE",), "channel": (CHANNELS,)}

    def run(self, image: Tensor, channel: str) -> tuple[Tensor]:
        return (image[..., self.CHANNELS.index(channel)],)


class SolidMask(_Mask):
    DESCRIPTION = "Makes a mask of one value."
    TAKES = {"value": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}), "width": whole(512, 1),
             "height": whole(512, 1)}  # fmt: skip

    def run(self, value: float, width: int, height: int) -> tuple[Tensor]:
        return (torch.full((1, height, width), value),)


class CropMask(_Mask):
    DESCRIPTION = "Cuts a rectangle out of a mask."
    TAKES = {"mask": ("MASK",), "x": whole(0), "y": whole(0), "width": whole(512, 1), "height": whole(512, 1)}

    def run(self, mask: Tensor, x: int, y: int, width: int, height: int) -> tuple[Tensor]:
        return (mask.reshape(-1, *mask.shape[-2:])[:, y : y + height, x : x + width],)


class ThresholdMask(_Mask):
    DESCRIPTION = "Makes a mask 1 where it is above a value, and 0 elsewhere."
    TAKES = {"mask": ("MASK",), "value": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01})}

    def run(self, mask: Tensor, value: float) -> tuple[Tensor]:
        return ((mask > value).float(),)


class GrowMask(_Mask):
    DESCRIPTION = "Grows or shrinks a mask."
    TAKES = {"mask": ("MASK",), "expand": whole(0, -LARGEST), "tapered_corners": ("BOOLEAN", {"default": True})}

    def run(self, mask: Tensor, expand: int, tapered_corners: bool) -> tuple[Tensor]:
        grown = mask.reshape(-1, 1, *mask.shape[-2:])
        for _ in range(min(abs(expand), sum(grown.shape[-2:]))):  # beyond which nothing changes
            grown = _grow(grown, tapered_corners) if expand > 0 else -_grow(-grown, tapered_corners)
        return (grown[:, 0],)


class FeatherMask(_Mask):
    DESCRIPTION = "Fades the borders of a mask."
    TAKES = {"mask": ("MASK",), "left": whole(0), "top": whole(0), "right": whole(0), "bottom": whole(0)}

    def run(self, mask: Tensor, left: int, top: int, right: int, bottom: int) -> tuple[Tensor]:
        mask = mask.reshape(-1, *mask.shape[-2:])
        height, width = mask.shape[1:]
        mask = mask * _ramp(width, left) * _ramp(width, right).flip(0)
        return (mask * _ramp(height, top)[:, None] * _ramp(height, bottom).flip(0)[:, None],)


class MaskComposite(_Mask):
    DESCRIPTION = "Combines a mask with another one, at a place in it."
    TAKES = {"destination": ("MASK",), "source": ("MASK", {"tooltip": "The other mask."}), "x": whole(0),
             "y": whole(0), "operation": (["multiply", "add", "subtract", "and", "or", "xor"],)}  # fmt: skip

    def run(self, destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> tuple[Tensor]:
        """What leaves [0, 1] is clipped. "and", "or" and "xor" see a mask as 0 or 1."""
        made, other = (one.reshape(-1, *one.shape[-2:]) for one in (destination.clone(), source))
        height, width = min(other.shape[1], made.shape[1] - y), min(other.shape[2], made.shape[2] - x)
        if height > 0 and width > 0:
            there = made[:, y : y + height, x : x + width]
            there.copy_(_COMBINE[operation](there, other[:, :height, :width]))
        return (made.clamp(0, 1),)


class BatchMasksNode(Nested, _Mask):
    DESCRIPTION = "Puts several masks into one batch."
    TAKES = {"masks": row("mask", "MASK")}

    def run(self, masks: Mapping[str, Tensor]) -> tuple[Tensor]:
        """All are cut and scaled to the size of the first."""
        several = [one.reshape(-1, *one.shape[-2:]) for one in masks.values()]
        height, width = several[0].shape[1:]
        return (torch.cat([_fit(one, width, height) for one in several]),)


class JoinImageWithAlpha(Core):
    DESCRIPTION = "Makes images transparent where a mask is 1."
    CATEGORY = "image/compositing"
    TAKES = {"image": ("IMAGE",), "alpha": ("MASK",)}

    def run(self, image: Tensor, alpha: Tensor) -> tuple[Tensor]:
        """-> (B, H, W, 4), B of the longer batch."""
        height, width = image.shape[1:3]
        number = max(len(image), len(alpha))
        scaled = resize(alpha.reshape(-1, *alpha.shape[-2:], 1), width, height, "bilinear")
        return (torch.cat([repeat_to(image[..., :3], number), 1 - repeat_to(scaled, number)], dim=-1),)


class SplitImageWithAlpha(Core):
    DESCRIPTION = "Splits images into their colours and a mask of what is transparent."
    CATEGORY = "image/compositing"
    TAKES = {"image": ("IMAGE",)}
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The images without alpha.", "1 where they are transparent.")

    def run(self, image: Tensor) -> tuple[Tensor, Tensor]:
        alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones(image.shape[:3])
        return image[..., :3], 1 - alpha


class ImageCompositeMasked(Core):
    DESCRIPTION = "Pastes images into others, through a mask if there is one."
    CATEGORY = "image/compositing"
    TAKES = {"destination": ("IMAGE",), "source": ("IMAGE", {"tooltip": "What is pasted."}), "x": whole(0),
             "y": whole(0), "resize_source": ("BOOLEAN", {"default": False})}  # fmt: skip
    MAY_TAKE = {"mask": ("MASK",)}

    def run(
        self, destination: Tensor, source: Tensor, x: int, y: int, resize_source: bool, mask: Tensor | None = None
    ) -> tuple[Tensor]:
        pasted = _give_channels(source, destination)
        made = paste(destination.movedim(-1, 1), pasted.movedim(-1, 1), x, y, mask, resize_source)
        return (made.movedim(1, -1),)


class ImageBlend(Core):
    DESCRIPTION = "Blends images with others."
    CATEGORY = "image/filters"
    TAKES = {"image1": ("IMAGE",), "image2": ("IMAGE", {"tooltip": "The others, scaled to the size of the first."}),
             "blend_factor": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
             "blend_mode": (["normal", "multiply", "screen", "overlay", "soft_light", "difference"],)}  # fmt: skip

    def run(self, image1: Tensor, image2: Tensor, blend_factor: float, blend_mode: str) -> tuple[Tensor]:
        image2 = _give_channels(image2, image1)
        if image1.shape[1:] != image2.shape[1:]:
            image2 = resize_cropped(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
        blended = _BLEND[blend_mode](image1, image2)
        return ((image1 * (1 - blend_factor) + blended * blend_factor).clamp(0, 1),)


MASKS = (InvertMask, MaskToImage, ImageToMask, SolidMask, CropMask, ThresholdMask, GrowMask, FeatherMask, MaskComposite,
         BatchMasksNode, JoinImageWithAlpha, SplitImageWithAlpha, ImageCompositeMasked, ImageBlend)  # fmt: skip


def _grow(mask: Tensor, tapered: bool) -> Tensor:
    """By one pixel: the largest of each and its neighbours, with those at the corners unless it is tapered."""
    if not tapered:
        return max_pool2d(mask, 3, 1, 1)
    return torch.maximum(max_pool2d(mask, (3, 1), 1, (1, 0)), max_pool2d(mask, (1, 3), 1, (0, 1)))


def _give_channels(image: Tensor, other: Tensor) -> Tensor:
    """As many as the other has: opaque, or without alpha."""
    return match_channels([image, other])[0][..., : other.shape[-1]]


def _fit(mask: Tensor, width: int, height: int) -> Tensor:
    """mask: (B, H, W), cut and scaled."""
    if mask.shape[1:] == (height, width):
        return mask
    return resize_cropped(mask[..., None], width, height, "bilinear", "center")[..., 0]


def _ramp(length: int, border: int) -> Tensor:
    """1, and from its beginning on (1 ... n) / n over the border."""
    border = min(border, length)
    return torch.cat([torch.arange(1, border + 1) / max(border, 1), torch.ones(length - border)])


def _multiply(first: Tensor, second: Tensor) -> Tensor:
    return first * second


def _subtract(first: Tensor, second: Tensor) -> Tensor:
    return first - second


def _both(first: Tensor, second: Tensor) -> Tensor:
    return (first.round().bool() & second.round().bool()).float()


def _either(first: Tensor, second: Tensor) -> Tensor:
    return (first.round().bool() | second.round().bool()).float()


def _one(first: Tensor, second: Tensor) -> Tensor:
    return (first.round().bool() ^ second.round().bool()).float()


_COMBINE: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"multiply": _multiply, "add": torch.add, "subtract": _subtract, "and": _both, "or": _either, "xor": _one}
)


def _second(first: Tensor, second: Tensor) -> Tensor:
    return second


def _screen(first: Tensor, second: Tensor) -> Tensor:
    return 1 - (1 - first) * (1 - second)


def _overlay(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first <= 0.5, 2 * first * second, 1 - 2 * (1 - first) * (1 - second))


def _soften(first: Tensor, second: Tensor) -> Tensor:
    """The soft light of the W3C's "Compositing and Blending", 9.1.9, with the first as the backdrop."""
    root = torch.where(first <= 0.25, ((16 * first - 12) * first + 4) * first, first.sqrt())
    dark = first - (1 - 2 * second) * first * (1 - first)
    return torch.where(second <= 0.5, dark, first + (2 * second - 1) * (root - first))


_BLEND: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"normal": _second, "multiply": _multiply, "screen": _screen, "overlay": _overlay, "soft_light": _soften,
     "difference": _subtract}
)  # fmt: skip
