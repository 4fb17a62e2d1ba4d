"""IMAGE (B, H, W, C) in [0, 1] -> image files. (`vae_core.readers` reads them.)

Pillow writes 8 bits a channel, imagecodecs PNG files of 16, tifffile and OpenEXR (exr.py) those of 16 bits and floats.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from ..vae_core.errors import BadPixels, BadRequest
from ..vae_core.files import write_atomically
from . import exr, tiff
from .png16 import PRIVATE

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng", ".avif", ".jfif", exr.SUFFIX)
BITS = (8, 16, 32)  # of a channel; 32 are floats, and in an OpenEXR file 16 are too
_BITS = {".png": (8, 16), ".tif": BITS, ".tiff": BITS, exr.SUFFIX: (32, 16)}  # the first is usual; others have 8
DEEP_PNG = "imagecodecs"  # writes PNG files of 16 bits
_EXIF_TAGS = range(0x0110, 0x0100, -1)  # from "Model" down: where ComfyUI keeps texts in a WebP
_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def demand_images(images: Any) -> Tensor:
    """Raises BadPixels unless these are images (B, H, W, C), C 1, 3 or 4, of finite numbers. Returns them."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise BadPixels(f"images to save are (B, H, W, C) with 1, 3 or 4 channels; this is {found}")
    for i, image in enumerate(images):
        if not torch.isfinite(image).all():
            raise BadPixels(f"image {i + 1} of {len(images)} holds NaN or Inf, so it is not saved as black")
    return images


def write_png(path: Path, image: Tensor, texts: Mapping[str, str], level: int) -> None:
    """Write one image (H, W, C) in [0, 1], C 1, 3 or 4. texts: kept in the file. level: of compression, 0 to 9."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    _image(levels(image)).save(path, format="PNG", pnginfo=info, compress_level=level)


def write_moving_png(path: Path, images: Tensor, texts: Mapping[str, str], rate: float, level: int) -> None:
    """Write images (B, H, W, C) in [0, 1] as one PNG that moves. rate: images a second."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        # Behind the pixels, in the chunk that ComfyUI writes there: Pillow has its own texts before them of one frame.
        info.add(PRIVATE, f"{name}\0{text}".encode("latin-1"), after_idat=True)
    first, *others = (_image(levels(one)) for one in images)
    options = {"pnginfo": info, "compress_level": level, "save_all": True, "append_images": others}
    first.save(path, format="PNG", duration=int(1000.0 / rate), **options)


def write_moving_webp(
    path: Path, images: Tensor, texts: Mapping[str, str], rate: float, options: Mapping[str, Any]
) -> None:
    """Write images (B, H, W, C) in [0, 1] as one WebP that moves. rate: images a second. options: Pillow's."""
    first, *others = (_image(levels(one)) for one in images)
    exif = first.getexif()
    for tag, (name, text) in zip(_EXIF_TAGS, sorted(texts.items(), key=_put_prompt_first), strict=False):
        exif[tag] = f"{name}:{text}"
    first.save(
        path, format="WEBP", duration=int(1000.0 / rate), save_all=True, append_images=others, exif=exif, **options
    )


def _put_prompt_first(item: tuple[str, str]) -> bool:
    return item[0] != "prompt"


def write(path: Path, images: Tensor) -> list[Path]:
    """Write images (B, H, W, C) in [0, 1], in the format that the name ends in; a batch as path_00001, path_00002 ...

    Raises BadPixels for unusable images, BadRequest for an unknown format or a place that cannot be written.
    """
    many = len(images) > 1
    paths = [path.with_stem(f"{path.stem}_{i + 1:05}") if many else path for i in range(len(images))]
    for one, image in zip(paths, demand_images(images), strict=True):
        write_levels(one, levels(image))
    return paths


def write_levels(path: Path, image: np.ndarray) -> None:
    """Write one image (H, W, C), C 1, 3 or 4, as `levels` gives it. Raises BadRequest as `write` does."""
    kind = format_of(path)
    if kind == "TIFF" and image.dtype != np.uint8:
        tiff.write(path, image.shape, iter([image]), image.dtype)
        return
    with write_atomically(path) as part:
        try:
            _save(part, image, kind)
        except ValueError as error:  # a format's own limits: WebP's sides, for one
            raise BadRequest(f"'{path}' cannot be written: {error}.") from error


def _save(part: Path, image: np.ndarray, kind: str) -> None:
    if kind == exr.FORMAT:
        exr.write(part, image)
    elif image.dtype == np.uint16:
        part.write_bytes(import_module(DEEP_PNG).png_encode(image))
    else:
        _image(image).save(part, format=kind, **_OPTIONS.get(kind, {}))


def choose_bits(path: Path, bits: int | None) -> int:
    """Bits of a channel in a file of this name; None: what is usual for it. Raises BadRequest if that is impossible."""
    able = _BITS.get(path.suffix.lower(), (8,))
    if bits is not None and bits not in able:
        held = " or ".join(map(str, sorted(able)))
        raise BadRequest(f"'{path}' can hold {held} bits a channel, not {bits}: .tif can hold 8, 16 and 32.")
    if bits == 16 and path.suffix.lower() == ".png":
        _demand_package(DEEP_PNG, path)
    return bits or able[0]


def _demand_package(name: str, path: Path) -> None:
    if find_spec(name) is None:
        raise BadRequest(f"'{path}' is written by {name}, which is not installed: pip install {name}.")


def format_of(path: Path) -> str:
    """Pillow's name of the format that a file name ends in, or 'EXR'. Raises BadRequest for one that is not written."""
    if path.suffix.lower() == exr.SUFFIX:
        _demand_package("OpenEXR", path)
        return exr.FORMAT
    Image.init()
    kind = Image.EXTENSION.get(path.suffix.lower())
    if path.suffix.lower() not in SUFFIXES or kind not in Image.SAVE:
        raise BadRequest(f"'{path}' has the ending of no image that is written: use .png, .jpg, .webp, .tif or .exr.")
    return kind


def levels(image: Tensor, bits: int = 8) -> np.ndarray:
    """(H, W, C) in [0, 1], any float dtype -> (H, W, C) as files hold them: uint8, uint16, or with 32 bits float32."""
    if bits == 32:
        return image.float().cpu().numpy()
    if bits == 16:
        return (image.double().clamp(0, 1) * 65535).round().cpu().numpy().astype(np.uint16)
    # Truncated, not rounded: so the pixels of the file are those that ComfyUI's SaveImage would write.
    return (image.float() * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()


def levels_for(path: Path, image: Tensor, bits: int) -> np.ndarray:
    """`levels` for a file of this name: in an OpenEXR file, light. Floats may leave [0, 1]."""
    return exr.levels(image, bits) if path.suffix.lower() == exr.SUFFIX else levels(image, bits)


def _image(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
