"""The .npz files of kohya-ss/sd-scripts: of an image, in one size or several. See formats.py."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..buckets import SD_SCRIPTS
from ..formats import FORMATS, Format
from ..records import Size
from .kept import LARGEST, Kept, Unread

SUFFIX = ".npz"
_LATENT = re.compile(r"latents(_flipped)?(?:_(\d+)x(\d+))?")
_SIZED = re.compile(r"(.+)_(\d{4,})x(\d{4,})_[a-z0-9]+")  # the image's name and size, in the name of a file
OLD = Format(("sd1", "sdxl"), FORMATS[SD_SCRIPTS]["sdxl"].convention, SUFFIX, sized=False)  # before names said more


def read(path: Path) -> Iterator[Kept | Unread]:
    """The latents of a file; nothing if it holds others things, as texts that were encoded."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {one.filename.removesuffix(".npy"): one.file_size for one in archive.infolist()}
        names = [name for name in sizes if _LATENT.fullmatch(name)]
        if not names:
            return
        if max(sizes[name] for name in names) > LARGEST:
            yield Unread(str(path), "it claims a latent that is larger than 4 GiB")
            return
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                yield _make(path, name, file)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError, MemoryError, RuntimeError) as error:
        yield Unread(str(path), f"it cannot be read: {str(error)[:200]}")


def _make(path: Path, name: str, file: np.lib.npyio.NpzFile) -> Kept | Unread:
    array = file[name]
    if array.dtype.kind != "f":
        return Unread(str(path), f"its '{name}' is of {array.dtype}, and a latent is of floats")
    flipped, height, width = _LATENT.fullmatch(name).groups()  # type: ignore[union-attr]
    end = f"_{height}x{width}" if height else ""
    format, said = find_format(path), _SIZED.fullmatch(path.stem)
    original = _read_size(file, f"original_size{end}")
    faults = []
    if height and array.shape[-2:] != (int(height), int(width)):
        faults.append(f"its '{name}' has the size {array.shape[-2]}x{array.shape[-1]}, not that of its name")
    if said and original and original != (int(said[2]), int(said[3])):
        faults.append(f"its original_size is {original[0]}x{original[1]}, not that of the file's name")
    return Kept(
        where=f"{path}: {name}" if flipped or height else str(path),
        trainer=SD_SCRIPTS,
        latent=torch.from_numpy(np.array(array, array.dtype.newbyteorder("="))),
        convention=format.convention,
        made=path.stat().st_mtime_ns,
        spaces=format.spaces,
        stem=said[1] if said else path.stem,
        near=path.parent,
        original=original or ((int(said[2]), int(said[3])) if said else None),
        mirrored=bool(flipped),
        faults=tuple(faults),
    )


def find_format(path: Path) -> Format:
    """By the end of the file's name; one that says nothing is of SD or SDXL, as all once were."""
    known = FORMATS[SD_SCRIPTS].values()
    return next((one for one in known if path.name.endswith(one.ending)), OLD)


def _read_size(file: np.lib.npyio.NpzFile, name: str) -> Size | None:
    if name not in file.files:
        return None
    numbers = file[name].flatten().tolist()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None
