"""Join Latents: several latents into one LATENT, as models of clips with sound take them."""

from .entrance import checks_inputs
from .several import join_latents


@checks_inputs()
class JoinLatents:
    DESCRIPTION = (
        "Joins latents to one LATENT that holds them all, as models of clips with sound take it: the frames of the "
        "clip first, then the sound. Their shapes may differ, and none is changed. Each keeps its own mask and what it "
        "remembers. Split Latent (Exact) takes them apart."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["join latents", "concat av latent", "combine latents", "nested latent", "audio latent",
                      "video latent"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("One LATENT of all latents, in their order.",)
    FUNCTION = "join"

    @classmethod
    def INPUT_TYPES(cls):
        first = "The first latent: for models of clips with sound, that of the frames. It may hold several already."
        second = "The latent that comes after it, such as the sound. It may hold several already."
        return {
            "required": {
                "samples1": ("LATENT", {"tooltip": first}),
                "samples2": ("LATENT", {"tooltip": second}),
            }
        }

    def join(self, samples1, samples2):
        return (join_latents([samples1, samples2]),)
