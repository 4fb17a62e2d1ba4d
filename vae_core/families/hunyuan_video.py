"""HunyuanVideo's autoencoder of clips: 16 channels at 1/8, and one latent frame for four. Kandinsky 5 uses it too.

Kong et al. 2024, "HunyuanVideo" (https://arxiv.org/abs/2412.03603); reference: diffusers' AutoencoderKLHunyuanVideo,
the parameters bear the names of Tencent's file. It is latent diffusion's autoencoder with convolutions over frames.
Group norms take all frames of a clip together, so a clip is run with all its frames; rows can still be a few at a time.

Two surprises. Borders are not zeros: the nearest pixel, and the first frame, are seen again. And the first frame stands
alone: frames are doubled and halved after it, so an image is a clip of one frame.
"""

# HunyuanVideo's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) / 256(2) /t 512(2) /t 512(2) | mid | out 512->32 | quant_conv 32->32
#   decoder   post_quant_conv 16->16 | conv_in 16->512 | mid | up 512(3) * 512(3) *t 256(3) *t 128(3) | out 128->3

from dataclasses import dataclass

from torch import nn

from ..ops import Conv3d, Ops, RepeatFrames, Upsample2x, chain, silu
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import Coder, halved, read_coder
from .blocks.ldm_3d import GROUPED, Causal, Middle, ResnetBlock, group_norm, keeps_channels, reads_as, unwrapped
from .names import diffusers, ldm
from .shapes import Shapes, has_unread_half, size, vote

IN_TIME = 2  # changes of resolution, the last ones of each half, that change the number of frames too


@dataclass(frozen=True)
class HunyuanVideoConfig(Halves):
    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    in_channels: int = 3
    out_channels: int = 3
    quant_conv: bool = True
    post_quant_conv: bool = True

    @property
    def temporal_ratio(self) -> int:
        coder = self.encoder or self.decoder
        assert coder
        return 2 ** min(IN_TIME, len(coder.widths) - 1)


def detect(shapes: Shapes) -> HunyuanVideoConfig | None:
    if not reads_as(shapes, GROUPED):
        return None
    held, shapes = {name.partition(".")[0] for name in shapes}, unwrapped(shapes)
    encoder, decoder = read_coder(shapes, "encoder"), read_coder(shapes, "decoder")
    z = vote([size(shapes, "decoder.conv_in.weight", 1), size(shapes, "post_quant_conv.weight"),
              size(shapes, "post_quant_conv.bias"), *halved(shapes, "encoder.conv_out")])  # fmt: skip
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder) or not keeps_channels(shapes):
        return None
    return HunyuanVideoConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
        quant_conv="quant_conv" in held,
        post_quant_conv="post_quant_conv" in held,
    )


class Downsample(nn.Module):
    """Half the rows and columns, (T, C, 2H, 2W) -> (T, C, H, W), and frames: 2T - 1 become T."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.conv = Causal(c, c, stride=(2 if in_time else 1, 2, 2))

    def ops(self) -> Ops:
        return self.conv.ops()


class Upsample(nn.Module):
    """The way back: pixels, and frames but the first, are doubled."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.conv, self.in_time = Causal(c, c), in_time

    def ops(self) -> Ops:
        return chain(RepeatFrames() if self.in_time else None, Upsample2x(), self.conv)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, change: Downsample | Upsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, GROUPED) for i in range(blocks))
        self.downsample = change if isinstance(change, Downsample) else None
        self.upsample = change if isinstance(change, Upsample) else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_channels: int, z_channels: int):
        super().__init__()
        stem, top, last = c.stem or c.widths[0], c.widths[-1], len(c.widths) - 1
        self.conv_in = Causal(in_channels, stem)
        self.down = nn.ModuleList(
            Level(c_in, width, blocks, Downsample(width, i >= last - IN_TIME) if i < last else None)
            for i, (c_in, width, blocks) in enumerate(
                zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, strict=True)
            )
        )
        self.mid = Middle(top, c.mid_attention, GROUPED)
        self.norm_out, self.conv_out = group_norm(top), Causal(top, 2 * z_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, z_channels: int, out_channels: int):
        super().__init__()
        top = c.widths[-1]
        self.conv_in = Causal(z_channels, top)
        self.mid = Middle(top, c.mid_attention, GROUPED)
        self.up = nn.ModuleList(
            Level(c_in, width, blocks, Upsample(width, i <= IN_TIME) if i else None)
            for i, (c_in, width, blocks) in enumerate(
                zip((*c.widths[1:], top), c.widths, c.num_res_blocks, strict=True)
            )
        )
        self.norm_out, self.conv_out = group_norm(c.widths[0]), Causal(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


class HunyuanVideoVAE(Network):
    def __init__(self, c: HunyuanVideoConfig):
        super().__init__()
        z = c.z_channels
        self.encoder = Encoder(c.encoder, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, z, c.out_channels) if c.decoder else None
        self.quant_conv = Conv3d(2 * z, 2 * z, 1) if c.quant_conv else None
        self.post_quant_conv = Conv3d(z, z, 1) if c.post_quant_conv else None
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def decode_ops(self) -> Ops:
        return chain(self.post_quant_conv, self.decoder)


_WIDTHS, _LEVELS = (128, 256, 512, 512), 4

FAMILY = Family(
    name="hunyuan_video",
    title="HunyuanVideo autoencoder (3-D)",
    detect=detect,
    build=HunyuanVideoVAE,
    example=HunyuanVideoConfig(
        z_channels=16,
        encoder=Coder(_WIDTHS, (2,) * _LEVELS, (False,) * _LEVELS, stem=128),
        decoder=Coder(_WIDTHS, (3,) * _LEVELS, (False,) * _LEVELS),
    ),
    layouts=(ldm.LDM_OF_CLIPS, diffusers.TURNED, *ldm.HALVES, *diffusers.TURNED_HALVES),
    members=(Member("HunyuanVideo", 16, 8, 4),),
)
