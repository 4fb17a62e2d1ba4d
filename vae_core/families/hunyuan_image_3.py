"""The autoencoder of HunyuanImage 3.0: 32 channels at 1/16, made for clips and used for images.

It is HunyuanVideo 1.5's with group norms over all frames, and nothing causal: convolutions see the frame after too, and
attention all frames. No diffusers class reads it; what is known was read off the shapes of Tencent's file and, as
facts, off the Apache-2.0 ports of vLLM-Omni and SGLang (runtime/models/vaes/hunyuan_image3.py).

The surprise: no frame is special, so a latent frame stands for four. An image is four frames of the same when it is
encoded, and the last of four when it is decoded.
"""

# Drawn in hunyuan_video_15.py: the levels and widths of HunyuanImage 3.0 are the same.

from .blocks.base import ClipLaw, Family, Member
from .blocks.ldm_3d import AROUND
from .hunyuan_video_15 import PUBLISHED, HunyuanVideo15VAE, TradingConfig, read
from .names import ldm
from .shapes import Shapes


def detect(shapes: Shapes) -> TradingConfig | None:
    return read(shapes, AROUND)


class HunyuanImage3VAE(HunyuanVideo15VAE):
    kit = AROUND

    def __init__(self, c: TradingConfig):
        super().__init__(c)
        self.clip_law = ClipLaw(c.temporal_ratio, c.temporal_ratio, images_are_clips=True)


FAMILY = Family(
    name="hunyuan_image_3",
    title="HunyuanImage 3.0 autoencoder (3-D)",
    detect=detect,
    build=HunyuanImage3VAE,
    example=PUBLISHED,
    layouts=(ldm.LDM_OF_CLIPS, *ldm.HALVES),
    members=(Member("HunyuanImage 3.0", 32, 16, 4),),
)
