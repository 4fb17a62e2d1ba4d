"""Mean and spread of the latents' channels, as the diffusion model sees them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..vae_core import BadRequest, convert
from ..vae_core.latents import NORMALISED, RAW, get_space

# The scale of a space was chosen so that latents have unit spread ("High-Resolution Image Synthesis with Latent
# Diffusion Models", Rombach et al. 2022, section G). What goes wrong is further off: raw taken for scaled is a factor
# of 2.8 (FLUX.1) to 7.7 (SDXL), and a set of drawings or of photographs is within these.
SPREADS = (0.4, 2.5)
FARTHEST = 3.0  # of a channel's mean from 0, in units of the model's spread
ENOUGH = 8  # images from which a channel's statistics are judged: one may be of a single colour


@dataclass
class Statistics:
    """Sums over latents, channel by channel, in float64.

    space       a key of SPACES, or None if it is not known
    convention  of the numbers that are added
    """

    space: str | None = None
    convention: str = RAW
    latents: int = 0
    numbers: int = 0
    total: Tensor | None = None
    squares: Tensor | None = None

    def add(self, latent: Tensor) -> None:
        """A latent (C, ..., h, w), finite. Raises LatentMismatch if it is not one of the space."""
        if self.space:
            latent = convert(latent[None], get_space(self.space), self.convention, NORMALISED)[0]
        flat = latent.double().flatten(1)
        total, squares = flat.sum(1), flat.square().sum(1)
        self.total = total if self.total is None else self.total + total
        self.squares = squares if self.squares is None else self.squares + squares
        self.latents, self.numbers = self.latents + 1, self.numbers + flat.shape[1]

    @property
    def mean(self) -> list[float]:
        """Of each channel; empty if nothing was added."""
        return [] if self.total is None else (self.total / self.numbers).tolist()

    @property
    def std(self) -> list[float]:
        """Of each channel; empty if nothing was added."""
        if self.total is None or self.squares is None:
            return []
        return (self.squares / self.numbers - (self.total / self.numbers).square()).clamp_min(0).sqrt().tolist()

    @property
    def spread(self) -> float:
        """Of all channels: the root of the mean of their variances. 1 is what a diffusion model expects."""
        return torch.tensor(self.std, dtype=torch.float64).square().mean().sqrt().item() if self.numbers else 0.0

    def judge(self) -> list[str]:
        """What is wrong with them, in sentences; nothing if the space is not known, or if there are few latents."""
        if self.space is None or self.latents < ENOUGH:
            return []
        wrong = []
        if not SPREADS[0] <= self.spread <= SPREADS[1]:
            wrong.append(
                f"scaled for {self.space} the latents have a spread of {self.spread:.2f}, not about 1: they are of "
                "another VAE, scaled already, or of images in another range"
            )
        for channel, mean in enumerate(self.mean):
            if abs(mean) > FARTHEST:
                wrong.append(f"channel {channel} has the mean {mean:.2f} in {self.space}, which should be near 0")
        return wrong


def demand_space(name: str | None, channels: int) -> str | None:
    """The name, if it can be the space of latents with so many channels. Raises BadRequest if it cannot."""
    if name is not None and get_space(name).channels != channels:
        raise BadRequest(
            f"the latents have {channels} channels, and those of '{name}' have {get_space(name).channels}: name "
            "another --space."
        )
    return name
