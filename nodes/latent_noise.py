"""Latent Noise: seeded Gaussian noise in the shape a VAE or a latent asks for; at strength 0, an empty latent."""

from ..vae_core.noise import Noise
from . import host
from .encoding import LARGEST_SEED
from .images import latent_of


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
        seed = "Drawn on the CPU, as core does: for one picture it is core's noise of this seed."
        strength = "Standard deviation of the noise. 0 gives an empty latent, all zeros."
        shape_of = "A latent whose shape the noise takes, batch and frames too. It is not changed."
        seeds = (
            "increment: item i has the noise of seed + i, so that each can be made again alone. single: one stream for "
            "the whole batch, as core draws it."
        )
        alone = "Without a VAE or a latent:"
        return {
            "required": {
                "seed": _whole(0, 0, LARGEST_SEED, seed, control_after_generate=True),
                "width": _whole(
                    512, 1, 65536, "Width of the picture in pixels, rounded up to the VAE's ratio.", step=8
                ),
                "height": _whole(
                    512, 1, 65536, "Height of the picture in pixels, rounded up to the VAE's ratio.", step=8
                ),
                "batch_size": _whole(1, 1, 4096, "How many latents."),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1000.0, "step": 0.01, "tooltip": strength}),
            },
            "optional": {
                "vae": ("VAE", {"tooltip": "Gives the channels and the ratio. Without it: channels and ratio below."}),
                "samples": ("LATENT", {"tooltip": shape_of}),
                "batch_seeds": (["increment", "single"], {"default": "increment", "tooltip": seeds}),
                "channels": _whole(4, 1, 4096, f"{alone} its channels (SD 1.x and SDXL 4, FLUX.1 16).", advanced=True),
                "ratio": _whole(8, 1, 256, f"{alone} pixels to one latent pixel, each way.", advanced=True),
            },
        }

    def make(self, seed, width, height, batch_size, strength, vae=None, samples=None, batch_seeds="increment",
             channels=4, ratio=8):  # fmt: skip
        if samples is not None:
            shape, ratio = tuple(latent_of(samples).shape), None
        else:
            channels, ratio = host.geometry(vae) if vae is not None else (channels, ratio)
            shape = (batch_size, channels, -(-height // ratio), -(-width // ratio))
        noise = Noise(seed, batch_seeds=batch_seeds).draw(shape) * strength
        # An empty latent says its ratio, so that a sampler of another model can resize it.
        empty = {"downscale_ratio_spacial": ratio} if strength == 0 and ratio else {}
        return ({"samples": host.result(noise), **empty},)


def _whole(default: int, least: int, most: int, tooltip: str, **options):
    return ("INT", {"default": default, "min": least, "max": most, "tooltip": tooltip, **options})
