"""Files: of models, by the names that nodes list; and new ones, by a prefix."""

# pyright: reportMissingImports=false

import os
from pathlib import Path

from ...vae_core import BadRequest
from ...vae_core.files import NumberedFile, Series, demand_prefix, next_series, start_series
from .place import get_surroundings, in_comfyui

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
    here = get_surroundings()
    return here.models if here else Path(os.environ.get("EXACT_VAE_MODELS", "models"))


def new_file(prefix: str, suffix: str) -> NumberedFile:
    """Where a result goes, by the host's rules for `filename_prefix`. It has its number when it is written."""
    return _series(prefix).file(0, suffix)


def _series(prefix: str) -> Series:
    demand_prefix(prefix)
    if not in_comfyui():
        here = get_surroundings()
        return next_series(here.output if here else Path("output"), prefix, {})
    import folder_paths

    try:
        folder, stem, number, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory()
        )
    except Exception as e:  # which the host raises for a place outside of its folder, after telling of it
        why = next(iter(str(e).splitlines()), type(e).__name__)
        raise BadRequest(f"'{prefix}' is no place in the output folder: {why}") from e
    return start_series(Path(folder), subfolder, stem, number)
