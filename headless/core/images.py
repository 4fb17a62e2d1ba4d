"""Core nodes that change images without a model, under ComfyUI's ids and with its pixels."""

import torch
from torch import Tensor

from .declaring import CROPS, LARGEST, LONGEST_BATCH, METHODS, Core, whole
from .resizing import complete_size, match_channels, resize, resize_cropped

FLIPS = ["x-axis: vertically", "y-axis: horizontally"]
TURNS = ["none", "90 degrees", "180 degrees", "270 degrees"]


class ImageScale(Core):
    DESCRIPTION = "Scales images to a size; core's own filters."
    TAKES = {"image": ("IMAGE",), "upscale_method": (METHODS,), "width": whole(512), "height": whole(512),
             "crop": (CROPS,)}  # fmt: skip

    def run(self, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> tuple[Tensor]:
        """A side of 0 follows from the other one; both 0 leave the image."""
        if width == 0 and height == 0:
            return (image,)
        sides = complete_size(image.shape[2], image.shape[1], width, height)
        return (resize_cropped(image, *sides, upscale_method, crop),)


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
        first, second = match_channels([image1, image2])
        if first.shape[1:] != second.shape[1:]:
            second = resize_cropped(second, first.shape[2], first.shape[1], "bilinear", "center")
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


IMAGES = (ImageScale, ImageScaleBy, ImageCrop, ImageBatch, RepeatImageBatch, ImageFromBatch, ImageInvert, ImageFlip,
          ImageRotate, GetImageSize)  # fmt: skip
