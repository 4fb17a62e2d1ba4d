"""Names of RAE: one set of names for the layers of all four vision transformers is the reference.

diffusers' class holds an encoder of transformers, whose names have changed between its versions 4 and 5; all are read.
The authors' training checkpoints hold the same networks, the encoder in a module of its own. What they publish is a
decoder, its names bare, and beside it in other files the statistics of the latent and transformers' encoder.
"""

import re
from collections.abc import Iterable
from typing import Any

from ..shapes import Shapes
from .layout import DIFFUSERS, ORIGINAL, Layout, Names, begins, half
from .rules import BothWays, both_ways

Written = tuple[BothWays, ...]  # applied one after the other
VARIANCE = "var"  # of the latent, in the authors' file of its statistics
_ENCODER = ("encoder.embeddings.", "encoder.layers.")


def from_diffusers(own: Shapes) -> Names:
    return {name: _read(name) for name in own}


def from_original(own: Shapes) -> Names:
    return {name: _read(re.sub(r"^encoder\.(encoder|model)\.", "encoder.", name)) for name in own}


def to_diffusers(names: Iterable[str], config: Any = None) -> Names:
    """As diffusers 0.42 writes them with transformers 5; SigLIP's as it wrote them with 4, which its class names."""
    return _write(names, config, _WRITTEN, (_DECODER,))


def to_original(names: Iterable[str], config: Any = None) -> Names:
    """As the authors' class has them, and beside them its statistics, which the authors keep in a file of their own."""
    return _write(names, config, _WRITTEN_BY_AUTHORS, (_DECODER_OF_4,))


def from_beside(own: Shapes) -> Names:
    """Of the files that the authors keep beside a decoder: its statistics, or an encoder as transformers publishes it.

    SigLIP's comes with a transformer of text, MAE's with a decoder of its own; none has the last norm's scale.
    """
    if own.keys() == {"mean", VARIANCE}:
        return {"mean": "_latents_mean", VARIANCE: "_latents_std"}
    read = {name: _read(f"encoder.{name.removeprefix('vit.')}") for name in own}
    kept = {old: new for old, new in read.items() if new.startswith(_ENCODER) and not new.endswith("position_ids")}
    return kept if "encoder.embeddings.patch_embeddings.projection.weight" in kept.values() else {}


def _write(names: Iterable[str], config: Any, encoders: dict[str, Written], decoder: Written) -> Names:
    encoder = getattr(config, "encoder", None)
    rules = {"encoder": encoders[encoder.kind] if encoder else (), "decoder": decoder}
    made = {name: name for name in names}
    for name in made:
        for each in rules.get(name.partition(".")[0], ()):
            made[name] = each.write(made[name])
    return made


def _read(name: str) -> str:
    return _READ.read(_DECODER.read(name))


_ATTENTION_OF_4 = (
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
)
_LAYERS = ("^encoder.encoder.layer.#.", "^encoder.layers.#.")
_NORMS = ((".layernorm_before.", ".norm1."), (".layernorm_after.", ".norm2."))
_DENSE = ((".intermediate.dense.", ".mlp.fc1."), (".#.output.dense.", ".#.mlp.fc2."))
_DECODER_OF_4 = both_ways(("^decoder.decoder_layers.#.", "^decoder.layers.#."), *_DENSE, *_ATTENTION_OF_4, *_NORMS)
_DECODER = both_ways(
    ("^decoder.decoder_layers.#.", "^decoder.layers.#."),
    (".attention.to_q.", ".attention.q_proj."),
    (".attention.to_k.", ".attention.k_proj."),
    (".attention.to_v.", ".attention.v_proj."),
    (".attention.to_out.0.", ".attention.o_proj."),
    *_DENSE,
    *_NORMS,
)
_READ = both_ways(
    ("^decoder.decoder_layers.#.", "^decoder.layers.#."),
    ("^encoder.vision_model.", "^encoder."),
    _LAYERS,
    ("^encoder.encoder.layers.#.", "^encoder.layers.#."),
    (".patch_embedding.", ".patch_embeddings.projection."),
    *_ATTENTION_OF_4,
    (".self_attn.out_proj.", ".attention.o_proj."),
    (".self_attn.", ".attention."),
    *_DENSE,
    *_NORMS,
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
)
_SIGLIP = both_ways(
    ("^encoder.encoder.layers.#.", "^encoder.layers.#."),
    (".patch_embedding.", ".patch_embeddings.projection."),
    (".self_attn.", ".attention."),
    (".self_attn.out_proj.", ".attention.o_proj."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
)
_WRITTEN: dict[str, Written] = {
    "dinov2": (both_ways(_LAYERS),),
    "mae": (both_ways(*_NORMS),),
    "siglip2": (_SIGLIP, both_ways(("^encoder.vision_model.", "^encoder."))),
}
_WRITTEN_BY_AUTHORS: dict[str, Written] = {
    "dinov2": (both_ways(_LAYERS, *_ATTENTION_OF_4), both_ways(("^encoder.encoder.", "^encoder."))),
    "mae": (both_ways(_LAYERS, *_DENSE, *_ATTENTION_OF_4, *_NORMS), both_ways(("^encoder.model.", "^encoder."))),
    "siglip2": (_SIGLIP, both_ways(("^encoder.model.", "^encoder."))),
}

ORIGINAL_NAMES = Layout(ORIGINAL, begins("encoder.encoder.embeddings.", "encoder.model."), from_original, to_original)
DIFFUSERS_NAMES = Layout(
    DIFFUSERS,
    begins("encoder.embeddings.", "encoder.vision_model.", "decoder.decoder_layers."),
    from_diffusers,
    to_diffusers,
)
DECODER_NAMES = half("decoder", ORIGINAL_NAMES, begins("decoder_embed.", "decoder_layers."))
