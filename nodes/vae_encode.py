"""VAE Encode: a picture to its latent."""

from typing import Any

import torch

from . import host
from .images import demand_image, to_pixels, with_tag

LARGEST_SEED = 2**64 - 1


class VAEEncode:
    DESCRIPTION = (
        "Encodes a picture of any size: whole while that fits into free memory, otherwise in bands of rows, which give "
        "the same latent. The node shows which. A picture that is no multiple of the VAE's ratio is continued at its "
        "edges, and the latent remembers the size, so that VAE Decode (Exact) gives it back. The latent is the mode of "
        "the posterior, or a sample of it."
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

    def encode(self, pixels, vae, *, posterior="mode", seed=0):
        return encoded(pixels, vae, posterior, seed)


def encoded(pixels: Any, vae: Any, posterior: str, seed: int, **way: Any) -> dict[str, Any]:
    """What an encode node returns. `way` of running: as `VAE.encode` takes it."""
    b, h, w, _ = demand_image(pixels).shape
    codec = host.from_socket(vae, "encode", (b, 3, h, w), **way)
    shown, budget, x = host.Shown(), host.budget(vae), to_pixels(pixels, codec.in_channels)
    found = codec.encode(x, budget=budget, on_plan=shown, progress=host.progress(), **way)
    generator = torch.Generator().manual_seed(seed)
    latent = found.mode() if posterior == "mode" else found.sample(generator)
    return shown.beside(with_tag(host.result(latent), codec.family, codec.spatial_ratio, found.size))
