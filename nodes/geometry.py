"""The shape of a VAE's latents, for nodes that make latents without an image."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..vae_core import latents
from . import host
from .images import TAG, frames_are_batch, latent_frames


class LatentGeometry(NamedTuple):
    """Channels and ratio of a VAE's latents, or channels and ratio that the user chose; then `vae` is None."""

    vae: Any
    channels: int
    ratio: int

    def shape(self, batch: int, width: int, height: int, length: int = 1) -> tuple[int, ...]:
        """The shape of a LATENT, see clips.py. Sizes in pixels, rounded up to the ratio; length in frames."""
        side = (-(-height // self.ratio), -(-width // self.ratio))
        frames = _latent_frames(self.vae, length)
        batch *= length if self.vae is not None and frames_are_batch(self.vae) else 1
        return (batch, self.channels, *([frames] if frames else []), *side)

    def tag_latent(self, latent: Tensor, width: int, height: int) -> dict[str, Any]:
        """A LATENT with a tag, if there is a VAE: its family and space, and the size of the image.

        The tag has no fingerprint, because the VAE did not make this latent.
        """
        if self.vae is None:
            return {"samples": latent}
        tag = latents.Tag.of(latent, self.vae.family, self.ratio, (height, width), self.vae)
        return {"samples": latent, TAG: replace(tag, vae=None).to_dict()}

    def make_empty(self, batch: int, width: int, height: int, length: int = 1) -> dict[str, Any]:
        """A LATENT of zeros, with the ratio by which a sampler of another model can resize it."""
        zeros = host.result(torch.zeros(self.shape(batch, width, height, length)))
        return {**self.tag_latent(zeros, width, height), host.RATIO: self.ratio}


def latent_geometry(vae: Any) -> LatentGeometry:
    """Geometry of the VAE on a socket. Its weights are not moved to a device."""
    return LatentGeometry(host.look(vae), *host.geometry(vae))


def _latent_frames(vae: Any, length: int) -> int | None:
    """Number of latent frames of a clip; None for a VAE of images."""
    if isinstance(vae, host.HostVAE):
        return vae.count_latent_frames(length)
    if vae is None or not vae.temporal_ratio or frames_are_batch(vae):
        return None
    return latent_frames(length, vae)
