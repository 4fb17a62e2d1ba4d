"""A layout: one way to name, and to shape, the tensors of a family, read in both directions.

A family lists its layouts in `Family.layouts`. Detection reads a file in each whose marks the file has; saving writes
in the one that was asked for. Names of layouts, as `inspect` shows them:

    ldm                 CompVis, and Black Forest Labs (who keep FLUX.2's quant convs inside the halves)
    diffusers           of diffusers' class for the family
    diffusers-legacy    the same until diffusers 0.17: attention called query, key, value, proj_attn
    transformers        of transformers' class for Janus
    original            its authors' names: DC-AE's stages, op_list, context_module; Wan's downsamples and upsamples;
                        Stable Cascade's `codebook` and `previewer`
    module              taesd.py's own module: encoder.N, decoder.N
    taesd               the same halves in one file as taesd_encoder.N, taesd_decoder.N, perhaps with their scale
    pixel               the one mark of a pixel-space codec
    encoder, decoder    one half, its names bare
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from ..shapes import Shapes, text_of, tops_of

Names = dict[str, str]
Weights = Mapping[str, Tensor]
Marks = Callable[[Shapes], bool]
Read = Callable[[Shapes], Names]

ORIGINAL, DIFFUSERS = LAYOUTS = ("original", "diffusers")  # what a user chooses between to save
OUTSIDE = ("bn.", "quant_conv.", "post_quant_conv.", "quantize.")  # begin the names that are inside neither half


def keep_names(names: Iterable[str], config: Any = None) -> Names:
    """The layout's names are the reference's. Reads and writes."""
    return {name: name for name in names}


def keep_weights(weights: Weights, config: Any) -> Weights:
    return weights


class Layout(NamedTuple):
    """One way to name a family's tensors. Shapes are those of a file, without the prefix that a full checkpoint has.

    name        as `inspect` shows it
    marks       shapes -> may this be such a file? Only names are looked at
    read        shapes -> each of the file's names to the reference name
    write       reference names and config -> each to the layout's; None: files are never written so
    held        weights by reference name, and config -> the tensors that the layout holds, if they are others
    attention   how many dimensions the weights of attention's 1x1 convolutions are written in
    """

    name: str
    marks: Marks
    read: Read = keep_names
    write: Callable[[Iterable[str], Any], Names] | None = None
    held: Callable[[Weights, Any], Weights] = keep_weights
    attention: int = 4

    @property
    def choice(self) -> str:
        """What a user calls it who saves a file: ORIGINAL or DIFFUSERS."""
        return DIFFUSERS if self.name == DIFFUSERS else ORIGINAL


def begins(*starts: str) -> Marks:
    """Marks: a name that begins with any of these."""
    return partial(_begins, starts)


def half(name: str, layout: Layout, marks: Marks) -> Layout:
    """One half alone, its names bare: those of the whole, less `encoder.` or `decoder.`.

    name: 'encoder' or 'decoder'. marks: of such a half, given that no name begins with either.
    """
    return Layout(name, partial(_is_half, marks), partial(_read_half, name, layout.read))


def first_parts(own: Shapes) -> frozenset[str]:
    """What names begin with, up to their first dot."""
    return tops_of(own)


def _begins(starts: tuple[str, ...], own: Shapes) -> bool:
    text = text_of(own)
    return any(f"\n{start}" in text for start in starts)


def _is_half(marks: Marks, own: Shapes) -> bool:
    return bool(own) and not _begins(("encoder.", "decoder."), own) and marks(own)


def _read_half(part: str, read: Read, own: Shapes) -> Names:
    full = {name: name if name.startswith(OUTSIDE) else f"{part}.{name}" for name in own}
    reference = read({full[name]: shape for name, shape in own.items()})
    return {name: reference[full[name]] for name in own}
