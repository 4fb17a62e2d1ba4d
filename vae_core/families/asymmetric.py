"""Autoencoder-KL with a wider decoder that also looks at the picture outside a mask.

The decoders x1.5 and x2 for SD's latents. Zhu et al. 2023, "Designing a Better Asymmetric VQGAN for StableDiffusion"
(https://arxiv.org/abs/2306.04632); reference: buxiangzhiren/Asymmetric_VQGAN, whose names the parameters bear, and
diffusers' AsymmetricAutoencoderKL.

Without a picture and a mask it is an Autoencoder-KL like others, and its condition encoder rests.
"""

from dataclasses import dataclass

from torch import nn

from ..ops import Conv2d
from . import kl
from .base import Family, Shapes
from .blocks import Coder, Decoder

CONDITION = "decoder.encoder."


@dataclass(frozen=True)
class AsymmetricConfig(kl.KLConfig):
    """The condition encoder's channels are the decoder's: they meet in every level."""


def detect(shapes: Shapes) -> AsymmetricConfig | None:
    own = {name: shape for name, shape in shapes.items() if not name.startswith(CONDITION)}
    config = kl.detect(own) if len(own) < len(shapes) else None
    return AsymmetricConfig(**vars(config)) if config and config.decoder else None


class ConditionEncoder(nn.Module):
    """What a picture has to say to every level of the decoder: two convolutions at full size, then one a halving."""

    def __init__(self, c: Coder, in_channels: int):
        super().__init__()
        widths = (*c.widths, c.widths[-1])
        self.layers = nn.ModuleList(
            Conv2d(c_in, c_out) if i < 2 else Conv2d(c_in, c_out, 4, stride=2, pad=(1, 1))
            for i, (c_in, c_out) in enumerate(zip((in_channels, *widths[:-1]), widths, strict=True))
        )


class MaskedDecoder(Decoder):
    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__(c, z_channels, out_channels)
        self.encoder = ConditionEncoder(c, out_channels)


class AsymmetricKL(kl.AutoencoderKL):
    def __init__(self, c: AsymmetricConfig):
        super().__init__(c)
        self.decoder = MaskedDecoder(c.decoder, c.z_channels, c.out_channels) if c.decoder else None


_SD = kl.FAMILY.example

FAMILY = Family(
    name="asymmetric",
    title="Autoencoder-KL with a mask-conditioned decoder (2-D)",
    detect=detect,
    build=AsymmetricKL,
    example=AsymmetricConfig(**{**vars(_SD), "decoder": Coder((192, 384, 768, 768), (4,) * 4, (False,) * 4)}),
)
