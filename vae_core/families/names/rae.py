"""Names of RAE: one set of names for the layers of all four vision transformers is the reference.

diffusers' class holds an encoder of transformers, whose names have changed between its versions 4 and 5; all are read.
The authors' training checkpoints hold the same networks, the encoder in a module of its own.
"""

import re
from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, begins
from .rules import BothWays, both_ways


def from_diffusers(own: Shapes) -> Names:
    return {name: _read(name) for name in own}


def from_original(own: Shapes) -> Names:
    return {name: _read(re.sub(r"^encoder\.(encoder|model)\.", "encoder.", name)) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    """As diffusers 0.42 writes them with transformers 5; SigLIP's as it wrote them with 4, which its class names."""
    encoder = getattr(config, "encoder", None)
    rules = {"encoder": _WRITTEN[encoder.kind] if encoder else both_ways(), "decoder": _DECODER}
    return {name: rules.get(name.partition(".")[0], _BESIDE).write(name) for name in names}


def _read(name: str) -> str:
    for rules in (_DECODER if name.startswith("decoder.") else _PLACES, _ATTENTION, _REST):
        name = rules.read(name)
    return name


_BESIDE = both_ways()
_DECODER = both_ways(
    ("^decoder.decoder_layers.#.", "^decoder.layers.#."),
    (".attention.to_q.", ".attention.q_proj."),
    (".attention.to_k.", ".attention.k_proj."),
    (".attention.to_v.", ".attention.v_proj."),
    (".attention.to_out.0.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".#.output.dense.", ".#.mlp.fc2."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
)
_PLACES = both_ways(
    ("^encoder.vision_model.", "^encoder."),
    ("^encoder.encoder.layer.#.", "^encoder.layers.#."),
    ("^encoder.encoder.layers.#.", "^encoder.layers.#."),
    (".patch_embedding.", ".patch_embeddings.projection."),
)
_ATTENTION = both_ways(
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".self_attn.out_proj.", ".attention.o_proj."),
    (".self_attn.", ".attention."),
)
_REST = both_ways(
    (".intermediate.dense.", ".mlp.fc1."),
    (".#.output.dense.", ".#.mlp.fc2."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
)
_WRITTEN: dict[str, BothWays] = {
    "dinov2": both_ways(("^encoder.encoder.layer.#.", "^encoder.layers.#.")),
    "mae": both_ways((".layernorm_before.", ".norm1."), (".layernorm_after.", ".norm2.")),
    "siglip2": both_ways(
        ("^encoder.vision_model.", "^encoder."),
        ("^encoder.encoder.layers.#.", "^encoder.layers.#."),
        (".patch_embedding.", ".patch_embeddings.projection."),
        (".self_attn.", ".attention."),
        (".self_attn.out_proj.", ".attention.o_proj."),
        (".layer_norm1.", ".norm1."),
        (".layer_norm2.", ".norm2."),
    ),
}

ORIGINAL_NAMES = Layout(ORIGINAL, begins("encoder.encoder.embeddings.", "encoder.model."), from_original)
DIFFUSERS_NAMES = Layout(
    DIFFUSERS,
    begins("encoder.embeddings.", "encoder.vision_model.", "decoder.decoder_layers."),
    from_diffusers,
    to_diffusers,
)
