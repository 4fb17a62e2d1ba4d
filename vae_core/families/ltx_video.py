"""LTX-Video's autoencoders of clips: 128 channels at 1/32, and one latent frame for eight.

0.9.0 to 0.9.8, LTX-2, 2.3, and 2.5's convolutional one. HaCohen et al. 2024 (https://arxiv.org/abs/2501.00103);
reference: diffusers' AutoencoderKLLTXVideo and AutoencoderKLLTX2Video, and the configs in its
scripts/convert_ltx_to_diffusers.py and convert_ltx2_to_diffusers.py. The parameters bear Lightricks' names.

The encoder is causal. The decoder is not: each convolution sees the frame after its own, so a frame of the result
depends on some twenty latent frames after it. No norm looks beyond a pixel, so a clip is run a few frames at a time
all the same: an op that looks ahead waits for the frames it needs.

Some decoders are told a time, as a diffusion model is: how much noise is left in the latent. Here it is always 0.05,
the `decode_timestep` of Lightricks' own configs, and no noise is added, neither to the latent nor, in 0.9.1, between
convolutions: what is decoded is the latent that was given, and twice the same.

Latents are normalised inside the VAE by statistics in its file.
"""

# 0.9.5's. Blocks of a level in brackets; s halves or doubles in space, t in time:
#   encoder   patch 3->48 | conv_in 48->128 | 128(4) s 256(6) t 512(6) st 1024(2) st 2048(2) | out 2048->128 + 1
#   decoder   conv_in 128->1024 | 1024(5) st 512(5) st 256(5) st 128(5) | out 128->48 | patch 48->3

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..devices.dtypes import at_least_fp32
from ..ops import Op, Ops, PixelShuffle, PixelUnshuffle, chain, silu
from .blocks.base import ClipLaw, ConfigJson, Family, Halves, Member, Network
from .blocks.ltx import Conv, Grow, Kit, PixelNorm, ResBlock, Shrink, Stage, TimeEmbedder
from .blocks.ltx_rows import Blocks, Change, Row, Widening, read_row, sizes
from .blocks.norms import Normalising
from .names import ltx as names
from .shapes import Shapes, has_unread_half, size, vote

PATCH = 4  # pixels each way that are traded for channels first and last
TIME = 0.05  # configs/ltxv-*.yaml of Lightricks/LTX-Video: decode_timestep
ORIGINAL_CLASS = "CausalVideoAutoencoder"  # in ltx_video/models/autoencoders of Lightricks/LTX-Video
MULTIPLIER = 1000.0  # of a time, in every file that says so (timestep_scale_multiplier)


@dataclass(frozen=True)
class LTXConfig(Halves):
    """timed: is the decoder told a time? scaled: does the file say by how much the time is multiplied?"""

    z_channels: int
    encoder: Row | None
    decoder: Row | None
    timed: bool = False
    scaled: bool = False
    in_channels: int = 3
    out_channels: int = 3

    @property
    def spatial_ratio(self) -> int:
        return PATCH * 2 ** sum(change.in_space for change in self._changes)

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(change.in_time for change in self._changes)

    @property
    def _changes(self) -> list[Change]:
        return [block for block in self.encoder or self.decoder or () if isinstance(block, Change)]

    @property
    def bridged(self) -> bool:
        """Do changes of the decoder have a shortcut? Where all of them halve the width (0.9.1 to 2.0, not 2.3)."""
        changes = [(before, block) for before, block in pairwise(self.decoder or ()) if isinstance(block, Change)]
        return bool(changes) and all(c.traded == 8 and 2 * c.width == before.width for before, c in changes)

    @property
    def mirrored(self) -> bool:
        """Are images mirrored at their borders in the decoder? LTX-2's, which is 0.9.5's without a time."""
        return self.bridged and not self.timed


def detect(shapes: Shapes) -> LTXConfig | None:
    encoder, decoder = read_row(shapes, "encoder.down_blocks."), read_row(shapes, "decoder.up_blocks.")
    z = find_z(shapes)
    if not z or has_unread_half(shapes, encoder, decoder) or not (encoder or decoder):
        return None
    timed = sum(name.endswith("scale_shift_table") for name in shapes) > 1
    scaled = "decoder.timestep_scale_multiplier" in shapes
    seen = read_colours([size(shapes, "encoder.conv_in.conv.weight", 1)])
    config = LTXConfig(
        z, encoder, decoder, timed, timed and scaled, seen, read_colours(sizes(shapes, "decoder.conv_out.conv"))
    )
    return None if timed and any(isinstance(block, Widening) for block in decoder or ()) else config


def find_z(shapes: Shapes) -> int | None:
    """Channels of the latent."""
    made = vote(sizes(shapes, "encoder.conv_out.conv"))
    read = [size(shapes, f"decoder.conv_in.{layer}", 1) for layer in ("conv.weight", "weight")]
    held = (size(shapes, f"per_channel_statistics.{name}") for name in STATISTICS)
    return vote([*read, made and made - 1, *held])


def read_colours(channels: Iterable[int | None]) -> int:
    """Of pixels, by what tensors say of the patches."""
    return next((n // PATCH**2 for n in channels if n and n % PATCH**2 == 0), 3)


class Encoder(nn.Module):
    """pixels (T, 16 in_channels, H, W), patched -> (T', z_channels + 1, h, w): means, and one log-variance for all"""

    def __init__(self, row: Row, seen: int, z: int):
        super().__init__()
        kit, width = Kit(around=False), row[0].width
        self.conv_in = Conv(seen, width, kit)
        self.down_blocks = nn.ModuleList()
        for block in row:
            if isinstance(block, Change):
                self.down_blocks.append(Conv(width, width, kit, 2) if block.strided else Shrink(width, block, kit))
            else:
                self.down_blocks.append(_blocks(block, width, kit))
            width = block.width
        self.conv_out = Conv(width, z + 1, kit)

    def ops(self) -> Ops:
        return chain(self.conv_in, *self.down_blocks, PixelNorm(), silu, self.conv_out)


def _blocks(block: Blocks | Widening, width: int, kit: Kit, timed: bool = False) -> Stage | ResBlock:
    if isinstance(block, Widening):
        return ResBlock(width, block.width, kit)
    return Stage(width, block.count, kit, timed, block.noisy)


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> patched pixels (T', 16 out_channels, H, W)"""

    def __init__(self, row: Row, c: LTXConfig):
        super().__init__()
        kit, width = Kit(around=True, border="reflect" if c.mirrored else "constant"), row[0].width
        self.conv_in, self.timed = Conv(c.z_channels, width, kit), c.timed
        self.up_blocks = nn.ModuleList()
        for block in row:
            if isinstance(block, Change):
                self.up_blocks.append(Grow(width, block, kit, c.bridged))
            else:
                self.up_blocks.append(_blocks(block, width, kit, c.timed))
            width = block.width
        self.conv_out = Conv(width, PATCH**2 * c.out_channels, kit)
        self.timestep_scale_multiplier = nn.Parameter(torch.tensor(MULTIPLIER)) if c.scaled else None
        self.last_time_embedder = TimeEmbedder(2 * width) if c.timed else None
        self.last_scale_shift_table = nn.Parameter(torch.zeros(2, width)) if c.timed else None

    def ops(self) -> Ops:
        time = self._time()
        ops = self.conv_in.ops()
        for block in self.up_blocks:
            ops += block.ops(time) if isinstance(block, Stage) else chain(block)
        return (*ops, *chain(self._last_norm(time), silu, self.conv_out))

    def _time(self) -> Tensor | None:
        """As the embedders read it, (), in fp32 at least; None if it is told none."""
        weight, multiplier = self.conv_in.conv.weight, self.timestep_scale_multiplier
        time = torch.full((), TIME, dtype=at_least_fp32(weight.dtype), device=weight.device)
        return time * (MULTIPLIER if multiplier is None else multiplier.to(time.dtype)) if self.timed else None

    def _last_norm(self, time: Tensor | None) -> PixelNorm:
        if time is None or self.last_time_embedder is None or self.last_scale_shift_table is None:
            return PixelNorm()
        shift, scale = self.last_time_embedder.embed(time).view(2, -1) + self.last_scale_shift_table
        return PixelNorm(shift, 1 + scale)


class SpreadVariance(Op):
    """Means and one log-variance -> means and as many log-variances. Pointwise. (B, C + 1, H, W) -> (B, 2 C, H, W)"""

    growth = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.permute(0, 2, 3, 1)
        return torch.cat([x, x[..., -1:].expand(b, h, w, c - 2)], -1).permute(0, 3, 1, 2)


STATISTICS = ("mean-of-means", "std-of-means")


class Statistics(Normalising, nn.Module):
    """The latent has mean 0 and deviation 1 in every channel, by numbers that the file has."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer(STATISTICS[0], torch.zeros(channels))
        self.register_buffer(STATISTICS[1], torch.ones(channels))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (self.get_buffer(name).view(-1, *(1,) * (x.ndim - 2)) for name in STATISTICS)
        return mean, std


class LTXVideoVAE(Network):
    make_decoder: Callable[[Row, Any], nn.Module] = Decoder
    variance: Op = SpreadVariance()  # after the encoder

    def __init__(self, c: LTXConfig):
        super().__init__()
        self.clip_law = ClipLaw(1, c.temporal_ratio)
        self.encoder = Encoder(c.encoder, PATCH**2 * c.in_channels, c.z_channels) if c.encoder else None
        self.decoder = self.make_decoder(c.decoder, c) if c.decoder else None
        self.per_channel_statistics = Statistics(c.z_channels)

    def encode_ops(self) -> Ops:
        return chain(PixelUnshuffle("cxy", PATCH), self.encoder, self.variance)

    def to_latent_ops(self) -> Ops:
        return (self.per_channel_statistics.normalize,)

    def from_latent_ops(self) -> Ops:
        return (self.per_channel_statistics.denormalize,)

    def decode_ops(self) -> Ops:
        return chain(self.decoder, PixelShuffle("cxy", PATCH))


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What diffusers may have been told otherwise. Padding follows from the rest, see LTXConfig.mirrored.

    Or Lightricks' own programs, by the config in a file's metadata.
    """
    if facts.get("_class_name") == ORIGINAL_CLASS:
        return {"norm_layer": "pixel_norm", "latent_log_var": "uniform", "causal_decoder": False, "patch_size": PATCH}
    bridged = facts.get("upsample_residual")
    mirrored = not facts.get("timestep_conditioning") and (bridged is True or (bridged and all(bridged)))
    usual = {"encoder_causal": True, "decoder_causal": False, "patch_size": PATCH, "patch_size_t": 1,
             "encoder_spatial_padding_mode": "zeros", "resnet_norm_eps": 1e-6}  # fmt: skip
    return {**usual, "decoder_spatial_padding_mode": "reflect" if mirrored else "zeros"}


_S, _T, _ST = (True, False), (False, True), (True, True)
_ENCODER = (Blocks(128, 4), Change(256, *_S), Blocks(256, 6), Change(512, *_T), Blocks(512, 6), Change(1024, *_ST),
            Blocks(1024, 2), Change(2048, *_ST), Blocks(2048, 2))  # fmt: skip
_DECODER = (Blocks(1024, 5), Change(512, *_ST), Blocks(512, 5), Change(256, *_ST), Blocks(256, 5), Change(128, *_ST),
            Blocks(128, 5))  # fmt: skip

FAMILY = Family(
    name="ltx_video",
    title="LTX-Video's autoencoder",
    detect=detect,
    build=LTXVideoVAE,
    example=LTXConfig(128, _ENCODER, _DECODER, timed=True, scaled=True),
    layouts=(names.LTX, names.LTX_DIFFUSERS),
    members=(Member("LTX-Video 0.9.0 to 0.9.8, LTX-2, 2.3, and 2.5's convolutional one", 128, 32, 8),),
    config_json=ConfigJson(("AutoencoderKLLTX", ORIGINAL_CLASS), read_config_json),
)
