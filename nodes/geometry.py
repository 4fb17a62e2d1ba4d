"""The shape of a VAE's latents: for nodes that make them from nothing."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..vae_core.latents import Tag
from . import host
from .clips import frames_are_batch, latent_frames
from .images import TAG


class LatentGeometry(NamedTuple):
    """Of a VAE on the socket, or of none: then `vae` is None, and its channels and ratio are somebody's choice."""

    vae: Any
    channels: int
    ratio: int

    def shape(self, batch: int, width: int, height: int, length: int = 1) -> tuple[int, ...]:
        """As clips.py says. Sizes in pixels, rounded up; length in frames."""
        side = (-(-height // self.ratio), -(-width // self.ratio))
        frames = _latent_frames(self.vae, length)
        batch *= length if self.vae is not None and frames_are_batch(self.vae) else 1
        return (batch, self.channels, *([frames] if frames else []), *side)

    def tag_latent(self, latent: Tensor, width: int, height: int) -> dict[str, Any]:
        """A LATENT that remembers for whom it is and the size of its image, if it is a VAE's.

        No VAE made its numbers, so it remembers none: a sampler will, and the fingerprint would go with them.
        """
        if self.vae is None:
            return {"samples": latent}
        tag = Tag.of(latent, self.vae.family, self.ratio, (height, width), self.vae)
        return {"samples": latent, TAG: replace(tag, vae=None).to_dict()}

    def empty(self, batch: int, width: int, height: int, length: int = 1) -> dict[str, Any]:
        """Zeros, and the ratios, by which a sampler of another model can resize them."""
        zeros = host.result(torch.zeros(self.shape(batch, width, height, length)))
        return {**self.tag_latent(zeros, width, height), host.RATIO: self.ratio}


def latent_geometry(vae: Any) -> LatentGeometry:
    """Of the VAE on the socket; nothing is moved for it."""
    return LatentGeometry(host.look(vae), *host.geometry(vae))


def _latent_frames(vae: Any, length: int) -> int | None:
    """Of the latent of a clip; None for a VAE of images. The first frame stands alone, as in all causal VAEs."""
    if isinstance(vae, host.HostVAE):
        return vae.count_latent_frames(length)
    if vae is None or not vae.temporal_ratio or frames_are_batch(vae):
        return None
    return latent_frames(length, vae)
