"""VAE Encode: a picture to its latent."""

import torch

from . import host
from .images import demand_image, to_pixels, with_tag

LARGEST_SEED = 2**64 - 1


class VAEEncode:
    DESCRIPTION = (
        "Encodes a picture of any size. One that is no multiple of the VAE's ratio is continued at its edges, and the "
        "latent remembers the size, so that VAE Decode (Exact) gives it back. The latent is the mode of the posterior, "
        "or a sample of it."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode", "encode image", "image to latent", "posterior", "img2img"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = (
        "The raw latent, as every VAE Encode gives it, with a note of whose it is and the picture's size.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "pixels": ("IMAGE", {"tooltip": "The picture, or several. Grey is taken as RGB, alpha is left out."}),
                "vae": ("VAE", {"tooltip": "The VAE to encode with, from any loader."}),
            },
            "optional": {
                "posterior": (
                    ["mode", "sample"],
                    {
                        "default": "mode",
                        "tooltip": "An encoder gives a Gaussian for every latent pixel. mode: its mean. "
                        "sample: drawn from it with the seed, as in training.",
                    },
                ),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": False,
                        "tooltip": "For posterior = sample; the mode does not depend on it. Drawn on the CPU: the same "
                        "seed gives the same latent on every machine.",
                    },
                ),
            },
        }

    def encode(self, pixels, vae, posterior: str = "mode", seed: int = 0):
        b, h, w, _ = demand_image(pixels).shape
        codec = host.from_socket(vae, "encode", (b, 3, h, w))
        found = codec.encode(to_pixels(pixels, codec.in_channels), progress=host.progress())
        generator = torch.Generator().manual_seed(seed)
        latent = found.mode() if posterior == "mode" else found.sample(generator)
        return (with_tag(host.result(latent), codec.family, codec.spatial_ratio, found.size),)
