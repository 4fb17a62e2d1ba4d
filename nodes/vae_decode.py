"""VAE Decode: a latent to its image."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..vae_core import Half, RunOptions
from ..vae_core.execution import DEFAULTS
from . import host
from .clips import to_clip_latent
from .images import demand_not_empty, demand_same_vae, latent_of, tag_of, to_image, to_pixels

REFUSE, DECODE = EMPTY = ("refuse", "decode")


class VAEDecode:
    DESCRIPTION = (
        "Decodes a latent to the image: whole while that fits into free memory, otherwise in bands of rows, which "
        "give the same image. The node shows which. A latent of another VAE, or with NaN in it, is refused with a "
        "sentence, not made into a black image. The image has the size that was encoded, odd sizes too."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae decode", "decode latent", "latent to image", "render latent", "hdr decode"]
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The image, in [0, 1] unless clamp is off. The frames of a clip follow one another.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        clamp = (
            "On: the image is cut to [0, 1], as core does. Off: as the decoder gives it, also below 0 and above 1, "
            "for grading and for files of floats."
        )
        empty = (
            "A latent of nothing but zeros, which no sampler has worked on. refuse: said in a sentence. decode: "
            "decoded to what the VAE makes of it, as core does."
        )
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent, raw, as samplers and VAE Encode give it."}),
                "vae": ("VAE", {"tooltip": "The VAE of the model that made the latent, from any loader."}),
            },
            "optional": {
                "clamp": ("BOOLEAN", {"default": True, "advanced": True, "tooltip": clamp}),
                "empty_latent": (list(EMPTY), {"default": REFUSE, "advanced": True, "tooltip": empty}),
            },
        }

    def decode(self, samples, vae, *, clamp=True, empty_latent=REFUSE):
        return decode_to_image(samples, vae, clamp, empty_latent)


def decode_to_image(samples: Any, vae: Any, clamp: bool, empty: str, options: RunOptions = DEFAULTS) -> dict[str, Any]:
    """What a decode node returns."""
    pixels, shown = decode_pixels(samples, vae, empty, options=options)
    return shown.beside(host.result(to_image(pixels, clamp)))


def decode_pixels(
    samples: Any,
    vae: Any,
    empty: str = REFUSE,
    original: tuple[Tensor, Tensor] | None = None,
    options: RunOptions = DEFAULTS,
) -> tuple[Tensor, host.Shown]:
    """The pixels of a latent, and how it ran. original: the IMAGE and the mask (B, 1, H, W) it is made for."""
    latent, tag = latent_of(samples), tag_of(samples)
    codec = host.from_socket(vae, Half.DECODER, tuple(latent.shape), options)
    latent = to_clip_latent(latent, codec)
    demand_same_vae(tag, codec)
    if empty == REFUSE and latent.shape[1] == codec.latent_channels:
        demand_not_empty(latent, codec.spatial_ratio)
    size = tag.size_of(latent.shape) if tag else None
    host.first_look(codec, latent, tag.space if tag else None)
    shown, budget = host.Shown(), host.budget(vae)
    beside = _original_inputs(codec, latent, *original) if original and codec.family == "asymmetric" else {}
    options = replace(options, budget=budget, on_plan=shown, progress=host.progress())
    pixels = codec.decode(latent, size=size, options=options, **beside)
    return pixels, shown


def _original_inputs(vae: Any, latent: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """What a decoder looks at that knows the image around a mask; nothing if the latent is not of this image."""
    if tuple(-(-n // vae.spatial_ratio) for n in mask.shape[2:]) != tuple(latent.shape[2:]):
        return {}
    pixels = to_pixels(image, vae.in_channels).expand(len(latent), -1, -1, -1)
    return {"image": pixels, "mask": mask.to(pixels).expand(len(latent), -1, -1, -1)}
