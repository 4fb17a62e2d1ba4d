"""Pixel-space models have no VAE: their latent is the image itself, in [-1, 1].

PixelFlow, Chroma Radiance, Z-Image pixel, HiDream-O1, PixelDiT. The custom is to mark this codec by a single scalar,
`pixel_space_vae`. It is a change of range from [0, 1], and so the identity here, where pixels are in [-1, 1] already.
"""

from dataclasses import dataclass

import torch

from ..ops import Ops
from .blocks.base import Bordered, Family, Member, Network
from .names import Layout, begins, keep_names
from .shapes import Shapes

MARK = "pixel_space_vae"


@dataclass(frozen=True)
class PixelConfig(Bordered):
    parts: tuple[str, ...] = ("encoder", "decoder")
    latent_channels: int = 3
    spatial_ratio: int = 1
    decoded_ratio: int = 1
    temporal_ratio: int | None = None
    in_channels: int = 3
    out_channels: int = 3


def detect(shapes: Shapes) -> PixelConfig | None:
    return PixelConfig() if MARK in shapes else None


class PixelSpace(Network):
    gaussian = False

    def __init__(self, c: PixelConfig):
        super().__init__()
        self.register_buffer(MARK, torch.tensor(1.0))

    def encode_ops(self) -> Ops:
        return ()

    def decode_ops(self) -> Ops:
        return ()


FAMILY = Family(
    name="pixel",
    title="pixel space (no VAE)",
    detect=detect,
    build=PixelSpace,
    example=PixelConfig(),
    layouts=(Layout("pixel", begins(MARK), write=keep_names),),
    members=(Member("pixel-space models (PixelFlow, Chroma Radiance)", 3, 1),),
)
