"""Core nodes that change images, masks and latents without a model, under ComfyUI's ids and with its pixels.

IMAGE is (B, H, W, C) float32 in [0, 1], MASK (B, H, W) in [0, 1], LATENT {"samples": (B, C, ..., H, W)}.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
FLIPS = ["x-axis: vertically", "y-axis: horizontally"]
TURNS = ["none", "90 degrees", "180 degrees", "270 degrees"]
LARGEST = 16384
LONGEST_BATCH, LONGEST_LATENTS = 4096, 64

TIPS: Mapping[str, str] = MappingProxyType(
    {
        "image": "The images.",
        "image1": "The first images.",
        "image2": "The images behind them, cut and scaled to their size.",
        "mask": "The mask.",
        "samples": "The latent.",
        "upscale_method": "The filter.",
        "width": "Width in pixels; 0: as the height asks for, where that is allowed.",
        "height": "Height in pixels; 0: as the width asks for, where that is allowed.",
        "crop": "Cut the middle out first, so that nothing is stretched.",
        "scale_by": "The factor.",
        "x": "Where it begins, from the left.",
        "y": "Where it begins, from the top.",
        "amount": "How often.",
        "batch_index": "The first one to take; a negative number counts from the end.",
        "length": "How many.",
        "flip_method": "Upside down, or left to right.",
        "rotation": "How far, clockwise.",
        "channel": "Which channel.",
        "value": "The value.",
        "string_a": "The first text.",
        "string_b": "The second text.",
        "delimiter": "What stands between them.",
        "switch": "Which of the two.",
        "on_false": "What is given if the switch is off; it does not run otherwise.",
        "on_true": "What is given if the switch is on; it does not run otherwise.",
        "source": "What to show.",
    }
)

Latent = dict[str, Any]


class Core:
    """Declares its inputs as a table."""

    TAKES: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # name -> its type, and options if it has any
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = ("The images.",)
    FUNCTION = "run"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        entries = {name: (kind, options[0] if options else {}) for name, (kind, *options) in cls.TAKES.items()}
        return {"required": {name: (kind, {**one, "tooltip": TIPS[name]}) for name, (kind, one) in entries.items()}}


def whole(default: int, least: int = 0, most: int = LARGEST) -> tuple[str, dict[str, Any]]:
    return "INT", {"default": default, "min": least, "max": most}


class ImageScale(Core):
    DESCRIPTION = "Scales images to a size; core's own filters."
    TAKES = {"image": ("IMAGE",), "upscale_method": (METHODS,), "width": whole(512), "height": whole(512),
             "crop": (["disabled", "center"],)}  # fmt: skip

    def run(self, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
        """A side of 0 follows from the other one; both 0 leave the image."""
        if width == 0 and height == 0:
            return (image,)
        sides = image.shape[2], image.shape[1]
        width = width or max(1, round(sides[0] * height / sides[1]))
        height = height or max(1, round(sides[1] * width / sides[0]))
        if crop == "center":
            image = _crop_to_aspect(image, width / height)
        return (resize(image, width, height, upscale_method),)


class ImageScaleBy(Core):
    DESCRIPTION = "Scales images by a factor."
    TAKES = {"image": ("IMAGE",), "upscale_method": (METHODS,),
             "scale_by": ("FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01})}  # fmt: skip

    def run(self, image: Tensor, upscale_method: str, scale_by: float) -> tuple[Tensor]:
        width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
        return (resize(image, width, height, upscale_method),)


class ImageCrop(Core):
    DESCRIPTION = "Cuts a rectangle out of images."
    TAKES = {"image": ("IMAGE",), "width": whole(512, 1), "height": whole(512, 1), "x": whole(0), "y": whole(0)}

    def run(self, image: Tensor, width: int, height: int, x: int, y: int) -> tuple[Tensor]:
        """A corner beyond the image is its last pixel."""
        x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
        return (image[:, y : y + height, x : x + width],)


class ImageBatch(Core):
    DESCRIPTION = "Puts two batches of images into one."
    TAKES = {"image1": ("IMAGE",), "image2": ("IMAGE",)}

    def run(self, image1: Tensor, image2: Tensor) -> tuple[Tensor]:
        """The second is cut and scaled to the size of the first; the one with fewer channels is made opaque."""
        channels = max(image1.shape[-1], image2.shape[-1])
        first, second = (_pad_channels(one, channels) for one in (image1, image2))
        if first.shape[1:] != second.shape[1:]:
            width, height = first.shape[2], first.shape[1]
            second = resize(_crop_to_aspect(second, width / height), width, height, "bilinear")
        return (torch.cat([first, second]),)


class RepeatImageBatch(Core):
    DESCRIPTION = "Repeats a batch of images."
    TAKES = {"image": ("IMAGE",), "amount": whole(1, 1, LONGEST_BATCH)}

    def run(self, image: Tensor, amount: int) -> tuple[Tensor]:
        return (image.repeat(amount, 1, 1, 1),)


class ImageFromBatch(Core):
    DESCRIPTION = "Takes some images out of a batch."
    TAKES = {"image": ("IMAGE",), "batch_index": whole(0, -LARGEST), "length": whole(1, 1, LONGEST_BATCH)}

    def run(self, image: Tensor, batch_index: int, length: int) -> tuple[Tensor]:
        """A negative index counts from the end."""
        start = batch_index + len(image) if batch_index < 0 else batch_index
        start = min(max(start, 0), len(image) - 1)
        return (image[start : start + length].clone(),)


class ImageInvert(Core):
    DESCRIPTION = "Inverts the colours of images."
    TAKES = {"image": ("IMAGE",)}

    def run(self, image: Tensor) -> tuple[Tensor]:
        return (1.0 - image,)


class ImageFlip(Core):
    DESCRIPTION = "Mirrors images."
    TAKES = {"image": ("IMAGE",), "flip_method": (FLIPS,)}

    def run(self, image: Tensor, flip_method: str) -> tuple[Tensor]:
        return (image.flip(1 if flip_method == FLIPS[0] else 2),)


class ImageRotate(Core):
    DESCRIPTION = "Turns images clockwise."
    TAKES = {"image": ("IMAGE",), "rotation": (TURNS,)}

    def run(self, image: Tensor, rotation: str) -> tuple[Tensor]:
        """Clockwise."""
        return (image.rot90(TURNS.index(rotation), (2, 1)),)


class GetImageSize(Core):
    DESCRIPTION = "Says how large images are."
    TAKES = {"image": ("IMAGE",)}
    RETURN_TYPES = ("INT", "INT", "INT")
    OUTPUT_TOOLTIPS = ("Width in pixels.", "Height in pixels.", "How many images.")

    def run(self, image: Tensor) -> tuple[int, int, int]:
        """-> width, height, images in the batch."""
        return image.shape[2], image.shape[1], image.shape[0]


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


class _Latent(Core):
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent.",)
    CATEGORY = "model/latent"


class LatentFlip(_Latent):
    DESCRIPTION = "Mirrors a latent."
    TAKES = {"samples": ("LATENT",), "flip_method": (FLIPS,)}

    def run(self, samples: Latent, flip_method: str) -> tuple[Latent]:
        return ({**samples, "samples": samples["samples"].flip(2 if flip_method == FLIPS[0] else 3)},)


class LatentRotate(_Latent):
    DESCRIPTION = "Turns a latent clockwise."
    TAKES = {"samples": ("LATENT",), "rotation": (TURNS,)}

    def run(self, samples: Latent, rotation: str) -> tuple[Latent]:
        """Clockwise."""
        return ({**samples, "samples": samples["samples"].rot90(TURNS.index(rotation), (3, 2))},)


PIXELS = (ImageScale, ImageScaleBy, ImageCrop, ImageBatch, RepeatImageBatch, ImageFromBatch, ImageInvert, ImageFlip,
          ImageRotate, GetImageSize, InvertMask, MaskToImage, ImageToMask, SolidMask, CropMask, ThresholdMask,
          LatentFlip, LatentRotate)  # fmt: skip


def resize(image: Tensor, width: int, height: int, method: str) -> Tensor:
    """image: (B, H, W, C). -> (B, height, width, C)."""
    if method == "lanczos":
        return torch.stack([_resize_levels(one, width, height) for one in image])
    return interpolate(image.movedim(-1, 1), size=(height, width), mode=method).movedim(1, -1)


def _resize_levels(image: Tensor, width: int, height: int) -> Tensor:
    """With 8 bits, as Pillow's filter has them."""
    levels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
    plain = levels[..., 0] if levels.shape[-1] == 1 else levels
    scaled = np.asarray(Image.fromarray(plain).resize((width, height), Image.Resampling.LANCZOS))
    return torch.from_numpy(scaled.astype(np.float32) / 255.0).reshape(height, width, image.shape[-1])


def _crop_to_aspect(image: Tensor, aspect: float) -> Tensor:
    """The middle of the images that has this width for its height."""
    height, width = image.shape[1:3]
    x = round((width - width * (aspect / (width / height))) / 2) if width / height > aspect else 0
    y = round((height - height * ((width / height) / aspect)) / 2) if width / height < aspect else 0
    return image[:, y : height - y, x : width - x]


def _pad_channels(image: Tensor, channels: int) -> Tensor:
    missing = channels - image.shape[-1]
    return torch.nn.functional.pad(image, (0, missing), value=1.0) if missing else image
