"""Latent Noise: seeded Gaussian noise in the shape a VAE or a latent asks for; at strength 0, an empty latent."""

from ..vae_core.noise import gaussian
from . import host
from .images import latent_of
from .vae_encode import LARGEST_SEED


class LatentNoise:
    DESCRIPTION = (
        "Gaussian noise as a latent, of the right channels and size for a VAE, or of the shape of another latent. The "
        "same seed gives the same noise on every machine. Strength 0 gives an empty latent."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["noise", "empty latent", "noisy latent", "random latent", "seed"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The noise, times strength, as a raw latent.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": LARGEST_SEED,
                        "control_after_generate": True,
                        "tooltip": "Drawn on the CPU, as core does: for one picture it is core's noise of this seed.",
                    },
                ),
                "width": _pixels("Width of the picture in pixels, rounded up to the VAE's ratio."),
                "height": _pixels("Height of the picture in pixels, rounded up to the VAE's ratio."),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096, "tooltip": "How many latents."}),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1000.0,
                        "step": 0.01,
                        "tooltip": "Standard deviation of the noise. 0 gives an empty latent, all zeros.",
                    },
                ),
            },
            "optional": {
                "vae": ("VAE", {"tooltip": "Gives the channels and the ratio. Without it: channels and ratio below."}),
                "samples": (
                    "LATENT",
                    {"tooltip": "A latent whose shape the noise takes, batch and frames too. It is not changed."},
                ),
                "batch_seeds": (
                    ["increment", "single"],
                    {
                        "default": "increment",
                        "tooltip": "increment: item i has the noise of seed + i, so that each can be made again alone. "
                        "single: one stream for the whole batch, as core draws it.",
                    },
                ),
                "channels": (
                    "INT",
                    {
                        "default": 4,
                        "min": 1,
                        "max": 4096,
                        "advanced": True,
                        "tooltip": "Without a VAE or a latent: channels of the latent (SD 1.x and SDXL 4, FLUX.1 16).",
                    },
                ),
                "ratio": (
                    "INT",
                    {
                        "default": 8,
                        "min": 1,
                        "max": 256,
                        "advanced": True,
                        "tooltip": "Without a VAE or a latent: pixels to one latent pixel, in each direction.",
                    },
                ),
            },
        }

    def make(self, seed, width, height, batch_size, strength, vae=None, samples=None, batch_seeds="increment",
             channels=4, ratio=8):  # fmt: skip
        if samples is not None:
            shape, ratio = tuple(latent_of(samples).shape), None
        else:
            channels, ratio = host.geometry(vae) if vae is not None else (channels, ratio)
            shape = (batch_size, channels, -(-height // ratio), -(-width // ratio))
        noise = gaussian(shape, seed, increment=batch_seeds == "increment") * strength
        # An empty latent says its ratio, so that a sampler of another model can resize it.
        empty = {"downscale_ratio_spacial": ratio} if strength == 0 and ratio else {}
        return ({"samples": host.result(noise), **empty},)


def _pixels(tooltip: str):
    return ("INT", {"default": 512, "min": 1, "max": 65536, "step": 8, "tooltip": tooltip})
