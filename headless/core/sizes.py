"""Core nodes that give images another size: by a rule, with borders, or beside one another."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..dynamic import COMBO, MATCH
from .declaring import CROPS, METHODS, Core, Nested, choice, row, whole
from .resizing import complete_size, match_channels, resize, resize_cropped, scale_sides

MEGA = 1024 * 1024  # what core calls a megapixel
# Widths and heights of about one megapixel that FLUX.1 Kontext was trained with (its authors' repository
# black-forest-labs/flux, src/flux/util.py: PREFERED_KONTEXT_RESOLUTIONS).
KONTEXT_SIZES = ((672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
                 (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720),
                 (1504, 688), (1568, 672))  # fmt: skip
COLOURS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
)


class ImageScaleToTotalPixels(Core):
    DESCRIPTION = "Scales images to a number of pixels."
    TAKES = {"image": ("IMAGE",), "upscale_method": (METHODS,),
             "megapixels": ("FLOAT", {"default": 1.0, "min": 0.01, "max": 16.0, "step": 0.01}),
             "resolution_steps": whole(1, 1, 256)}  # fmt: skip

    def run(self, image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int) -> tuple[Tensor]:
        height, width = image.shape[1:3]
        factor = math.sqrt(megapixels * MEGA / (width * height))
        columns, rows = (round(side * factor / resolution_steps) * resolution_steps for side in (width, height))
        return (resize(image, columns, rows, upscale_method),)


class ImageScaleToMaxDimension(Core):
    DESCRIPTION = "Scales images so that their longer side has a length."
    TAKES = {"image": ("IMAGE",), "upscale_method": (["area", *METHODS[4:], *METHODS[1:2], *METHODS[:1], "bicubic"],),
             "largest_size": whole(512)}  # fmt: skip

    def run(self, image: Tensor, upscale_method: str, largest_size: int) -> tuple[Tensor]:
        height, width = image.shape[1:3]
        sides = scale_sides(width, height, max(width, height), largest_size)
        return (resize(image, *sides, upscale_method),)


class ResizeImagesByLongerEdge(Core):
    DESCRIPTION = "Scales images so that their longer side has a length, by Pillow's Lanczos filter."
    TAKES = {"images": ("IMAGE",), "longer_edge": whole(1024, 1, 8192)}

    def run(self, images: Tensor, longer_edge: int) -> tuple[Tensor]:
        return (_resize_by_side(images, longer_edge, max),)


class ResizeImagesByShorterEdge(Core):
    DESCRIPTION = "Scales images so that their shorter side has a length, by Pillow's Lanczos filter."
    TAKES = {"images": ("IMAGE",), "shorter_edge": whole(512, 1, 8192)}

    def run(self, images: Tensor, shorter_edge: int) -> tuple[Tensor]:
        return (_resize_by_side(images, shorter_edge, min),)


class FluxKontextImageScale(Core):
    DESCRIPTION = "Scales images to the size nearest in shape of those that FLUX.1 Kontext knows."
    TAKES = {"image": ("IMAGE",)}

    def run(self, image: Tensor) -> tuple[Tensor]:
        aspect = image.shape[2] / image.shape[1]
        width, height = min(KONTEXT_SIZES, key=lambda size: abs(aspect - size[0] / size[1]))
        return (resize_cropped(image, width, height, "lanczos", "center"),)


class ResizeImageMaskNode(Nested):
    DESCRIPTION = "Scales images or a mask by a rule."
    SIDE: ClassVar[tuple[Any, ...]] = whole(512)
    CROP: ClassVar[tuple[Any, ...]] = (CROPS, {"default": "center"})
    RULES: ClassVar[list[dict[str, Any]]] = [
        choice("scale dimensions", width=SIDE, height=SIDE, crop=CROP),
        choice("scale by multiplier", multiplier=("FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01})),
        choice("scale longer dimension", longer_size=SIDE),
        choice("scale shorter dimension", shorter_size=SIDE),
        choice("scale width", width=SIDE),
        choice("scale height", height=SIDE),
        choice("scale total pixels", megapixels=("FLOAT", {"default": 1.0, "min": 0.01, "max": 16.0, "step": 0.01})),
        choice("match size", match=("IMAGE,MASK", {}), crop=CROP),
        choice("scale to multiple", multiple=whole(8, 1)),
    ]
    TAKES = {"input": (MATCH, {"template": {"template_id": "input_type", "allowed_types": "IMAGE,MASK"}}),
             "resize_type": (COMBO, {"options": RULES}), "scale_method": (METHODS, {"default": "area"})}  # fmt: skip
    RETURN_TYPES = (MATCH,)

    def run(self, input: Tensor, resize_type: Mapping[str, Any], scale_method: str) -> tuple[Tensor]:
        """input: (B, H, W, C), or (B, H, W)."""
        image = input if input.ndim == 4 else input.reshape(-1, *input.shape[-2:], 1)
        rule = resize_type["resize_type"]
        if rule in _BY_SIDES and not any(resize_type.get(side) for side in ("width", "height")):
            return (input,)  # not even through the levels of a filter
        if rule == "scale to multiple":
            made = _crop_to_multiple(image, resize_type["multiple"], scale_method)
        else:
            width, height = _RULES[rule](image.shape[2], image.shape[1], resize_type)
            made = resize_cropped(image, width, height, scale_method, resize_type.get("crop", "disabled"))
        return (made if input.ndim == 4 else made[..., 0],)


class BatchImagesNode(Nested):
    DESCRIPTION = "Puts several images into one batch."
    CATEGORY = "image/batch"
    TAKES = {"images": row("image", "IMAGE")}

    def run(self, images: Mapping[str, Tensor]) -> tuple[Tensor]:
        """All are cut and scaled to the size of the first; those with fewer channels are made opaque."""
        matched = match_channels(list(images.values()))
        height, width = matched[0].shape[1:3]
        same = [one if one.shape[1:3] == (height, width) else resize_cropped(one, width, height, "bilinear", "center")
                for one in matched]  # fmt: skip
        return (torch.cat(same),)


class ImageStitch(Core):
    DESCRIPTION = "Puts images beside others."
    TAKES = {"image1": ("IMAGE",), "direction": (["right", "down", "left", "up"], {"default": "right"}),
             "match_image_size": ("BOOLEAN", {"default": True}), "spacing_width": whole(0, 0, 1024, step=2),
             "spacing_color": (list(COLOURS), {"default": "white"})}  # fmt: skip
    MAY_TAKE = {"image2": ("IMAGE",)}

    def run(
        self,
        image1: Tensor,
        direction: str,
        match_image_size: bool,
        spacing_width: int,
        spacing_color: str,
        image2: Tensor | None = None,
    ) -> tuple[Tensor]:
        """Those that are smaller get borders, black unless the colour between them is white."""
        if image2 is None:
            return (image1,)
        number = max(len(image1), len(image2))
        first, second = (_repeat_last(one, number) for one in (image1, image2))
        beside = direction in ("left", "right")
        if match_image_size:
            second = _scale_to_side(second, first, beside)
        else:
            first, second = _pad_to_side(first, second, beside, 1.0 if spacing_color == "white" else 0.0)
        first, second = match_channels([first, second])
        parts = [first, *_make_gap(first, beside, spacing_width + spacing_width % 2, spacing_color), second]
        return (torch.cat(parts if direction in ("right", "down") else parts[::-1], dim=2 if beside else 1),)


class ResizeAndPadImage(Core):
    DESCRIPTION = "Scales images into a rectangle, whole, with borders where they are too narrow."
    FILTERS: ClassVar[list[str]] = ["area", "bicubic", "nearest-exact", "bilinear", "lanczos"]
    TAKES = {"image": ("IMAGE",), "target_width": whole(512, 1), "target_height": whole(512, 1),
             "padding_color": (["white", "black"],), "interpolation": (FILTERS,)}  # fmt: skip

    def run(
        self, image: Tensor, target_width: int, target_height: int, padding_color: str, interpolation: str
    ) -> tuple[Tensor]:
        height, width = image.shape[1:3]
        factor = min(target_width / width, target_height / height)
        columns, rows = int(width * factor), int(height * factor)
        made = torch.full((len(image), target_height, target_width, image.shape[-1]), float(padding_color == "white"))
        if interpolation == "area" and not (columns and rows):
            return (made,)  # an area of nothing is nothing; other filters refuse it, as in core
        inner = resize(image, columns, rows, interpolation)
        y, x = (target_height - inner.shape[1]) // 2, (target_width - inner.shape[2]) // 2
        made[:, y : y + inner.shape[1], x : x + inner.shape[2]] = inner
        return (made,)


class ImagePadForOutpaint(Core):
    DESCRIPTION = "Puts grey borders around images, and gives a mask of them."
    TAKES = {"image": ("IMAGE",), "left": whole(0, step=8), "top": whole(0, step=8), "right": whole(0, step=8),
             "bottom": whole(0, step=8), "feathering": whole(40)}  # fmt: skip
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The images.", "The mask: 1 on the borders.")

    def run(
        self, image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
    ) -> tuple[Tensor, Tensor]:
        """-> IMAGE, MASK (1, H, W)."""
        height, width = image.shape[1:3]
        inside = torch.zeros(height, width)
        if 0 < feathering * 2 < min(height, width):
            rows, columns = torch.arange(height).float()[:, None], torch.arange(width).float()
            sides = ((top, rows), (bottom, height - rows), (left, columns), (right, width - columns))
            near = torch.full((height, width), math.inf)
            for border, distance in sides:
                near = near.minimum(distance) if border else near
            inside = ((feathering - near.double()) / feathering).clamp(min=0).square().float()
        around = (left, right, top, bottom)
        return pad(image, (0, 0, *around), value=0.5), pad(inside, around, value=1.0)[None]


SIZES = (ImageScaleToTotalPixels, ImageScaleToMaxDimension, ResizeImagesByLongerEdge, ResizeImagesByShorterEdge,
         FluxKontextImageScale, ResizeImageMaskNode, BatchImagesNode, ImageStitch, ResizeAndPadImage,
         ImagePadForOutpaint)  # fmt: skip


def _resize_by_side(images: Tensor, length: int, which: Callable[..., int]) -> Tensor:
    height, width = images.shape[1:3]
    side = which(width, height)
    columns, rows = (length if one == side else int(one * length / side) for one in (width, height))
    return resize(images, columns, rows, "lanczos")


def _size_by_dimensions(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    return complete_size(width, height, rule["width"], rule["height"])


def _size_by_side(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    return complete_size(width, height, rule.get("width", 0), rule.get("height", 0))


def _size_by_factor(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    return round(width * rule["multiplier"]), round(height * rule["multiplier"])


def _size_by_longer(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    return scale_sides(width, height, max(width, height), rule["longer_size"])


def _size_by_shorter(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    return scale_sides(width, height, min(width, height), rule["shorter_size"])


def _size_by_pixels(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    factor = math.sqrt(rule["megapixels"] * MEGA / (width * height))
    return round(width * factor), round(height * factor)


def _size_of_match(width: int, height: int, rule: Mapping[str, Any]) -> tuple[int, int]:
    match = rule["match"]
    rows, columns = match.shape[1:3] if match.ndim == 4 else match.shape[-2:]
    return columns, rows


_RULES: Mapping[str, Callable[[int, int, Mapping[str, Any]], tuple[int, int]]] = MappingProxyType(
    {
        "scale dimensions": _size_by_dimensions,
        "scale by multiplier": _size_by_factor,
        "scale longer dimension": _size_by_longer,
        "scale shorter dimension": _size_by_shorter,
        "scale width": _size_by_side,
        "scale height": _size_by_side,
        "scale total pixels": _size_by_pixels,
        "match size": _size_of_match,
    }
)


_BY_SIDES = ("scale dimensions", "scale width", "scale height")


def _crop_to_multiple(image: Tensor, multiple: int, method: str) -> Tensor:
    """Scaled until it covers the next smaller size whose sides are multiples, and the middle of that."""
    height, width = image.shape[1:3]
    columns, rows = width // multiple * multiple, height // multiple * multiple
    if (columns, rows) == (width, height) or not columns or not rows:
        return image
    factor = max(columns / width, rows / height)
    scaled = resize(image, math.ceil(width * factor), math.ceil(height * factor), method)
    y, x = (scaled.shape[1] - rows) // 2, (scaled.shape[2] - columns) // 2
    return scaled[:, y : y + rows, x : x + columns]


def _repeat_last(images: Tensor, number: int) -> Tensor:
    return images[torch.arange(number).clamp(max=len(images) - 1)]


def _scale_to_side(image: Tensor, other: Tensor, beside: bool) -> Tensor:
    """To the other's height, if they are put beside one another, else to its width."""
    height, width = image.shape[1:3]
    if beside:
        return resize(image, int(other.shape[1] * width / height), other.shape[1], "lanczos")
    return resize(image, other.shape[2], int(other.shape[2] * height / width), "lanczos")


def _pad_to_side(first: Tensor, second: Tensor, beside: bool, value: float) -> tuple[Tensor, ...]:
    side = 1 if beside else 2
    longest = max(first.shape[side], second.shape[side])
    made = []
    for one in (first, second):
        missing = longest - one.shape[side]
        border = (missing // 2, missing - missing // 2)
        made.append(pad(one, (0, 0, 0, 0, *border) if beside else (0, 0, *border), value=value))
    return tuple(made)


def _make_gap(like: Tensor, beside: bool, width: int, colour: str) -> list[Tensor]:
    if not width:
        return []
    values = torch.tensor([*COLOURS[colour], 1.0][: like.shape[-1]], dtype=like.dtype)
    shape = (len(like), like.shape[1], width) if beside else (len(like), width, like.shape[2])
    return [values.expand(*shape, like.shape[-1])]
