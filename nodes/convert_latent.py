"""Convert Latent: between raw numbers and those that diffusion models and other programs work with."""

from dataclasses import replace

from ..vae_core.latents import CONVENTIONS, RAW, SCALED, SPACES, Tag, convert
from . import host
from .images import latent_of, replace_latent, tag_of
from .latent_inputs import AUTO, choice_input, choose_space, space_input


class ConvertLatent:
    DESCRIPTION = (
        "The same latent in other numbers: raw, as nodes pass it on; scaled, as diffusion models see it and pipelines "
        "of diffusers give it; normalised, mean 0 and variance 1 in every channel, as other packs pass on latents of "
        "Wan. The latent remembers it, so that it is not decoded before it is raw again."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["scale latent", "unscale latent", "scaling factor", "0.18215", "normalize latent",
                      "latents mean std", "diffusers latent", "wan latent", "denormalize"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent in its new numbers. To be decoded they must be raw.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls):
        origin = "What its numbers mean now. auto: what the latent remembers; raw if it remembers nothing."
        target = "What its numbers are to mean: raw, scaled or normalised."
        space = (
            "Whose latent it is. auto: what it remembers, or what its channels tell; where they do not, say it here."
        )
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent. It is not changed."}),
                "to": choice_input(CONVENTIONS, SCALED, target),
            },
            "optional": {
                "origin": choice_input((AUTO, *CONVENTIONS), AUTO, origin),
                **space_input(space),
            },
        }

    def convert(self, samples, to, origin=AUTO, latent_space=AUTO):
        latent, tag = latent_of(samples), tag_of(samples)
        space = choose_space(latent_space, tag, latent.shape[1])
        origin = (tag.convention if tag else RAW) if origin == AUTO else origin
        found = convert(latent, space, origin, to)
        tag = tag or Tag.of(latent, (*space.families, "unknown")[0], space.ratio, None)
        name = next(name for name, one in SPACES.items() if one is space)
        return (replace_latent(samples, host.result(found), replace(tag, convention=to, space=name)),)
