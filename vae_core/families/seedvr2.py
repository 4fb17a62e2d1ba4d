"""SeedVR2's autoencoder of clips: 16 channels at 1/8, and one latent frame for four.

Wang et al. 2025 (https://arxiv.org/abs/2506.05301); reference: ByteDance-Seed/SeedVR models/video_vae_v3 (Apache-2.0),
also ModelTC/LightX2V lightx2v/models/video_encoders/hf/seedvr. It is latent diffusion's autoencoder with convolutions
over frames, whose parameters bear CompVis' names here. Norms and attention see single frames, so a clip is run a few
frames at a time. Before the first frame is that frame again, beyond the borders of an image are zeros.

Two surprises. Twice the frames are made in the order (row, column, frame, channel), and of the first frame's pair the
second one goes. And latents are scaled inside the VAE, as programs that run SeedVR2 pass them on.
"""

# SeedVR2's. Blocks of a level in brackets; / halves, * doubles, t: in time too:
#   encoder   conv_in 3->128 | down 128(2) / 256(2) /t 512(2) /t 512(2) | mid | out 512->32
#   decoder   conv_in 16->512 | mid | up 512(3) *t 512(3) *t 256(3) * 128(3) | out 128->3

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from ..ops import Affine, Conv3d, Ops, PixelShuffle, Temporal, chain, join, keeps_scale, silu
from .blocks.base import ClipLaw, Family, Halves, Member, Network
from .blocks.ldm import AttnBlock, Coder, halved, norm, read_coder
from .blocks.ldm_3d import Kit, ResnetBlock
from .names import seedvr2 as names
from .shapes import Shapes, size, tops_of, vote

SCALE = 0.9152  # configs_3b/main.yaml of ByteDance-Seed/SeedVR: vae.scaling_factor


@dataclass(frozen=True)
class SeedVR2Config(Halves):
    """in_time: of the changes of resolution of each half, from the highest: is the number of frames changed too?"""

    z_channels: int
    encoder: Coder | None
    decoder: Coder | None
    encoder_in_time: tuple[bool, ...] = (False, True, True)
    decoder_in_time: tuple[bool, ...] = (False, True, True)
    in_channels: int = 3
    out_channels: int = 3

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(self.encoder_in_time if self.encoder else self.decoder_in_time)


def detect(shapes: Shapes) -> SeedVR2Config | None:
    if not any(".upsample.upscale_conv." in name for name in shapes):
        return None
    encoder, decoder = read_coder(shapes, "encoder"), read_coder(shapes, "decoder")
    held = tops_of(shapes)
    z = vote([size(shapes, "decoder.conv_in.weight", 1), *halved(shapes, "encoder.conv_out")])
    if not z or not decoder or ("encoder" in held and not encoder):
        return None
    return SeedVR2Config(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        encoder_in_time=tuple(_halves_frames(shapes, i) for i in range(len(encoder.widths) - 1)) if encoder else (),
        decoder_in_time=tuple(_doubles_frames(shapes, i) for i in range(1, len(decoder.widths))),
        in_channels=size(shapes, "encoder.conv_in.weight", 1) or 3,
        out_channels=vote([size(shapes, "decoder.conv_out.weight"), size(shapes, "decoder.conv_out.bias")]) or 3,
    )


def _halves_frames(shapes: Shapes, level: int) -> bool:
    """By its convolution's taps in time; one that is not there, or misshapen, is taken for one of several."""
    shape = shapes.get(f"encoder.down.{level}.downsample.conv.weight", ())
    return len(shape) != 5 or shape[2] > 1


def _doubles_frames(shapes: Shapes, level: int) -> bool:
    conv = f"decoder.up.{level}.upsample"
    made = [size(shapes, f"{conv}.upscale_conv.{part}") for part in ("bias", "weight")]
    width = vote(size(shapes, f"{conv}.conv.{part}") for part in ("bias", "weight"))
    return next((made == 8 * width for made in made if made and width and made in (4 * width, 8 * width)), True)


causal = partial(Conv3d, repeats=True, border="constant")
KIT = Kit(causal, norm, causal=True)


class PairsToFrames(Temporal):
    """Two frames of each, whose channels lie one after the other; of the first frame's only the first.

    (T, 2 C, H, W) -> (2 T - 1, C, H, W)
    """

    keeps_scale = True

    def advance(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        t, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(t, h, w, 2, c // 2).permute(0, 3, 1, 2, 4)
        y = y.reshape(2 * t, h, w, c // 2).permute(0, 3, 1, 2)
        return join([y[:1], y[2:]]) if past is None else y, x[:0].clone()

    def as_single_frame(self) -> Ops:
        return (keeps_scale(_first_half),)


def _first_half(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)[..., : x.shape[1] // 2].contiguous().permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """Half the rows and columns, and frames: (T, C, 2H, 2W) -> (T', C, H, W)"""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        frames = (3, 2) if in_time else (1, 1)
        self.conv = causal(c, c, (frames[0], 3, 3), stride=(frames[1], 2, 2), pad=(0, 1))

    def ops(self) -> Ops:
        return self.conv.ops()


class Upsample(nn.Module):
    """The way back: each pixel makes several, and then a convolution."""

    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.upscale_conv, self.conv = Conv3d(c, c * (8 if in_time else 4), 1), causal(c, c)
        self.in_time = in_time

    def ops(self) -> Ops:
        return chain(self.upscale_conv, PixelShuffle("yxc"), PairsToFrames() if self.in_time else None, self.conv)


class Level(nn.Module):
    """One resolution: residual blocks, then perhaps a change of resolution."""

    def __init__(self, c_in: int, c: int, blocks: int, change: Downsample | Upsample | None):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(c_in if i == 0 else c, c, KIT) for i in range(blocks))
        self.downsample = change if isinstance(change, Downsample) else None
        self.upsample = change if isinstance(change, Upsample) else None

    def ops(self) -> Ops:
        return chain(*self.block, self.downsample, self.upsample)


class Middle(nn.Module):
    def __init__(self, c: int, attention: bool):
        super().__init__()
        self.block_1, self.block_2 = ResnetBlock(c, c, KIT), ResnetBlock(c, c, KIT)
        self.attn_1 = AttnBlock(c) if attention else None

    def ops(self) -> Ops:
        return chain(self.block_1, self.attn_1, self.block_2)


class Encoder(nn.Module):
    """pixels (T, 3, H, W) in [-1, 1] -> moments (T', 2 * z_channels, h, w)"""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], in_channels: int, z_channels: int):
        super().__init__()
        stem, top = c.stem or c.widths[0], c.widths[-1]
        self.conv_in = causal(in_channels, stem)
        changes = [Downsample(width, twice) for width, twice in zip(c.widths[:-1], in_time, strict=True)]
        levels = zip((stem, *c.widths[:-1]), c.widths, c.num_res_blocks, (*changes, None), strict=True)
        self.down = nn.ModuleList(Level(*level) for level in levels)
        self.mid = Middle(top, c.mid_attention)
        self.norm_out, self.conv_out = norm(top), causal(top, 2 * z_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down, self.mid, self.norm_out, silu, self.conv_out)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> pixels (T', 3, H, W) in [-1, 1]. Level 0 is the highest resolution and runs last."""

    def __init__(self, c: Coder, in_time: tuple[bool, ...], z_channels: int, out_channels: int):
        super().__init__()
        top = c.widths[-1]
        self.conv_in = causal(z_channels, top)
        self.mid = Middle(top, c.mid_attention)
        changes = [Upsample(width, twice) for width, twice in zip(c.widths[1:], in_time, strict=True)]
        levels = zip((*c.widths[1:], top), c.widths, c.num_res_blocks, (None, *changes), strict=True)
        self.up = nn.ModuleList(Level(*level) for level in levels)
        self.norm_out, self.conv_out = norm(c.widths[0]), causal(c.widths[0], out_channels)

    def ops(self) -> Ops:
        return chain(self.conv_in, self.mid, *reversed(self.up), self.norm_out, silu, self.conv_out)


class SeedVR2VAE(Network):
    def __init__(self, c: SeedVR2Config):
        super().__init__()
        z = c.z_channels
        self.encoder = Encoder(c.encoder, c.encoder_in_time, c.in_channels, z) if c.encoder else None
        self.decoder = Decoder(c.decoder, c.decoder_in_time, z, c.out_channels) if c.decoder else None
        self.clip_law = ClipLaw(1, c.temporal_ratio)

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def to_latent_ops(self) -> Ops:
        return (Affine(SCALE, 0.0),)

    def from_latent_ops(self) -> Ops:
        return (Affine(1 / SCALE, 0.0),)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_WIDTHS, _LEVELS = (128, 256, 512, 512), 4

FAMILY = Family(
    name="seedvr2",
    title="SeedVR2's autoencoder",
    detect=detect,
    build=SeedVR2VAE,
    example=SeedVR2Config(
        z_channels=16,
        encoder=Coder(_WIDTHS, (2,) * _LEVELS, (False,) * _LEVELS, stem=128),
        decoder=Coder(_WIDTHS, (3,) * _LEVELS, (False,) * _LEVELS),
    ),
    layouts=(names.SEEDVR2, names.OF_LDM),
    members=(Member("SeedVR2", 16, 8, 4),),
)
