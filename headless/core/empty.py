"""Core nodes that make images and latents out of nothing."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...vae_core.errors import DoesNotFit
from ...vae_core.execution import budget, format_bytes
from .declaring import LONGEST_BATCH, Core, whole

BATCH = whole(1, 1, LONGEST_BATCH, tooltip="How many.")
ONE_COLOUR = "Red, green and blue as one number: 0xFF0000 is red."


class EmptyImage(Core):
    OUTPUT_TOOLTIPS = ("Images of one colour.",)
    DESCRIPTION = "Images of one colour."
    TAKES = {"width": whole(512, 1, step=1), "height": whole(512, 1, step=1), "batch_size": BATCH,
             "color": whole(0, 0, 0xFFFFFF, display="color", tooltip=ONE_COLOUR)}  # fmt: skip
    FUNCTION = "generate"

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Tensor]:
        """-> (B, H, W, 3). Raises DoesNotFit."""
        _demand_room((batch_size, height, width, 3))
        colour = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
        return (colour.repeat(batch_size, height, width, 1),)


class _Empty(Core):
    channels: ClassVar[int]
    ratio: ClassVar[int] = 8
    told: ClassVar[bool] = True  # of the ratio, as core tells it
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros, for a sampler to start from.",)
    FUNCTION = "generate"
    CATEGORY = "model/latent"

    def make(self, batch: int, height: int, width: int, frames: tuple[int, ...] = ()) -> tuple[dict[str, Any]]:
        """-> {"samples": zeros}. frames: latent frames of a clip. Raises DoesNotFit."""
        shape = (batch, self.channels, *frames, height // self.ratio, width // self.ratio)
        _demand_room(shape)
        return ({"samples": torch.zeros(shape), **({"downscale_ratio_spacial": self.ratio} if self.told else {})},)


class _EmptyLatent(_Empty):
    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[dict[str, Any]]:
        """-> {"samples": (B, channels, H / ratio, W / ratio) zeros}. Raises DoesNotFit."""
        return self.make(batch_size, height, width)


def _sides(default: int, step: int) -> Mapping[str, tuple[Any, ...]]:
    return {"width": whole(default, 16, step=step), "height": whole(default, 16, step=step), "batch_size": BATCH}


class EmptyLatentImage(_EmptyLatent):
    DESCRIPTION = "An empty latent of 4 channels, for SD 1, SD 2 and SDXL."
    TAKES = _sides(512, 8)
    channels = 4


class EmptySD3LatentImage(_EmptyLatent):
    DESCRIPTION = "An empty latent of 16 channels, for SD 3, FLUX.1 and others with such a VAE."
    TAKES = _sides(1024, 16)
    channels = 16


class EmptyFlux2LatentImage(_EmptyLatent):
    DESCRIPTION = "An empty latent of 128 channels, for FLUX.2."
    TAKES = _sides(1024, 16)
    channels, ratio, told = 128, 16, False


class _EmptyClip(_Empty):
    frames: ClassVar[int]  # that a latent frame stands for, behind the first

    def generate(self, width: int, height: int, length: int, batch_size: int = 1) -> tuple[dict[str, Any]]:
        """-> {"samples": (B, channels, T, H / ratio, W / ratio) zeros}. Raises DoesNotFit."""
        return self.make(batch_size, height, width, ((length - 1) // self.frames + 1,))


def _clip(width: int, height: int, length: int, least: int, step: int, frames: int) -> Mapping[str, tuple[Any, ...]]:
    return {"width": whole(width, least, step=step), "height": whole(height, least, step=step),
            "length": whole(length, 1, step=frames, tooltip="How many frames."), "batch_size": BATCH}  # fmt: skip


class EmptyLTXVLatentVideo(_EmptyClip):
    DESCRIPTION = "An empty latent of a clip, for LTX-Video."
    TAKES = _clip(768, 512, 97, 64, 32, 8)
    channels, ratio, frames = 128, 32, 8


class EmptyHunyuanLatentVideo(_EmptyClip):
    DESCRIPTION = "An empty latent of a clip, for HunyuanVideo and Wan 2.1."
    TAKES = _clip(848, 480, 25, 16, 16, 4)
    channels, frames = 16, 4


class EmptyHunyuanVideo15Latent(_EmptyClip):
    DESCRIPTION = "An empty latent of a clip, for HunyuanVideo 1.5."
    TAKES = _clip(848, 480, 25, 16, 16, 4)
    channels, ratio, frames = 32, 16, 4


class _EmptySound(Core):
    known: ClassVar[dict[str, Any]] = {}  # what is told of such a latent
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros, for a sampler to start from.",)
    CATEGORY = "model/latent"
    FUNCTION = "generate"

    def generate(self, seconds: float, batch_size: int) -> tuple[dict[str, Any]]:
        """-> {"samples": zeros, "type": "audio"}. Raises DoesNotFit."""
        shape = (batch_size, *self.measure(seconds))
        _demand_room(shape)
        return ({"samples": torch.zeros(shape), "type": "audio", **self.known},)

    def measure(self, seconds: float) -> tuple[int, ...]:
        """The sides of the latent of one sound, channels first."""
        raise NotImplementedError


def _duration(step: float) -> Mapping[str, tuple[Any, ...]]:
    options = {"default": 120.0, "min": 1.0, "max": 1000.0, "step": step, "tooltip": "How long, in seconds."}
    return {"seconds": ("FLOAT", options), "batch_size": BATCH}


class EmptyAceStepLatentAudio(_EmptySound):
    DESCRIPTION = "An empty latent of sound, for ACE-Step 1."
    TAKES = _duration(0.1)

    def measure(self, seconds: float) -> tuple[int, ...]:
        """Of 44,100 samples a second, 512 in a column of the spectrogram, and 8 columns in one of the latent."""
        return 8, 16, int(seconds * 44100 / 512 / 8)


class EmptyAceStep15LatentAudio(_EmptySound):
    ID = "EmptyAceStep1.5LatentAudio"
    DESCRIPTION = "An empty latent of sound, for ACE-Step 1.5."
    TAKES = _duration(0.01)
    known = {"downscale_ratio_temporal": 1764}  # core's number

    def measure(self, seconds: float) -> tuple[int, ...]:
        """Of 48,000 samples a second, 1,920 in a number of the latent."""
        return 64, round(seconds * 48000 / 1920)


EMPTY = (EmptyImage, EmptyLatentImage, EmptySD3LatentImage, EmptyFlux2LatentImage, EmptyLTXVLatentVideo,
         EmptyHunyuanLatentVideo, EmptyHunyuanVideo15Latent, EmptyAceStepLatentAudio,
         EmptyAceStep15LatentAudio)  # fmt: skip


def _demand_room(shape: tuple[int, ...]) -> None:
    """Raises DoesNotFit if there is too little memory for so many numbers in float32."""
    size, free = 4 * math.prod(shape), budget.free(torch.device("cpu"))
    if size > free:
        raise DoesNotFit(
            f"{' x '.join(map(str, shape))} numbers take {format_bytes(size)} of memory, and {format_bytes(free)} are "
            "free: use a smaller size, or a smaller batch"
        )
