"""Autoencoder-KL with a wider decoder that also looks at the image outside a mask.

The decoders x1.5 and x2 for SD's latents. Zhu et al. 2023, "Designing a Better Asymmetric VQGAN for StableDiffusion"
(https://arxiv.org/abs/2306.04632); reference: diffusers' AsymmetricAutoencoderKL. The parameters bear the names of the
authors' own files.

Without an image and a mask it is an Autoencoder-KL like others, and its condition encoder rests. With them, what the
encoder says of the image takes the place of the decoder's own where the mask is 0, in every level.
"""

# The x2 decoder's (its encoder is SD 1's; blocks of a level in brackets):
#   decoder     post_quant_conv 4->4 | conv_in 4->1024 | mid | up 1024 1024 512 256 (6 each, doubled) | out 256->3
#   condition   3->256 | 256->512 | halved: 512->1024, 1024->1024, 1024->1024

from dataclasses import dataclass

from torch import Tensor, nn

from ..ops import Conv2d, EveryNth, Ops, SideInput, chain, plus, relu, silu, times
from . import kl
from .blocks.base import ConfigJson, Family, Member
from .blocks.ldm import GROUPS, Coder, Decoder
from .names import diffusers, ldm
from .shapes import Shapes

CONDITION = "decoder.encoder."


@dataclass(frozen=True)
class AsymmetricConfig(kl.KLConfig):
    """The condition encoder's channels are the decoder's: they meet in every level."""


def detect(shapes: Shapes, norm_groups: int = GROUPS) -> AsymmetricConfig | None:
    own = {name: shape for name, shape in shapes.items() if not name.startswith(CONDITION)}
    config = kl.detect(own, norm_groups) if len(own) < len(shapes) else None
    return AsymmetricConfig(**vars(config)) if config and config.decoder else None


class ConditionEncoder(nn.Module):
    """What an image has to say to every level of the decoder: two convolutions at full size, then one a halving."""

    def __init__(self, c: Coder, in_channels: int):
        super().__init__()
        widths = (*c.widths, c.widths[-1])
        self.layers = nn.ModuleList(
            Conv2d(c_in, c_out) if i < 2 else Conv2d(c_in, c_out, 4, stride=2, pad=(1, 1))
            for i, (c_in, c_out) in enumerate(zip((in_channels, *widths[:-1]), widths, strict=True))
        )

    def first(self, count: int) -> Ops:
        """Its first convolutions, without the activation after the last."""
        _, *ops = (op for conv in list(self.layers)[:count] for op in (relu, conv))
        return chain(*ops)


def image(beside: Tensor) -> Tensor:
    return beside[:, :-1]


def mask(beside: Tensor) -> Tensor:
    return beside[:, -1:]


def invert(x: Tensor) -> Tensor:
    return 1 - x


class MaskedDecoder(Decoder):
    """Beside it lie an image that is 0 where the mask is 1, and the mask: (B, out_channels + 1, H, W)."""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__(c, z_channels, out_channels)
        self.encoder = ConditionEncoder(c, out_channels)

    def masked_ops(self) -> Ops:
        levels = [part for i, level in reversed(list(enumerate(self.up))) for part in (*self.blended(i, i + 2), level)]
        end = (*self.blended(0, 1), self.norm_out, silu, self.conv_out)
        return chain(self.conv_in, self.mid, *levels, *end)

    def blended(self, halvings: int, convs: int) -> Ops:
        """x * mask + image's features * (1 - mask), at 1 / 2^halvings."""
        small = (mask, *((EveryNth(2**halvings),) if halvings else ()))
        features = (image, *self.encoder.first(convs), SideInput((*small, invert), times))
        return SideInput(small, times), SideInput(features, plus)


class AsymmetricKL(kl.AutoencoderKL):
    def __init__(self, c: AsymmetricConfig):
        super().__init__(c)
        self.decoder = MaskedDecoder(c.decoder, c.z_channels, c.out_channels) if c.decoder else None

    def masked_decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, *self.decoder.masked_ops()) if self.decoder else ()


_SD = kl.FAMILY.example

FAMILY = Family(
    name="asymmetric",
    title="Autoencoder-KL with a mask-conditioned decoder (2-D)",
    detect=detect,
    build=AsymmetricKL,
    example=AsymmetricConfig(**{**vars(_SD), "decoder": Coder((192, 384, 768, 768), (4,) * 4, (False,) * 4)}),
    layouts=(ldm.LDM, diffusers.TURNED, diffusers.TURNED_OLDER, *ldm.HALVES, *diffusers.TURNED_HALVES),
    grouped=True,
    config_json=ConfigJson(("AsymmetricAutoencoderKL",), kl.read_config_json),
    members=(Member("asymmetric decoders for SD 1.x (x1.5, x2)", 4, 8),),
)
