"""VAE Decode: a latent to its picture."""

from . import host
from .images import demand_same_ratio, latent_of, tag_of, to_image


class VAEDecode:
    DESCRIPTION = (
        "Decodes a latent to the picture, all of it at once. A latent of another VAE, or with NaN in it, is refused "
        "with a sentence, not made into a black picture. The picture has the size that was encoded, odd sizes too."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae decode", "decode latent", "latent to image", "render latent"]
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The picture, in [0, 1]. The frames of a clip follow one another.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent, raw, as samplers and VAE Encode give it."}),
                "vae": ("VAE", {"tooltip": "The VAE of the model that made the latent, from any loader."}),
            }
        }

    def decode(self, samples, vae):
        latent, tag = latent_of(samples), tag_of(samples)
        codec = host.from_socket(vae, "decode", tuple(latent.shape))
        demand_same_ratio(tag, codec.spatial_ratio, codec.name)
        size = tag.size_of(latent.shape) if tag else None
        return (host.result(to_image(codec.decode(latent, size=size, progress=host.progress()))),)
