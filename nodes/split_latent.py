"""Split Latent: one LATENT that holds several into that of the image and the rest."""

from ..vae_core import LatentMismatch
from .entrance import checks_inputs
from .several import join_latents, pick_image, split_latents


@checks_inputs()
class SplitLatent:
    DESCRIPTION = (
        "Takes apart a LATENT that holds several latents, as models of clips with sound make them: the frames of the "
        "clip, and the sound. Each keeps its own mask and what it remembers. Join Latents (Exact) puts them together."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["split latent", "separate latent", "separate av latent", "nested latent", "audio latent",
                      "video latent", "unbind"]  # fmt: skip
    RETURN_TYPES = ("LATENT", "LATENT")
    RETURN_NAMES = ("image", "rest")
    OUTPUT_TOOLTIPS = (
        "The latent of the image or of the clip's frames: the first that can be one.",
        "The other latents, such as the sound. If there are several, another Split Latent (Exact) takes them apart.",
    )
    FUNCTION = "split"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT", {"tooltip": "A LATENT that holds several latents."})}}

    def split(self, samples):
        several = split_latents(samples)
        if len(several) == 1:
            raise LatentMismatch("samples holds a single latent, so there is nothing to split: use it as it is.")
        i = pick_image(several)
        return several[i], join_latents([*several[:i], *several[i + 1 :]])
