"""The autoencoders of diffusion models: every file, any size, the exact image.

vae = load("ae.safetensors", dtype=torch.bfloat16, device="cuda")
posterior = vae.encode(pixels)                  # (B, 3, H, W) in [-1, 1]
latent = posterior.mode()                       # or posterior.sample(generator)
pixels = vae.decode(latent, size=posterior.size)

All that a program needs is imported from here. `vae_core.<package>` has what the nodes and the command line need.
"""

from typing import TYPE_CHECKING

from . import lazy
from .errors import (
    BadPixels,
    BadRequest,
    BrokenCheckpoint,
    DoesNotFit,
    LatentMismatch,
    NumericalOverflow,
    UnknownCheckpoint,
    UnsupportedCheckpoint,
    VAEError,
)

if TYPE_CHECKING:
    from .checkpoints import Detection, Inspection, detect, from_weights, inspect, load, save
    from .execution import PixelRows, Plan, RunOptions, TilePlan, Tiles
    from .families import ClipLaw, Half
    from .images import from_numpy, from_pil, from_uint8, to_numpy, to_pil, to_uint8
    from .latents import SPACES, Factors, LatentSpace, Noise, Tag, convert, fit, preview, read_latent, write_latent
    from .posterior import Posterior
    from .vae import VAE
    from .version import __version__
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "checkpoints": "Detection Inspection detect from_weights inspect load save",
            "execution": "PixelRows Plan RunOptions TilePlan Tiles",
            "families": "ClipLaw Half",
            "images": "from_numpy from_pil from_uint8 to_numpy to_pil to_uint8",
            "latents": "SPACES Factors LatentSpace Noise Tag convert fit preview read_latent write_latent",
            "posterior": "Posterior",
            "vae": "VAE",
            "version": "__version__",
        },
    )

__all__ = [
    "SPACES",
    "VAE",
    "BadPixels",
    "BadRequest",
    "BrokenCheckpoint",
    "ClipLaw",
    "Detection",
    "DoesNotFit",
    "Factors",
    "Half",
    "Inspection",
    "LatentMismatch",
    "LatentSpace",
    "Noise",
    "NumericalOverflow",
    "PixelRows",
    "Plan",
    "Posterior",
    "RunOptions",
    "Tag",
    "TilePlan",
    "Tiles",
    "UnknownCheckpoint",
    "UnsupportedCheckpoint",
    "VAEError",
    "__version__",
    "convert",
    "detect",
    "fit",
    "from_numpy",
    "from_pil",
    "from_uint8",
    "from_weights",
    "inspect",
    "load",
    "preview",
    "read_latent",
    "save",
    "to_numpy",
    "to_pil",
    "to_uint8",
    "write_latent",
]
