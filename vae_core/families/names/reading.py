"""The readings of a file: each prefix that occurs, in each layout whose marks are there.

A *prefix* is what a full checkpoint puts before the VAE's names. Only names and shapes are looked at, never a tensor, a
dtype or a file name.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from ..shapes import Shapes
from .layout import Layout, Names
from .wan import over_frames

PREFIXES = ("", "first_stage_model.", "vae.", "model.", "first_stage.", "autoencoder.", "module.", "_orig_mod.")

# What a file may hold beside the network, and nothing reads: losses and averages of training, counters of batch norms,
# projections of a diffusion step, and what a diffusion model does to latents, which are raw here. Any other surplus
# tensor is refused.
_LEFTOVER = (
    r"(loss|model_ema|discriminator|perceptual_loss)\.|(logvar|global_step)$"
    r"|(scale_factor|scaling_factor|shift_factor|latents_mean|latents_std)$"
    r"|(.+\.)?num_batches_tracked$|(encoder|decoder)\.mid\.block_\d\.temb_proj\."
)
_LINEAR = r"\.(q|k|v|proj_out|to_q|to_k|to_v|to_out)\.weight$"
_BLOCK = r"\.block\.\d+\.conv[12]\.weight$"


class Reading(NamedTuple):
    """A file's names in one layout: `names` leads from reference names to the file's, `shapes` is by reference name."""

    prefix: str
    layout: str
    shapes: dict[str, tuple[int, ...]]
    names: Names


class Readings:
    """All readings of one file, each made when it is first asked for. shapes: by the file's own names."""

    def __init__(self, shapes: Shapes):
        stripped = {prefix: strip(shapes, prefix) for prefix in PREFIXES}
        self.own = {prefix: own for prefix, own in stripped.items() if own}  # under each prefix that occurs
        self._marked = cache(self._has_marks)
        self._read = cache(self._reading)

    def under(self, prefix: str, layouts: Iterable[Layout]) -> Iterator[Reading]:
        """Under this prefix, in each of these layouts whose marks are there."""
        return (self._read(prefix, layout) for layout in layouts if self._marked(prefix, layout))

    def guesses(self, layouts: Iterable[Layout]) -> Iterator[Reading]:
        """Under every prefix, in each of these layouts, marks or not: to say what an unknown file comes nearest to."""
        layouts = list(layouts)
        return (self._read(prefix, layout) for prefix in self.own for layout in layouts)

    def _has_marks(self, prefix: str, layout: Layout) -> bool:
        return layout.marks(self.own[prefix])

    def _reading(self, prefix: str, layout: Layout) -> Reading:
        return read(prefix, layout, self.own[prefix])


def strip(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The tensors under the prefix, less leftovers, without the prefix."""
    own = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return {name: shape for name, shape in own.items() if not is_leftover(name)}


def is_leftover(name: str) -> bool:
    """May a file hold this beside the network? name: without prefix."""
    return re.match(_LEFTOVER, name) is not None


def read(prefix: str, layout: Layout, own: Shapes) -> Reading:
    references, one_frame = layout.read(own), _is_one_frame(own)
    return Reading(
        prefix=prefix,
        layout=layout.name,
        shapes={new: over_frames(new, _as_conv(new, own[old], one_frame)) for old, new in references.items()},
        names={new: prefix + old for old, new in references.items()},
    )


def _as_conv(name: str, shape: tuple[int, ...], one_frame: bool) -> tuple[int, ...]:
    """The shape of a convolution of images.

    Attention's 1x1 convolutions are stored as Linear by diffusers, (C, C) is (C, C, 1, 1), and over one frame in
    networks of clips: (C, C, 1, 1, 1). HunyuanImage's first file holds no others: (C, C, 1, 3, 3).
    """
    if len(shape) == 5 and shape[2] == 1 and (one_frame or re.search(_LINEAR, name)):
        return (*shape[:2], *shape[3:])
    return (*shape, 1, 1) if len(shape) == 2 and re.search(_LINEAR, name) else shape


def _is_one_frame(own: Shapes) -> bool:
    """Are the 3x3 convolutions of an LDM-named file over one frame? In a network of clips they are over three."""
    convs = [shape for name, shape in own.items() if re.search(_BLOCK, name)]
    return sum(len(shape) == 5 and shape[2] == 1 for shape in convs) * 2 > len(convs)
