"""TAESDV: TAESD for the clips of Stable Video Diffusion. The encoder is TAESD's, frame by frame; the decoder also
sees the frame before, so what it shows does not flicker.

Reference: madebyollin/taesdv (MIT) taesdv.py, whose layer numbers the parameters bear under `encoder.` and `decoder.`.
A clip has as many latent frames as frames. Before the first frame are zeros. As with TAESD, the networks see pixels in
[0, 1] and scaled latents.
"""

# 64 channels everywhere, and TAESD's levels; every block of the decoder begins with its frame and the one before:
#   decoder   clamp | conv 4->64 | (3) * (3) * (3) * (1), doubled by repeating pixels | conv 64->3

from dataclasses import dataclass

from ..ops import relu
from . import tiny
from .blocks.base import ClipLaw, Family, Member
from .blocks.tiny_frames import BesideBefore
from .blocks.tiny_video import MemBlock
from .names import keep_names
from .names import tiny as names
from .shapes import Shapes


@dataclass(frozen=True)
class TaesdvConfig(tiny.TinyConfig):
    @property
    def temporal_ratio(self) -> int | None:
        return 1


def detect(shapes: Shapes) -> TaesdvConfig | None:
    config = tiny.read(shapes) if tiny.sees_frames_before(shapes) else None
    return TaesdvConfig(**vars(config)) if config and config.decoder and not config.decoder.pool else None


def block(c: int, pool: bool) -> MemBlock:
    return MemBlock(c, BesideBefore(1), relu)


class Taesdv(tiny.TinyAutoencoder):
    def __init__(self, c: TaesdvConfig):
        super().__init__(c)
        if c.decoder:
            self.decoder = tiny.decoder(c.decoder, c.z_channels, c.out_channels, c.shuffle, block)
        self.clip_law = ClipLaw()


FAMILY = Family(
    name="taesdv",
    title="tiny autoencoder of clips (TAESDV)",
    detect=detect,
    build=Taesdv,
    example=TaesdvConfig(**vars(tiny.FAMILY.example)),
    layouts=(names.MODULE._replace(write=keep_names), names.TAESD._replace(write=None), *names.MODULE_HALVES),
    scaling=tiny.statistics,
    rounding=tiny.FAMILY.rounding,
    members=(Member("TAESDV", 4, 8, 1),),
)
