"""Latents as trainers keep them: the names of their tensors, and what their numbers mean.

sd-scripts   `.npz` with `latents` (C, h, w), or `latents_64x96`; the end of the file's name says whose
             (kohya-ss/sd-scripts, library/strategy_*.py)
musubi       `.safetensors` with `latents_1x64x96_bfloat16` (C, T, h, w) or (C, h, w); so does the end of its name
             (kohya-ss/musubi-tuner, dataset/architectures.py, cache_io.py)
others       `latents`
"""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import BadRequest, LatentMismatch, some
from .conventions import NORMALISED, RAW, SCALED
from .spaces import SPACES
from .tag import Tag

ARCHIVE = ".npz"
NAME = re.compile(r"latents(?:_\d+x\d+(?:x\d+)?)?(?:_(?:bfloat16|float16|float32))?")
LARGEST = 2**34  # bytes of a tensor in an archive: a clip of 16 GiB, and room for that is asked of nobody unread


class Meaning(NamedTuple):
    """Whose the numbers are, a key of SPACES, and their convention."""

    space: str
    convention: str


# The end of a file's name without its suffix: `image_1024x0768_sdxl.npz`.
MEANINGS: Mapping[str, Meaning] = {
    "sd": Meaning("sd1", RAW),
    "sdxl": Meaning("sdxl", RAW),
    "sd3": Meaning("sd3", RAW),
    "flux": Meaning("flux1", SCALED),
    "lumina": Meaning("flux1", SCALED),
    "hi": Meaning("hunyuan-image", RAW),
    "anima": Meaning("wan21", NORMALISED),
    "hv": Meaning("hunyuan-video", RAW),
    "hv15": Meaning("hunyuan-video-15", RAW),
    "fk": Meaning("flux1", SCALED),
    "f2d": Meaning("flux2", RAW),
    "f2k4b": Meaning("flux2", RAW),
    "f2k9b": Meaning("flux2", RAW),
    "zi": Meaning("flux1", RAW),
    "qi": Meaning("wan21", NORMALISED),
    "wan": Meaning("wan21", NORMALISED),
}


def find_name(names: Iterable[str], path: Path) -> str | None:
    """The name of the one latent among these tensors; None if there is none. Raises LatentMismatch for several."""
    found = sorted(name for name in names if NAME.fullmatch(name))
    if len(found) > 1:
        raise LatentMismatch(f"'{path}' holds {len(found)} latents ({some(found)}): keep one of them in a file.")
    return found[0] if found else None


def read_archive(path: Path) -> tuple[str, Tensor]:
    """(name, latent) of an `.npz`. Nothing in it is unpickled.

    Raises BadRequest if it cannot be read, and LatentMismatch if it holds no latent of floats, or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
            name = find_name(sizes, path)
            if name is None:
                raise LatentMismatch(f"'{path}' holds no latent: it needs an array 'latents', not {some(sizes)}.")
            if sizes[name] > LARGEST:
                raise LatentMismatch(f"'{path}' is no latent: its '{name[:80]}' has {sizes[name]} bytes.")
            with archive.open(f"{name}.npy") as file:
                array = _read_array(file, sizes[name])
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, MemoryError) as e:
        raise BadRequest(f"'{path}' cannot be read: {str(e)[:200]}.") from e
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise LatentMismatch(f"'{path}' holds no latent: its '{name}' is of {array.dtype}, and a latent is of floats.")
    return name, torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _read_array(file, size: int) -> np.ndarray:
    """The array of an entry of so many bytes. Raises ValueError for one that claims more numbers than these."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"numpy's format {version} is not read here")
    shape, is_fortran, dtype = read(file)
    numbers = 1
    for n in shape:
        numbers *= n
    if dtype.hasobject or numbers * dtype.itemsize > size:
        raise ValueError("its array holds objects, or claims more numbers than there are")
    flat = np.frombuffer(file.read(numbers * dtype.itemsize), dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def add_batch(name: str, latent: Tensor) -> Tensor:
    """(C, h, w) or (C, T, h, w), as trainers keep the latent of one image or clip, -> a batch of one.

    A name with frames and size says which; without, only three dimensions are one image's.
    """
    is_single = latent.ndim == 3 or (latent.ndim == 4 and name.count("x") == 2)
    return latent[None] if is_single else latent


def guess_tag(path: Path, latent: Tensor) -> Tag | None:
    """The tag of a latent (B, C, ...) by the end of its file's name; None if that says nothing or does not fit."""
    found = MEANINGS.get(path.stem.rpartition("_")[2].lower())
    if found is None or latent.ndim not in (4, 5):
        return None
    name = "wan22" if found.space == "wan21" and latent.shape[1] == SPACES["wan22"].channels else found.space
    space = SPACES[name]
    if latent.shape[1] != space.channels:
        return None
    h, w = latent.shape[-2:]
    return Tag(space.families[0], space.channels, space.ratio, (h, w), convention=found.convention, space=name)
