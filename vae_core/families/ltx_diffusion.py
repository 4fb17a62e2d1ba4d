"""LTX-2.5's other autoencoder of clips: LTX-Video's encoder, and a diffusion model that decodes in one step.

Lightricks 2026; reference: diffusers' LTX2VideoDiffusionDecoderModel (Apache-2.0), which is the decoder alone. Files of
Lightricks hold the encoder too, that of LTX-2.3, so their latents are the same. The parameters bear Lightricks' names.

There are no convolutions: layers whose attention sees the nearest pixels and frames. Four stages make a context of the
latent, at a quarter of the image's resolution. Then layers paint the image, beginning with noise, at the time t = 1,
that of noise alone: what they make is the image. At a border attention's window is moved inward. So the end of a clip
would see otherwise than its middle, and the last frame is repeated, to be left out again after these stages.

Two surprises. It needs noise: here that is always the same for clips of one size, see `Begin`. What depends on the time
is a constant then, made of the weights for every run. And the encoder's deviation is zero, other than in LTX-2.3's
file: its authors leave out what it says of it.
"""

# Layers of a stage in brackets; s doubles in space, t in time:
#   decoder   128->2048 | 2048(4) s 1024(6) t 512(4) st 512(2) st 256 | noise 48->256, told 256 (8) | out 256->48
#             | patch 48->3

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..ops import CHANNELS_LAST, Op, Ops, chain
from .blocks.base import ClipLaw, ConfigJson, Family, Member
from .blocks.ltx import TimeEmbedder
from .blocks.ltx_diffusion import HEAD, Begin, DropLast, Grow, Kernel, Layer, Modulations, Norm, RepeatLast, ToldLayer
from .blocks.ltx_rows import TRADED, Blocks, Change, Row, read_row
from .blocks.vit import FIRST, Linear
from .ltx_video import MULTIPLIER, PATCH, LTXConfig, LTXVideoVAE, find_z, read_colours
from .names import ltx_diffusion as names
from .shapes import Shapes, count, has_unread_half, size, vote

KERNELS: tuple[Kernel, ...] = ((3, 7, 7), (3, 7, 7), (3, 5, 5), (3, 5, 5))  # of the stages
LAST_KERNEL: Kernel = (11, 11, 11)  # of the layers that paint
SEED = 0
LOG_ZERO = -30.0
TIME = 1.0  # at which there is nothing but noise
ORIGINAL_CLASS = "CausalDiffusionVAE"


@dataclass(frozen=True)
class LTXDiffusionConfig(LTXConfig):
    """decoder: the stages, what changes resolution after each, and last the layers that paint.

    time     numbers that tell them the time
    fused    are queries, keys and values of one layer, as Lightricks has it?
    kernels  what attention sees in each; every published one has these
    """

    time: int = 384
    fused: bool = True
    kernels: tuple[Kernel, ...] = (*KERNELS, LAST_KERNEL)

    @property
    def repeated(self) -> int:
        """Times that the last frame of the latent is repeated."""
        return self.kernels[0][0] // 2 * 2


def detect(shapes: Shapes) -> LTXDiffusionConfig | None:
    encoder, decoder = read_row(shapes, "encoder.down_blocks."), _read_decoder(shapes)
    z, time = find_z(shapes), size(shapes, "decoder.shared_adaln.layer.weight", 1)
    if not z or not time or not decoder or has_unread_half(shapes, encoder, decoder):
        return None
    return LTXDiffusionConfig(
        z_channels=z,
        encoder=encoder,
        decoder=decoder,
        in_channels=read_colours([size(shapes, "encoder.conv_in.conv.weight", 1)]),
        out_channels=read_colours(size(shapes, f"decoder.conv_out.{t}") for t in ("weight", "bias")),
        time=time,
        fused=not any(name.endswith(".attn.q_proj.weight") for name in shapes),
    )


def _read_decoder(shapes: Shapes) -> Row | None:
    """The stages, and the layers that paint as the last of them."""
    stages = [f"decoder.det_stages.{i}." for i in range(count(shapes, "decoder.det_stages."))]
    stages.append("decoder.diff_blocks.")
    found = [(_read_width(shapes, stage), count(shapes, stage)) for stage in stages]
    blocks = [Blocks(width, layers) for width, layers in found if width and layers and width % HEAD == 0]
    made = [size(shapes, f"decoder.upsamples.{i}.expand.weight") or 0 for i in range(len(stages) - 1)]
    if len(blocks) != len(stages) or len(made) != len(KERNELS):
        return None
    row: list[Blocks | Change] = [blocks[0]]
    for block, channels in zip(blocks[1:], made, strict=True):
        if channels % block.width or channels // block.width not in TRADED:
            return None
        row += [Change(block.width, *TRADED[channels // block.width]), block]
    return tuple(row)


def _read_width(shapes: Shapes, stage: str) -> int | None:
    layers = (f"{stage}{i}." for i in range(count(shapes, stage)))
    return vote(size(shapes, f"{layer}{t}.weight") for layer in layers for t in ("norm1", "norm2", "attn.o_proj"))


class Decoder(nn.Module):
    """z (T, z_channels, h, w) -> patched pixels (T', 16 out_channels, H, W)"""

    def __init__(self, row: Row, c: LTXDiffusionConfig):
        super().__init__()
        *stages, last = (block for block in row if isinstance(block, Blocks))
        changes = [block for block in row if isinstance(block, Change)]
        colours = PATCH**2 * c.out_channels
        self.conv_in = Linear(c.z_channels, stages[0].width)
        self.det_stages = nn.ModuleList(
            nn.ModuleList(Layer(stage.width, kernel, c.fused) for _ in range(stage.count))
            for stage, kernel in zip(stages, c.kernels, strict=False)
        )
        self.upsamples = nn.ModuleList(Grow(stage.width, to) for stage, to in zip(stages, changes, strict=True))
        self.t_embedder = TimeEmbedder(c.time)
        self.conv_in_x_t = nn.Linear(colours, last.width)
        self.shared_adaln = Modulations(last.width, c.time)
        self.diff_blocks = nn.ModuleList(ToldLayer(last.width, c.kernels[-1], c.fused) for _ in range(last.count))
        self.norm_out, self.conv_out = Norm(last.width), Linear(last.width, colours)
        self.repeated = c.repeated
        self.dropped = c.repeated * prod(2 for change in changes if change.in_time)

    def ops(self) -> Ops:
        told = self.shared_adaln.tell(self.t_embedder.embed(self._time()))
        stages = (part for stage, up in zip(self.det_stages, self.upsamples, strict=True) for part in (*stage, up))  # type: ignore[misc]
        painted = (op for layer in self.diff_blocks for op in layer.modulated_by(told))  # type: ignore[operator]
        begun = RepeatLast(self.repeated), self.conv_in, *stages, DropLast(self.dropped), Begin(self.conv_in_x_t, SEED)
        return chain(*begun, *painted, self.norm_out, self.conv_out)

    def _time(self) -> Tensor:
        """As the embedder reads it, (), in fp32 at least."""
        like = self.conv_in.weight
        return torch.full((), TIME * MULTIPLIER, dtype=at_least_fp32(like.dtype), device=like.device)


class NoVariance(Op):
    """Means, and a log-variance that is not used -> means, and as many of zero's. Pointwise.

    (B, C + 1, H, W) -> (B, 2 C, H, W). For the logarithm of 0 its authors take -30 (`latent_log_var`: "constant").
    """

    growth = 2.0

    def __call__(self, x: Tensor) -> Tensor:
        means = x.permute(CHANNELS_LAST)[..., :-1]
        return F.pad(means, (0, means.shape[-1]), value=LOG_ZERO).permute(FIRST)


class LTXDiffusionVAE(LTXVideoVAE):
    make_decoder = Decoder
    variance = NoVariance()

    def __init__(self, c: LTXDiffusionConfig):
        super().__init__(c)
        self.clip_law = ClipLaw(1, c.temporal_ratio, images_are_clips=True)


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What shapes do not tell, of diffusers' class; or of Lightricks' own, by the config in a file's metadata."""
    if facts.get("_class_name") == ORIGINAL_CLASS:
        return {"model_output_type": "x0"}
    usual = {"patch_size": PATCH, "decoder_head_dim": HEAD, "decoder_stage_kernels": [list(k) for k in KERNELS]}
    usual |= {"decoder_stage5_kernel": list(LAST_KERNEL), "decoder_timestep_scale_multiplier": MULTIPLIER}
    return {**usual, "decoder_model_output_type": "x0", "decoder_num_inference_steps": 1}


_S, _T, _ST = (True, False), (False, True), (True, True)
_ENCODER = (Blocks(128, 4), Change(256, *_S), Blocks(256, 6), Change(512, *_T), Blocks(512, 4), Change(1024, *_ST),
            Blocks(1024, 2), Change(1024, *_ST), Blocks(1024, 2))  # fmt: skip
_DECODER = (Blocks(2048, 4), Change(1024, *_S), Blocks(1024, 6), Change(512, *_T), Blocks(512, 4), Change(512, *_ST),
            Blocks(512, 2), Change(256, *_ST), Blocks(256, 8))  # fmt: skip

FAMILY = Family(
    name="ltx_diffusion",
    title="LTX-2.5's diffusion decoder",
    detect=detect,
    build=LTXDiffusionVAE,
    example=LTXDiffusionConfig(128, _ENCODER, _DECODER),
    layouts=(names.LIGHTRICKS, names.LIGHTRICKS_DIFFUSERS),
    members=(Member("LTX-2.5's diffusion decoder", 128, 32, 8),),
    config_json=ConfigJson(("LTX2VideoDiffusionDecoder", ORIGINAL_CLASS), read_config_json),
)
