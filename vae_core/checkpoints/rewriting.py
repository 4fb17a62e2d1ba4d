"""A file of weights written again as .safetensors: the same names, shapes and dtypes, other numbers in some tensors.

The way back from reference names is the reading of the very file (`Detection.names`), so whatever layout and prefix it
came in, it leaves in; what a full checkpoint holds beside its VAE goes along. Tensors are written one after another,
and so are never in memory together.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..files.safetensors_writing import rank_width, write_safetensors
from .checkpoint import Checkpoint


def in_file(names: Mapping[str, str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under reference names -> under the file's own. names: reference name -> the file's (`Detection.names`)"""
    return {names[name]: tensor for name, tensor in weights.items()}


def rewrite(
    checkpoint: Checkpoint, target: Path, replaced: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write all of a checkpoint to `target`, which may not be one of its files.

    replaced   by the file's own names: cast to the dtype the file has, and given its shape
    metadata   added to the file's own
    Raises BadRequest if it cannot be written, BrokenCheckpoint if the tensors cannot be read.
    """
    entries = checkpoint.entries
    files = {file: n for n, file in enumerate(checkpoint.files)}
    names = sorted(entries, key=lambda name: (files[entries[name].file], rank_width(entries[name].dtype), name))
    layout = {name: (entries[name].dtype, entries[name].shape) for name in names}
    tensors = (_fit(replaced.get(name), old) for name, old in checkpoint.tensors(names))
    write_safetensors(target, layout, tensors, {"format": "pt", **checkpoint.metadata, **(metadata or {})})


def _fit(new: Tensor | None, old: Tensor) -> Tensor:
    return old if new is None else new.detach().to("cpu", old.dtype).reshape(old.shape)
