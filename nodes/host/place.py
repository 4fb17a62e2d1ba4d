"""Where the nodes run: in ComfyUI, or in surroundings that a caller gives them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from ...vae_core.execution import Progress


class Surroundings(NamedTuple):
    """What a run without ComfyUI has instead: folders of models, results, inputs, and someone who watches progress."""

    models: Path
    progress: Progress | None = None
    output: Path = Path("output")
    input: Path = Path("input")


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextmanager
def surroundings(
    models: str | Path, progress: Progress | None = None, output: str | Path = "output", input: str | Path = "input"
) -> Iterator[None]:
    """Run nodes with the models of this folder (vae/, vae_approx/, checkpoints/ in it, as in ComfyUI).

    output: the folder that nodes write to, as `filename_prefix` says. input: the folder that users put files into.
    """
    token = _surroundings.set(Surroundings(Path(models), progress, Path(output), Path(input)))
    try:
        yield
    finally:
        _surroundings.reset(token)


def in_comfyui() -> bool:
    """Is this process ComfyUI? It has imported both of these before it loads any pack."""
    return "folder_paths" in sys.modules and "comfy.sd" in sys.modules


def get_surroundings() -> Surroundings | None:
    """The surroundings a caller gave, if any."""
    return _surroundings.get()
