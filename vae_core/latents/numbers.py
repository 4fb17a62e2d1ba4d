"""Numbers that no latent has: NaN, infinity, and those that only a fault makes."""

import math

import torch
from torch import Tensor

from ..errors import LatentMismatch, NumericalOverflow
from ..plain import describe, name_need

# Raw latents reach tens, and a thousand times their spread if somebody makes noise of that strength (Latent Noise).
# From 1e19 on their squares, which group norms sum, leave fp32; the image of much smaller ones is grey already.
LARGEST = 1e6


def demand_latent(latent: object, what: str = "a latent") -> Tensor:
    """The latent, of any shape. Raises LatentMismatch for what is no tensor of plain numbers, or has none.

    what: names it in the sentence.
    """
    if need := name_need(latent):
        raise LatentMismatch(f"{what} must be {need}.")
    assert isinstance(latent, Tensor)
    if not latent.ndim or not latent.numel():
        raise LatentMismatch(f"this is no latent, but {describe(latent)}: {what} must have numbers.")
    return latent


def demand_numbers(latent: Tensor, what: str = "this latent") -> None:
    """Raise NumericalOverflow for NaN, infinity, and numbers beyond LARGEST.

    latent: any shape and real dtype, not empty. what: names it in the sentence.
    """
    latent = latent.detach()
    least, most = torch.stack((latent.amin(), latent.amax())).tolist()  # one value that a GPU is waited for
    if not (math.isfinite(least) and math.isfinite(most)):
        raise NumericalOverflow(f"{what} holds NaN or infinity: it was broken before it came to the VAE.")
    largest = max(-least, most)
    if largest > LARGEST:
        raise NumericalOverflow(
            f"{what} reaches {largest:.3g}, and a latent's numbers are tens: it was broken before it came to the VAE."
        )
