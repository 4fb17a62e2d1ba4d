"""IMAGE (B, H, W, C) in [0, 1] -> image files. (`vae_core.readers` reads them.)"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from ..vae_core.errors import BadPixels, BadRequest
from ..vae_core.files import write_atomically
from .deep_files import PRIVATE

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng", ".avif", ".jfif")
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
    """Write one image (H, W, C) of bytes, C 1, 3 or 4. Raises BadRequest as `write` does."""
    kind = format_of(path)
    with write_atomically(path) as part:
        try:
            _image(image).save(part, format=kind, **_OPTIONS.get(kind, {}))
        except ValueError as error:  # a format's own limits: WebP's sides, for one
            raise BadRequest(f"'{path}' cannot be written: {error}.") from error


def format_of(path: Path) -> str:
    """Pillow's name of the format that a file name ends in. Raises BadRequest if it is not a known image format."""
    Image.init()
    kind = Image.EXTENSION.get(path.suffix.lower())
    if path.suffix.lower() not in SUFFIXES or kind not in Image.SAVE:
        raise BadRequest(f"'{path}' has the ending of no image: use .png, .jpg, .webp or .tif.")
    return kind


def levels(image: Tensor) -> np.ndarray:
    """(H, W, C) in [0, 1], any float dtype -> bytes (H, W, C) as files hold them."""
    # Truncated, not rounded: so the pixels of the file are those that ComfyUI's SaveImage would write.
    return (image.float() * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()


def _image(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
