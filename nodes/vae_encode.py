"""VAE Encode: an image to a latent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import vae_core
from ..vae_core import images
from . import host
from .entrance import checks_inputs
from .frames import CLIP, frames_input, lay_out
from .images import WHITE, convert_with_alpha, tag_latent
from .inputs import choice_input, seed_number, text_input

PAD, CROP = ODD_SIZES = ("pad", "crop")


class Preparation(NamedTuple):
    """How an IMAGE becomes what a VAE encodes, in the words of `image_inputs` and `frames_input`."""

    odd_sizes: str = PAD
    alpha: str = "automatic"
    background: str = WHITE
    frames: str = CLIP


@checks_inputs()
class VAEEncode:
    DESCRIPTION = (
        "Encodes an image of any size. It runs whole if that fits into free memory, and otherwise in strips of rows, "
        "with the same result. The node shows which. If the sides are not multiples of the VAE's ratio, the image is "
        "padded, the latent remembers the size, and VAE Decode (Exact) returns it. The latent is the mode of the "
        "posterior, or a sample of it."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode", "vae encode exact", "encode image", "image to latent", "posterior", "img2img",
                      "out of memory", "vram", "transparent", "alpha", "odd size"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The raw latent, as every VAE Encode gives it. It remembers the VAE and the size of the image.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        pixels = (
            "One image or several. For a VAE of clips they are the frames of a clip, unless frames says otherwise. "
            "Grey images are read as RGB."
        )
        return {
            "required": {
                "pixels": ("IMAGE", {"tooltip": pixels}),
                "vae": ("VAE", {"tooltip": "The VAE to encode with, from any loader."}),
            },
            "optional": {**posterior_inputs(), **image_inputs(), **frames_input()},
        }

    def encode(self, pixels, vae, *, posterior="mode", seed=0, odd_sizes=PAD, alpha="automatic", background=WHITE,
               frames=CLIP):  # fmt: skip
        return encode_to_latent(pixels, vae, posterior, seed, Preparation(odd_sizes, alpha, background, frames))


def encode_to_latent(
    pixels: Any,
    vae: Any,
    posterior: str,
    seed: int,
    how: Preparation,
    options: vae_core.RunOptions | None = None,
) -> dict[str, Any]:
    """Encode an IMAGE to what an encode node returns."""
    options = options or vae_core.RunOptions()
    x, note = prepare_pixels(pixels, host.facts(vae), how)
    codec = host.from_socket(vae, vae_core.Half.ENCODER, tuple(x.shape), options)
    shown, budget = host.Shown(note), host.budget(vae)
    told = {"on_plan": shown, "progress": host.progress(), "advice": host.advise(options)}
    options = replace(options, budget=budget, **told)
    found = codec.encode(x, options=options)
    latent = draw(found, posterior, seed)
    frames = x.shape[2] if x.ndim == 5 and codec.clip_law else None
    made = tag_latent(host.result(latent), codec.family, codec.spatial_ratio, found.size, codec, frames)
    return shown.beside(made)


def draw(found: vae_core.Posterior, posterior: str, seed: int) -> Tensor:
    """The latent of a posterior, in the words of `posterior_inputs`."""
    return found.mode() if posterior == "mode" else found.sample(torch.Generator().manual_seed(seed))


def posterior_inputs() -> dict[str, Any]:
    posterior = (
        "The encoder gives a Gaussian for every latent pixel. mode: take its mean. sample: draw from it with the "
        "seed, as in training."
    )
    seed = "Used if posterior is sample. The same seed gives the same latent on every machine."
    return {
        "posterior": choice_input(("mode", "sample"), "mode", posterior),
        "seed": seed_number(seed, advanced=True),
    }


def image_inputs() -> dict[str, Any]:
    sizes = (
        "For an image whose sides are not multiples of the VAE's ratio. pad: mirror it at its right and lower edge; "
        "the latent remembers the size. crop: keep its middle, as ComfyUI does."
    )
    alpha = (
        "Transparency. automatic: keep it if the VAE has a channel for it, otherwise leave it out, as ComfyUI does, "
        "and say so. drop: leave it out. composite: lay the image over the background. keep: keep it, or fail if the "
        "VAE has no channel for it."
    )
    background = "Used if alpha is composite: the colour behind the image, as #rrggbb."
    return {
        "odd_sizes": choice_input(ODD_SIZES, PAD, sizes, advanced=True),
        "alpha": choice_input(images.ALPHA, images.AUTOMATIC, alpha, advanced=True),
        "background": text_input(WHITE, background, advanced=True),
    }


def prepare_pixels(image: Any, vae: Any, how: Preparation) -> tuple[Tensor, str]:
    """IMAGE -> (pixels in the channels, sizes and layout that this VAE encodes; notes on transparency and on frames).

    Raises BadPixels and BadRequest.
    """
    pixels, on_alpha = convert_with_alpha(image, vae.in_channels, how.alpha, how.background)
    pixels = images.crop_to(pixels, vae.spatial_ratio) if how.odd_sizes == CROP else pixels
    pixels, on_frames = lay_out(pixels, vae, how.frames)
    return pixels, "; ".join(filter(None, (on_frames, on_alpha)))
