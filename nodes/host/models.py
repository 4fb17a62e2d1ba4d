"""Files of models, by the names that nodes list."""

# pyright: reportMissingImports=false

import os
from pathlib import Path

from ...vae_core import BadRequest
from .place import given, in_comfyui

SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


def files(kind: str) -> list[str]:
    """The weights in a folder of models ('vae', 'vae_approx', 'checkpoints'), by their names within it."""
    if in_comfyui():
        import folder_paths

        return list(folder_paths.get_filename_list(kind))
    folder = _models() / kind
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def path(kind: str, name: str) -> Path:
    """Where such a file is. A name is untrusted: it comes from a workflow, and must be one that `files` lists."""
    if name not in files(kind):
        raise BadRequest(f"there is no '{name}' in the folder of models '{kind}'.")
    if in_comfyui():
        import folder_paths

        return Path(folder_paths.get_full_path_or_raise(kind, name))
    return _models() / kind / name


def _models() -> Path:
    here = given()
    return here.models if here else Path(os.environ.get("EXACT_VAE_MODELS", "models"))
