"""The .safetensors files of kohya-ss/musubi-tuner: of an image or a clip each. See formats.py."""

import re
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ...vae_core.latents import RAW
from ..buckets import MUSUBI
from ..formats import FORMATS, READ_ONLY, Format
from .kept import Kept, Unread

SUFFIX = ".safetensors"
_LATENT = re.compile(r"latents_(?:(\d+)x)?(\d+)x(\d+)_(bfloat16|float16|float32)")
_SIZED = re.compile(r"(.+?)(?:_\d{5}-\d{3})?_(\d{4,})x(\d{4,})_[a-z0-9]+")  # with the place of a clip in its video
UNKNOWN = Format((), RAW, SUFFIX)


def read(path: Path) -> Iterator[Kept | Unread]:
    """The latent of a file; nothing if it holds other things, as weights or texts that were encoded."""
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            names = [name for name in file.keys() if _LATENT.fullmatch(name)]  # noqa: SIM118
            if "architecture" not in said:
                return
            for name in names:
                yield _make(path, name, said, file.get_tensor(name).clone())
    except (OSError, SafetensorError) as error:
        yield Unread(str(path), f"it cannot be read: {str(error)[:200]}")


def _make(path: Path, name: str, said: dict[str, str], latent) -> Kept:
    frames, height, width, dtype = _LATENT.fullmatch(name).groups()  # type: ignore[union-attr]
    format, named = find_format(said["architecture"]), _SIZED.fullmatch(path.stem)
    sizes = [said.get(one, "") for one in ("width", "height")]
    original = (int(sizes[0]), int(sizes[1])) if all(one.isdecimal() for one in sizes) else None
    faults = []
    if tuple(latent.shape[-2:]) != (int(height), int(width)):
        faults.append(f"its '{name}' has the size {latent.shape[-2]}x{latent.shape[-1]}, not that of its name")
    if latent.ndim == 4 and frames and latent.shape[1] != int(frames):
        faults.append(f"its '{name}' has {latent.shape[1]} frames, not those of its name")
    if str(latent.dtype) != f"torch.{dtype}":
        faults.append(f"its '{name}' is of {str(latent.dtype).removeprefix('torch.')}")
    if named and original and original != (int(named[2]), int(named[3])):
        faults.append(f"its metadata say {original[0]}x{original[1]}, which is not in the file's name")
    return Kept(
        where=str(path),
        trainer=MUSUBI,
        latent=latent,
        convention=format.convention,
        made=path.stat().st_mtime_ns,
        spaces=format.spaces,
        stem=named[1] if named else path.stem,
        near=path.parent,
        original=original,
        faults=tuple(faults),
    )


def find_format(architecture: str) -> Format:
    known = (*FORMATS[MUSUBI].values(), *READ_ONLY)
    return next((one for one in known if one.architecture == architecture), UNKNOWN)
