"""Latents whose pixels were packed into tokens, as pipelines of FLUX.1 and FLUX.2 in diffusers return them.

FLUX.1   (B, L, 64): a token holds 2 x 2 pixels of 16 channels, FluxPipeline._pack_latents
FLUX.2   (B, L, 128): a token holds one pixel of 128 channels, Flux2Pipeline._pack_latents
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..errors import LatentMismatch
from .numbers import demand_latent
from .spaces import SPACES, LatentSpace


class Packing(NamedTuple):
    """Whose tokens they are, a key of SPACES, and the side of the square of latent pixels in one."""

    space: str
    side: int

    @property
    def cell(self) -> int:
        """Side of a token in pixels of the image."""
        return SPACES[self.space].ratio * self.side


PACKINGS: Mapping[int, Packing] = MappingProxyType({64: Packing("flux1", 2), 128: Packing("flux2", 1)})  # by numbers


def find_packing(latent: Tensor) -> Packing | None:
    """How a latent is packed; None for what is no batch of tokens (B, L, 64) or (B, L, 128)."""
    return PACKINGS.get(latent.shape[2]) if latent.ndim == 3 else None


def unpack(latent: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, LatentSpace]:
    """(latent (B, C, h, w) of the same numbers and dtype, its space); scaled if it was, as pipelines' are.

    latent  (B, L, 64) or (B, L, 128), fp16 to fp64
    size    (H, W) of its image in pixels; None: it is square
    Raises LatentMismatch for other shapes, and if the tokens make no image of this size, or no square one.
    """
    packing = find_packing(demand_latent(latent))
    if packing is None:
        raise LatentMismatch(f"a latent of shape {tuple(latent.shape)} is not packed: tokens are (B, L, 64 or 128).")
    tokens, side = latent.shape[1], math.isqrt(latent.shape[1])
    h, w = (-(-n // packing.cell) for n in size) if size else (side, side)
    if h * w != tokens:
        what = f"an image of {size[1]}x{size[0]}" if size else "a square image"
        raise LatentMismatch(
            f"this latent of {SPACES[packing.space].models} is packed into {tokens} tokens, which do not make {what}: "
            "unpack it for the size of its image, in Python by latents.unpack(latent, (height, width))."
        )
    return F.pixel_shuffle(latent.transpose(1, 2).unflatten(2, (h, w)), packing.side), SPACES[packing.space]


def latent_of_z(z: Tensor, vae: Any) -> Tensor:
    """The raw latent of what a VAE's encoder gives before it is patchified and normalised.

    FLUX.2: diffusers' AutoencoderKLFlux2 gives z (B, 32, 2 h, 2 w); its latent is (B, 128, h, w), fp32 at least.
    z    (B, z_channels, H, W), fp16 to fp64
    vae  the `VAE` whose statistics are used
    Raises LatentMismatch for another number of channels, and for sides that are not even where it is patchified.
    """
    z = demand_latent(z)
    channels = getattr(vae.config, "z_channels", vae.latent_channels)
    patch = math.isqrt(vae.latent_channels // channels)
    if z.ndim != 4 or z.shape[1] != channels or any(n % patch for n in z.shape[2:]):
        raise LatentMismatch(
            f"z of shape {tuple(z.shape)} is not of '{vae.name}': it needs (B, {channels}, H, W), sides in {patch}s."
        )
    z = z.to(vae.device, at_least_fp32(z.dtype))
    for op in vae.network.to_latent_ops():
        z = op(z)
    return z
