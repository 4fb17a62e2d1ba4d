"""VAEs that are recognised but not run: told apart so that a file of theirs is refused by its name.

Marks are names, with a shape where names are not enough (None stands for any size). For every file at most one row
or one family answers.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .base import Shapes

Mark = Mapping[str, tuple[int | None, ...] | None]


class Foreign(NamedTuple):
    """A title; `names` any of which is proof; `marks` any of which is, if all its names have their shapes."""

    title: str
    names: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    def matches(self, shapes: Shapes) -> bool:
        alone = any(name in shapes for name in self.names)
        return alone or any(all(_fits(shapes.get(name), want) for name, want in mark.items()) for mark in self.marks)


def recognise(shapes: Shapes) -> Foreign | None:
    """The row these names (without prefix) belong to."""
    return next((row for row in FOREIGN if row.matches(shapes)), None)


def _fits(shape: tuple[int, ...] | None, want: tuple[int | None, ...] | None) -> bool:
    if shape is None or want is None:
        return shape is not None
    return len(shape) == len(want) and all(w in (None, s) for s, w in zip(shape, want, strict=True))


FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        "KVAE 2-D (16 channels at 1/8)",
        marks=({"decoder.mid.block_1.norm1.norm_layer.weight": None, "decoder.conv_in.weight": (1024, 16, 3, 3)},),
    ),
    Foreign(
        "KVAE 3-D (16 channels at 1/8)",
        marks=({"decoder.conv_in.conv.weight": (1024, 16, 3, 3, 3)},),
    ),
    Foreign(
        "Kandinsky 6 super-resolution (64 channels at 1/16, 3-D)",
        marks=({"decoder.conv_in.conv.weight": (2048, 64, 3, 3, 3)},),
    ),
    Foreign(
        "CogVideoX (16 channels at 1/8, 3-D)",
        marks=(
            {"decoder.conv_in.conv.weight": (512, 16, 3, 3, 3), "decoder.mid.block_1.norm1.norm_layer.weight": None},
            {
                "decoder.conv_in.conv.weight": (512, 16, 3, 3, 3),
                "decoder.mid_block.resnets.0.norm1.norm_layer.weight": None,
            },
        ),
    ),
    Foreign(
        "LTX-Video (128 channels at 1/32, 3-D)",
        marks=({"decoder.conv_in.conv.weight": (None, 128, 3, 3, 3)},),
    ),
    Foreign(
        "Mochi (12 channels at 1/8, 3-D)",
        names=(
            "decoder.blocks.2.blocks.3.stack.5.weight",
            "blocks.2.blocks.3.stack.5.weight",
            "layers.4.layers.1.attn_block.attn.qkv.weight",
        ),
        marks=({"decoder.conv_in.weight": (768, 12, 1, 1, 1)},),
    ),
    Foreign(
        "Cosmos (16 channels at 1/8, 3-D)",
        names=(
            "decoder.conv_in.0.conv3d.weight",
            "decoder.conv_in.conv_s.weight",
        ),
    ),
    Foreign(
        "Mage-VAE (128 channels at 1/16)",
        names=(
            "dconv_encoder.proj_out.weight",
            "student.dconv_encoder.proj_out.weight",
        ),
    ),
    Foreign(
        "SeedVR2 (16 channels at 1/8, 3-D)",
        names=("decoder.up_blocks.2.upsamplers.0.upscale_conv.weight",),
    ),
    Foreign(
        "MiniMax-H3 (24 channels at 1/16, 3-D)",
        names=("decoder.transformer_blocks.0.scale1",),
        marks=({"encoder.conv_out.weight": (48, 1024, 3, 3, 3)},),
    ),
    Foreign(
        "Allegro (4 channels at 1/8, 3-D)",
        names=("decoder.temp_conv_in.weight",),
    ),
    Foreign(
        "EasyAnimate MagVIT (16 channels at 1/8, 3-D)",
        marks=({"decoder.conv_in.weight": (512, 16, 3, 3, 3), "decoder.mid_block.convs.0.norm1.weight": None},),
    ),
    Foreign(
        "RAE (768 channels at 1/16)",
        names=("encoder.embeddings.patch_embeddings.projection.weight",),
    ),
    Foreign(
        "consistency decoder of SD",
        names=(
            "decoder_unet.conv_in.weight",
            "embed_image.f.weight",
        ),
    ),
)
