"""Empty Latent: zeros of the shape that a VAE's latents have."""

from . import geometry
from .latent_inputs import length_input, size_inputs


class EmptyLatent:
    DESCRIPTION = (
        "An empty latent for a sampler to start from, with the channels and the ratio of a VAE, of any size: for every "
        "model the right one, images and clips. It remembers the size, so that VAE Decode (Exact) gives just that."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["empty latent", "empty latent image", "new latent", "latent size", "empty sd3 latent",
                      "empty flux latent", "empty video latent"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros, with a note of the VAE and of the image's size.",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        vae = "The VAE of the model that will sample the latent, from any loader."
        return {"required": {"vae": ("VAE", {"tooltip": vae}), **size_inputs()}, "optional": length_input()}

    def generate(self, vae, width, height, batch_size, length=1):
        return (geometry.latent_geometry(vae).empty(batch_size, width, height, length),)
