"""The VQ autoencoder of LlamaGen, which Janus took over: VQGAN's blocks in a row, codes of length 1.

Sun et al. 2024 (https://arxiv.org/abs/2406.06525); reference: FoundationVision/LlamaGen
tokenizer/tokenizer_image/vq_model.py (MIT), whose names the parameters bear. z is what the encoder makes, before the
codebook.

Two surprises. Codes and z are compared by their direction: both are scaled to length 1 before. And levels of the
decoder are counted in the order they run.
"""

# VQ-16. Blocks of a level in brackets:
#   encoder   conv_in 3->128 | 128 128 256 256 512 (2 each, halved between) | mid | out 512->256 | quant_conv 256->8
#   codebook  16384 codes of 8
#   decoder   post_quant_conv 8->256 | conv_in 256->512 | mid | 512 256 256 128 128 (3 each) | out 128->3

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..ops import Conv2d, Ops, chain, silu
from .blocks.base import Family, Halves, Member, Row
from .blocks.ldm import AttnBlock, Coder, Resample, ResnetBlock, is_2d, keeps_channels, norm, read_coder
from .names.llamagen import JANUS_TRANSFORMERS, LLAMAGEN, as_ldm
from .shapes import Shapes, size, vote
from .vq import Codebook, Quantised, channels_around_codes, codes


@dataclass(frozen=True)
class LlamaGenConfig(Halves):
    z_channels: int  # what the encoder's conv_out makes and the decoder's conv_in reads
    embed_dim: int  # channels of a code, and so of z between the quant convs
    codes: int  # in the codebook
    encoder: Coder
    decoder: Coder  # levels in the order they run
    in_channels: int = 3
    out_channels: int = 3

    @property
    def latent_channels(self) -> int:
        return self.embed_dim


def detect(shapes: Shapes) -> LlamaGenConfig | None:
    if not any(".conv_blocks." in name for name in shapes):
        return None
    own = as_ldm({name: shape for name, shape in shapes.items() if not name.startswith("quantize.")})
    encoder, decoder = read_coder(own, "encoder"), read_coder(own, "decoder")
    z, embed = channels_around_codes(own, shapes)
    if not (encoder and decoder and z and embed) or not is_2d(own) or not keeps_channels(own):
        return None
    return LlamaGenConfig(
        z_channels=z,
        embed_dim=embed,
        codes=codes(shapes, "quantize.embedding.weight"),
        encoder=encoder,
        decoder=decoder,
        in_channels=size(own, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(own, "decoder.conv_out.weight"), size(own, "decoder.conv_out.bias")]) or 3,
    )


class Directions(Codebook):
    """z (B, C, h, w) -> at every pixel the code whose direction is nearest, of length 1."""

    def codes(self) -> Tensor:
        return F.normalize(super().codes(), dim=1)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(F.normalize(z, dim=1))


class Level(nn.Module):
    """One resolution: residual blocks, each perhaps with attention, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, attention: bool, side: str | None):
        super().__init__()
        self.res = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c) for _ in range(blocks if attention else 0))
        self.downsample = Resample(c, up=False) if side == "down" else None
        self.upsample = Resample(c, up=True) if side == "up" else None

    def ops(self) -> Ops:
        attention = self.attn if len(self.attn) else [None] * len(self.res)
        pairs = (op for both in zip(self.res, attention, strict=True) for op in both)
        return chain(*pairs, self.downsample, self.upsample)


def _levels(c: Coder, c_in: int, side: str) -> Row:
    last = len(c.widths) - 1
    return Row(
        Level(before, width, blocks, attention, side if i < last else None)
        for i, (before, width, blocks, attention) in enumerate(
            zip((c_in, *c.widths[:-1]), c.widths, c.num_res_blocks, c.attention, strict=True)
        )
    )


def _middle(c: int, attention: bool) -> Row:
    return Row([ResnetBlock(c, c), *([AttnBlock(c)] if attention else []), ResnetBlock(c, c)])


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> (B, out_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, out_channels: int):
        super().__init__()
        stem, top = c.stem or c.widths[0], c.widths[-1]
        self.conv_in, self.conv_blocks = Conv2d(in_channels, stem), _levels(c, stem, "down")
        self.mid = _middle(top, c.mid_attention)
        self.norm_out, self.conv_out = norm(top), Conv2d(top, out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.conv_blocks, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """(B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]"""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__()
        top, bottom = c.widths[0], c.widths[-1]
        self.conv_in, self.mid = Conv2d(z_channels, top), _middle(top, c.mid_attention)
        self.conv_blocks = _levels(c, top, "up")
        self.norm_out, self.conv_out = norm(bottom), Conv2d(bottom, out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, self.conv_blocks, self.norm_out, silu, self.conv_out)


class LlamaGenVQ(Quantised):
    def __init__(self, c: LlamaGenConfig):
        super().__init__()
        self.encoder = Encoder(c.encoder, c.in_channels, c.z_channels)
        self.quant_conv = Conv2d(c.z_channels, c.embed_dim, 1)
        self.quantize = Directions(c.codes, c.embed_dim)
        self.post_quant_conv = Conv2d(c.embed_dim, c.z_channels, 1)
        self.decoder = Decoder(c.decoder, c.z_channels, c.out_channels)


_WIDTHS = (128, 128, 256, 256, 512)

FAMILY = Family(
    name="llamagen",
    title="VQ autoencoder of LlamaGen",
    detect=detect,
    build=LlamaGenVQ,
    example=LlamaGenConfig(
        z_channels=256,
        embed_dim=8,
        codes=16384,
        encoder=Coder(_WIDTHS, (2,) * 5, (False,) * 4 + (True,), stem=128),
        decoder=Coder(_WIDTHS[::-1], (3,) * 5, (True,) + (False,) * 4),
    ),
    layouts=(LLAMAGEN, JANUS_TRANSFORMERS),
    members=(Member("LlamaGen, Janus, Janus-Pro", 8, 16), Member("LlamaGen VQ-8", 8, 8)),
)
