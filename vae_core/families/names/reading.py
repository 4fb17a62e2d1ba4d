"""The readings of a file: each prefix that occurs, in each layout whose marks are there.

A *prefix* is what a full checkpoint puts before the VAE's names. Those that are common are tried first; if none of
them has a VAE, then whatever stands before `encoder.` and `decoder.`. Only names and shapes are looked at, never a
tensor, a dtype or a file name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from typing import NamedTuple

from ..shapes import Named, Shapes, text_of, tops_of
from .layout import Layout, Names
from .vidtok import over_frames_alone
from .wan import over_frames

PREFIXES = ("", "first_stage_model.", "vae.", "model.", "first_stage.", "autoencoder.", "module.")

# What a file may hold beside the network, and nothing reads: losses and averages of training, counters of batch norms,
# projections of a diffusion step, what a diffusion model does to latents, which are raw here, and other networks of a
# full checkpoint, which codes were used (LlamaGen), FLUX.2's encoder (Mage-VAE), what SigLIP sums an image up with
# (RAE), constants of a Haar transform (Cosmos). Any other surplus tensor within a module of the network is refused.
_LEFTOVER = re.compile(
    r"(loss|model_ema|discriminator|perceptual_loss)\.|(logvar|global_step)$"
    r"|(text_encoders?|cond_stage_model|conditioner|(model\.)?diffusion_model|unet|transformer|audio_vae|vocoder)\."
    r"|(scale_factor|scaling_factor|shift_factor)$|per_channel_statistics\.(channel$|mean-of-stds)"
    r"|(pipeline|decoder_model|decoder)\.y_embedder\.(encoder|bottleneck)\."
    r"|(encoder\.patcher3d|decoder\.unpatcher3d)\.\w+$"
    r"|quantize\.codebook_used$|(encoder|decoder)\.mid\.block_\d\.temb_proj\."
    r"|encoder\.(vision_model\.|model\.)?(embeddings\.position_ids$|head\.(probe$|attention\.|layernorm\.|mlp\.))"
)
_COUNTER = "num_batches_tracked"  # of a batch norm, anywhere
_HALF = re.compile(r"(?:^|\.)(?=(?:(?:taesd_)?(?:en|de)coder|previewer)\.)")
# Of networks whose halves have other names, or none.
_NO_HALF = re.compile(
    r"(?:^|\.)(?=(?:in_block|vquantizer|student\.dconv_encoder|pipeline\.s_embedder|decoder_unet)\."
    r"|(?<!student\.)dconv_encoder\.|(?<!decoder\.)embed_image\.)"
)
_HALVES = ("encoder.", "decoder.", "previewer.")  # each name that the patterns find has one of these, each in its turn
_NO_HALVES = ("in_block.", "vquantizer.", "dconv_encoder.", "pipeline.s_embedder.", "decoder_unet.", "embed_image.")
MOST_PREFIXES, LEAST_NAMES = 6, 8  # that are tried beside the common ones; such names that each must have
_COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module, wherever it is
_LINEAR = r"\.(q|k|v|proj|proj_in|proj_out|to_q|to_k|to_v|to_qkv|to_out|to_out\.0)\.weight$"
_VECTOR = r"(?:norm[^.]*\.weight|bias|gamma|running_\w+|(?:mean|std)-of-means)$"
_BLOCK = r"\.block\.\d+\.conv[12]\.weight$"


class Reading(NamedTuple):
    """A file's names in one layout: `names` leads from reference names to the file's, `shapes` is by reference name."""

    prefix: str
    layout: str
    shapes: dict[str, tuple[int, ...]]
    names: Names

    def module(self, name: str) -> str:
        """The file's own module, at the top, that a tensor lies in: 'decoder', 'conv_in'. name: the reference's"""
        own = self.names[name].replace(_COMPILED, "").removeprefix(self.prefix)
        return own.partition(".")[0]


class _Stripped(Mapping[str, Shapes]):
    """What is under each prefix that occurs, without it. Looked up when it is first asked for: the first may do."""

    def __init__(self, shapes: Shapes, prefixes: Iterable[str]):
        tops = tops_of(shapes)
        self._prefixes = [prefix for prefix in prefixes if not prefix or prefix.partition(".")[0] in tops]
        self._under = cache(partial(strip, shapes))

    def __getitem__(self, prefix: str) -> Shapes:
        return self._under(prefix)

    def __iter__(self) -> Iterator[str]:
        return (prefix for prefix in self._prefixes if self._under(prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Readings:
    """All readings of one file under some prefixes, each made when it is first asked for.

    shapes    by the file's own names
    prefixes  None: the common ones
    """

    def __init__(self, shapes: Shapes, prefixes: Iterable[str] | None = None):
        compiled = _COMPILED in text_of(shapes)
        self.file_names = {_shorten(name): name for name in shapes} if compiled else {name: name for name in shapes}
        if compiled:
            shapes = Named({short: shapes[name] for short, name in self.file_names.items()})
        self.own = _Stripped(shapes, PREFIXES if prefixes is None else prefixes)
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
        return read(prefix, layout, self.own[prefix], self.file_names)


def find_prefixes(shapes: Shapes) -> list[str]:
    """Other prefixes than the common ones, where a VAE may be: averages of training first, then by how much is there.

    'ema.' of {'ema.encoder.conv_in.weight', ...}, 'model.vae.' of {'model.vae.decoder.conv_in.weight', ...}
    """
    found, whole = (_count_before(marks, words, shapes) for marks, words in ((_HALF, _HALVES), (_NO_HALF, _NO_HALVES)))
    likely = [prefix for prefix, n in found.items() if n >= LEAST_NAMES or prefix in whole]
    likely = [prefix for prefix in {*likely, *whole} if prefix not in PREFIXES]
    return sorted(likely, key=lambda prefix: ("ema" not in prefix, -found[prefix], prefix))[:MOST_PREFIXES]


def _count_before(marks: re.Pattern[str], words: tuple[str, ...], shapes: Shapes) -> Counter[str]:
    """How often what stands before a mark. words: a name that is marked has one of them."""
    text = text_of(shapes)
    likely = [_shorten(name) for name in shapes if any(word in name for word in words)] if _any(words, text) else []
    return Counter(name[: match.end()] for name in likely for match in marks.finditer(name))


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)


def _shorten(name: str) -> str:
    """Without what compiling adds."""
    return name.replace(_COMPILED, "") if _COMPILED in name else name


def strip(shapes: Shapes, prefix: str) -> Named:
    """The tensors under the prefix, less leftovers, without the prefix."""
    own = (
        {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)} if prefix else shapes
    )
    return Named({name: shape for name, shape in own.items() if not is_leftover(name)})


def is_leftover(name: str) -> bool:
    """May a file hold this beside the network? name: without prefix."""
    return _LEFTOVER.match(name) is not None or name.endswith(_COUNTER)


def read(prefix: str, layout: Layout, own: Shapes, file_names: Names) -> Reading:
    """file_names: the file's own names by those without what compiling adds."""
    references, one_frame = layout.read(own), _is_one_frame(own)
    return Reading(
        prefix=prefix,
        layout=layout.name,
        shapes=Named({new: _as_reference(new, own[old], one_frame) for old, new in references.items()}),
        names={new: file_names[prefix + old] for old, new in references.items()},
    )


def _as_reference(name: str, shape: tuple[int, ...], one_frame: bool) -> tuple[int, ...]:
    """Without the ones that only some files have: a norm's weight is (C,), not (1, C, 1, 1)."""
    if len(shape) > 1 and shape[0] == 1 and shape.count(1) == len(shape) - 1 and re.search(_VECTOR, name):
        return tuple(n for n in shape if n > 1)
    return over_frames(name, over_frames_alone(name, _as_conv(name, shape, one_frame)))


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
