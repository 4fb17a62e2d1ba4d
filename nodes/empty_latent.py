"""Empty Latent: zeros in the shape of a VAE's latents."""

from .entrance import checks_inputs
from .geometry import latent_geometry
from .inputs import length_input, size_inputs


@checks_inputs()
class EmptyLatent:
    DESCRIPTION = (
        "Makes an empty latent for a sampler to start from, with the channels and the ratio of a VAE, for an image or "
        "a clip of any size. It remembers the size, and VAE Decode (Exact) returns exactly that size."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["empty latent", "empty latent image", "new latent", "latent size", "empty sd3 latent",
                      "empty flux latent", "empty video latent"]  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("A latent of zeros that remembers the VAE and the size of the image.",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        vae = "The VAE of the model that will sample the latent, from any loader."
        return {"required": {"vae": ("VAE", {"tooltip": vae}), **size_inputs()}, "optional": length_input()}

    def generate(self, vae, width, height, batch_size, length=1):
        return (latent_geometry(vae).make_empty(batch_size, width, height, length),)
