"""VAE Decode: a latent to its picture."""

from typing import Any

from . import host
from .images import demand_same_ratio, latent_of, tag_of, to_image


class VAEDecode:
    DESCRIPTION = (
        "Decodes a latent to the picture: whole while that fits into free memory, otherwise in bands of rows, which "
        "give the same picture. The node shows which. A latent of another VAE, or with NaN in it, is refused with a "
        "sentence, not made into a black picture. The picture has the size that was encoded, odd sizes too."
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
        return decoded(samples, vae)


def decoded(samples: Any, vae: Any, **way: Any) -> dict[str, Any]:
    """What a decode node returns. `way` of running: as `VAE.decode` takes it."""
    latent, tag = latent_of(samples), tag_of(samples)
    codec = host.from_socket(vae, "decode", tuple(latent.shape), **way)
    demand_same_ratio(tag, codec.spatial_ratio, codec.name)
    size = tag.size_of(latent.shape) if tag else None
    shown, budget = host.Shown(), host.budget(vae)
    pixels = codec.decode(latent, size=size, budget=budget, on_plan=shown, progress=host.progress(), **way)
    return shown.beside(host.result(to_image(pixels)))
