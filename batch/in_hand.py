"""A VAE that is loaded already, for a job in this process."""

from dataclasses import dataclass

import torch

from ..vae_core import VAE
from .encoding import Loading


@dataclass(frozen=True)
class InHand(Loading):
    """What `Request.loading` may be where there is one device: nothing is loaded, and `vae` is used where it is."""

    vae: VAE | None = None

    def load(self, device: str | torch.device) -> VAE:
        assert self.vae is not None
        return self.vae
