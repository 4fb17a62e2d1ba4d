"""Convert Latent: between raw latents and those of diffusion models and other programs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ..vae_core import latents
from . import host
from .entrance import checks_inputs
from .images import latent_of, replace_latent, tag_of
from .inputs import AUTO, choice_input, choose_space, space_input
from .several import change_image


@checks_inputs()
class ConvertLatent:
    DESCRIPTION = (
        "Converts a latent between three conventions. raw: what nodes pass on and VAEs decode. scaled: what diffusion "
        "models see, and what pipelines of diffusers return. normalised: mean 0 and variance 1 in every channel, as "
        "some packs pass on latents of Wan. The latent remembers its convention, and VAE Decode (Exact) takes raw "
        "latents only. Packed latents of FLUX.1 and FLUX.2, as pipelines of diffusers return them, are unpacked."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["scale latent", "unscale latent", "scaling factor", "0.18215", "normalize latent",
                      "latents mean std", "diffusers latent", "wan latent", "denormalize"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The converted latent. Only a raw latent can be decoded.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls):
        origin = "The convention of the latent now. auto: what it remembers, or raw if it remembers nothing."
        target = "The convention to convert to: raw, scaled or normalised."
        space = (
            "The model that the latent belongs to. auto: what it remembers, or the only one with its number of "
            "channels. If several have that number, choose one."
        )
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent. It is not changed."}),
                "to": choice_input(latents.CONVENTIONS, latents.SCALED, target),
            },
            "optional": {
                "origin": choice_input((AUTO, *latents.CONVENTIONS), AUTO, origin),
                **space_input(space),
            },
        }

    def convert(self, samples, to, origin=AUTO, latent_space=AUTO):
        return (change_image(samples, partial(convert_latent, to=to, origin=origin, latent_space=latent_space)),)


def convert_latent(samples: Mapping[str, Any], to: str, origin: str, latent_space: str) -> dict[str, Any]:
    """A LATENT that holds one latent, in another convention."""
    latent, tag = latent_of(samples), tag_of(samples)
    if latents.find_packing(latent):
        latent, space = latents.unpack(latent, size_of_mask(samples))
        tag = latents.Tag.of(latent, space.families[0], space.ratio, None)
        tag = replace(tag, convention=latents.SCALED if space.scale != 1 else latents.RAW)
    else:
        space = choose_space(latent_space, tag, latent.shape[1])
    origin = (tag.convention if tag else latents.RAW) if origin == AUTO else origin
    found = latents.convert(latent, space, origin, to)
    tag = tag or latents.Tag.of(latent, (*space.families, "unknown")[0], space.ratio, None)
    name = next(name for name, one in latents.SPACES.items() if one is space)
    return replace_latent(samples, host.result(found), replace(tag, convention=to, space=name))


def size_of_mask(samples: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H, W) of a LATENT's mask, which has the size of its image; None without one."""
    mask = samples.get("noise_mask")
    return (mask.shape[-2], mask.shape[-1]) if isinstance(mask, Tensor) and mask.ndim > 1 else None
