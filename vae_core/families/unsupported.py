"""VAEs that are recognised but not run: told apart so that a file of theirs is refused by its name.

Marks are names, with a shape where names are not enough (None stands for any size). For every file at most one row
or one family answers. Versions of diffusers are the first releases whose package has the class.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .blocks.base import Member
from .shapes import Shapes

Mark = Mapping[str, tuple[int | None, ...] | None]


class Foreign(NamedTuple):
    """Files of others.

    of          whose they are
    diffusers   the first version of diffusers that runs it, and the class that does
    names       any of which is proof
    marks       any of which is, if all its names have their shapes
    way_out     another file that serves, as a sentence
    """

    of: Member
    diffusers: str = ""
    names: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    way_out: str = ""

    @property
    def title(self) -> str:
        return self.of.models

    def refuse(self) -> str:
        """Why such a file is refused."""
        title, channels, ratio, frames = self.of
        elsewhere = f": diffusers runs it since {self.diffusers}" if self.diffusers else ""
        facts = f"{channels} channels at 1/{ratio}" + (f", 1 frame to {frames}" if frames else "")
        return f"this is the VAE of {title} ({facts}), which is not supported yet{elsewhere}.{self.way_out}"

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
    # kandinskylab/KVAE-3D-2.0-t4s8: as Kandinsky 6's, but for what is beyond the borders of an image
    Foreign(Member("KVAE 3-D 2.0", 16, 8, 4), names=("encoder.down.0.downsample.temporal_conv.0.conv.weight",)),
    Foreign(
        Member("LTX-2.5 with its diffusion decoder", 128, 32, 8),
        diffusers="0.42.0 (LTX2VideoDiffusionDecoderModel)",
        names=("decoder.conv_in_x_t.weight",),
        way_out=" Its latents have another decoder, which is supported: take the file of the convolutional one.",
    ),
)
