"""VAE Decode: a latent to an image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from .. import vae_core
from . import host
from .entrance import checks_inputs
from .images import (
    demand_not_empty,
    demand_same_vae,
    has_forgotten_size,
    latent_of,
    tag_of,
    to_clip_latent,
    to_image,
    to_pixels,
)
from .inputs import bool_input, choice_input
from .several import take_image

CHANGED = "the latent was cut, turned or mixed since it was encoded, so the image is not cropped to its old size"
REFUSE, DECODE = EMPTY = ("refuse", "decode")
EMPTY_TIP = (
    "What to do with a latent of zeros, which no sampler has worked on. refuse: stop with an error. decode: decode it, "
    "as ComfyUI does."
)


@checks_inputs()
class VAEDecode:
    DESCRIPTION = (
        "Decodes a latent to an image. It runs whole if that fits into free memory, and otherwise in strips of rows, "
        "with the same result. The node shows which. A latent of another VAE, or one with NaN, is an error and never a "
        "black image. The image has the size that was encoded, including odd sizes."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae decode", "vae decode exact", "decode latent", "latent to image", "render latent",
                      "hdr decode", "out of memory", "oom", "vram", "slow decode", "black image", "nan"]  # fmt: skip
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The image, in [0, 1] unless clamp is off. A clip becomes a batch of frames.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        clamp = (
            "On: limit the image to [0, 1], as ComfyUI does. Off: keep values below 0 and above 1, for colour grading "
            "and for files of floats."
        )
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The raw latent, as samplers and VAE Encode give it."}),
                "vae": ("VAE", {"tooltip": "The VAE of the model that made the latent, from any loader."}),
            },
            "optional": {
                "clamp": bool_input(True, clamp, advanced=True),
                "empty_latent": choice_input(EMPTY, REFUSE, EMPTY_TIP, advanced=True),
            },
        }

    def decode(self, samples, vae, *, clamp=True, empty_latent=REFUSE):
        return decode_to_image(samples, vae, clamp, empty_latent)


def decode_to_image(
    samples: Any, vae: Any, clamp: bool, empty: str, options: vae_core.RunOptions | None = None
) -> dict[str, Any]:
    """Decode a LATENT to what a decode node returns."""
    pixels, shown = decode_pixels(samples, vae, empty, options=options)
    return shown.beside(host.result(to_image(pixels, clamp)))


def decode_pixels(
    samples: Any,
    vae: Any,
    empty: str = REFUSE,
    original: tuple[Tensor, Tensor] | None = None,
    options: vae_core.RunOptions | None = None,
) -> tuple[Tensor, host.Shown]:
    """(pixels of a LATENT, (B, C, H, W) or (B, C, T, H, W), about [-1, 1]; the text that says how it ran).

    Of a LATENT that holds several latents, that of the image or clip is decoded.
    original: IMAGE and mask (B, 1, H, W), for decoders that look at the image around the mask.
    Raises LatentMismatch, and what `VAE.decode` raises.
    """
    ready = make_ready(samples, vae, empty, options)
    codec, latent = ready.codec, ready.latent
    beside = _original_inputs(codec, latent, *original) if original and codec.family == "asymmetric" else {}
    pixels = codec.decode(latent, size=ready.size, options=ready.options, **beside)
    return pixels[:, :, : ready.frames if pixels.ndim == 5 else None], ready.shown


class Ready(NamedTuple):
    """What a decode takes: the VAE, the latent as it decodes it, the size and the frames to crop to, and how to run."""

    codec: Any
    latent: Tensor
    size: tuple[int, int] | None
    frames: int | None
    options: vae_core.RunOptions
    shown: host.Shown


def make_ready(
    samples: Any, vae: Any, empty: str, options: vae_core.RunOptions | None = None, streamed: bool = False
) -> Ready:
    """Check a LATENT and have memory made free to decode it. streamed: it is decoded by `decode_frames`.

    Of a LATENT that holds several latents, that of the image or clip is taken.
    Raises LatentMismatch, and DoesNotFit.
    """
    options = options or vae_core.RunOptions()
    samples, which = take_image(samples, host.geometry(vae)[0])
    latent, tag = latent_of(samples), tag_of(samples)
    codec = host.from_socket(vae, vae_core.Half.DECODER, tuple(latent.shape), options, streamed)
    latent = to_clip_latent(latent, codec)
    demand_same_vae(tag, codec)
    if empty == REFUSE and latent.ndim > 3 and latent.shape[1] == codec.latent_channels:
        demand_not_empty(latent, codec.spatial_ratio)
    live = host.first_look(codec, latent, tag.space if tag else None)
    notes = (which, CHANGED if has_forgotten_size(samples) else "")
    shown = host.Shown("; ".join(filter(None, notes)))
    told = {"on_plan": shown, "progress": host.progress(live=live), "on_part": live and live.take}
    options = replace(options, budget=host.budget(vae), advice=host.advise(options), **told)
    shape = tuple(latent.shape)
    size, frames = (tag.size_of(shape), tag.frames_of(shape)) if tag else (None, None)
    return Ready(codec, latent, size, frames, options, shown)


def _original_inputs(vae: Any, latent: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Inputs of a decoder that looks at the image around a mask; none if the latent has another size than the image."""
    if tuple(-(-n // vae.spatial_ratio) for n in mask.shape[2:]) != tuple(latent.shape[2:]):
        return {}
    pixels = to_pixels(image, vae.in_channels).expand(len(latent), -1, -1, -1)
    return {"image": pixels, "mask": mask.to(pixels).expand(len(latent), -1, -1, -1)}
