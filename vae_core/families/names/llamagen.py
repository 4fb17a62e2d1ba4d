"""Names of LlamaGen's autoencoder: those of its authors are the reference; transformers has others for Janus' copy."""

from ..shapes import Shapes
from .layout import ORIGINAL, Layout, Names, begins, keep_names
from .rules import both_ways


def from_transformers(own: Shapes) -> Names:
    return {name: _TRANSFORMERS.read(name) for name in own}


def is_transformers(own: Shapes) -> bool:
    """Levels of the decoder are counted in the order they run: in names of latent diffusion the last doubles nothing.

    HunyuanImage's are too, but it has no codebook.
    """
    return any(name.startswith("decoder.up.0.upsample.") for name in own) and any(map(_is_codebook, own))


def as_ldm(own: Shapes) -> Shapes:
    """The same by the names of latent diffusion; levels of the decoder are counted in the order they run."""
    return {_TRANSFORMERS.write(name): shape for name, shape in own.items()}


def _is_codebook(name: str) -> bool:
    return name.startswith("quantize.")


_TRANSFORMERS = both_ways(
    ("^encoder.down.#.", "^encoder.conv_blocks.#."),
    ("^decoder.up.#.", "^decoder.conv_blocks.#."),
    (".block.#.", ".res.#."),
    (".mid.block_1.", ".mid.0."),
    (".mid.attn_1.", ".mid.1."),
    (".mid.block_2.", ".mid.2."),
)

LLAMAGEN = Layout(ORIGINAL, begins("encoder.conv_blocks.", "decoder.conv_blocks."), write=keep_names)
JANUS_TRANSFORMERS = Layout("transformers", is_transformers, from_transformers)
