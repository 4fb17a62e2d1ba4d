"""What `encode` does to transparency."""

import argparse
from dataclasses import dataclass

from torch import Tensor

from ..nodes.images import WHITE, convert_with_alpha
from ..vae_core.images import AUTOMATIC
from .options import choose_background


@dataclass
class Transparency:
    """How images become pixels. note: what happened to the transparency of those so far; "" if nothing did."""

    alpha: str = AUTOMATIC
    background: str = WHITE
    note: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Transparency":
        """Raises BadRequest for a background that would not be seen."""
        return cls(options.alpha, choose_background(options))

    def to_pixels(self, image: Tensor, channels: int) -> Tensor:
        """IMAGE (B, H, W, C) in [0, 1] -> pixels (B, channels, H, W) in [-1, 1], float32.

        Raises BadRequest for 'keep' without a channel for alpha, and for a background that is no colour.
        """
        pixels, note = convert_with_alpha(image, channels, self.alpha, self.background)
        self.note = self.note or note
        return pixels
