"""The autoencoders of diffusion models: every file, any size, the exact image.

vae = load("ae.safetensors", dtype=torch.bfloat16, device="cuda")
posterior = vae.encode(pixels)                  # (B, 3, H, W) in [-1, 1]
latent = posterior.mode()                       # or posterior.sample(generator)
pixels = vae.decode(latent, size=posterior.size)
"""

from .checkpoints import Detection, Inspection, detect, from_weights, inspect, load
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
from .execution import Tiles
from .posterior import Posterior
from .vae import VAE

__all__ = [
    "VAE",
    "BadPixels",
    "BadRequest",
    "BrokenCheckpoint",
    "Detection",
    "DoesNotFit",
    "Inspection",
    "LatentMismatch",
    "NumericalOverflow",
    "Posterior",
    "Tiles",
    "UnknownCheckpoint",
    "UnsupportedCheckpoint",
    "VAEError",
    "detect",
    "from_weights",
    "inspect",
    "load",
]
