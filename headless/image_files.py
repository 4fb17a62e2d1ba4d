"""Image files <-> IMAGE (B, H, W, 3) float32 in [0, 1] and MASK (B, H, W), 1 where the image is transparent."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin
from torch import Tensor

from ..vae_core.errors import BadPixels, BadRequest, VAEError
from ..vae_core.files import write_atomically

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng", ".avif", ".jfif")
_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
_NO_MASK = (64, 64)  # the host's size for the mask of an image without alpha


def read(path: Path) -> tuple[Tensor, Tensor]:
    """-> IMAGE (B, H, W, 3), MASK (B, H, W). Frames of another size than the first are left out, as in the host.

    Without alpha the mask is zeros (B, 64, 64). Raises BadPixels for a file that is no image, or a broken one.
    """
    try:
        with _any_size(), Image.open(path) as file:
            frames = [_frame(one) for one in _frames(file)]
    except VAEError:
        raise
    except Exception as error:  # a damaged file may raise anything inside its decoder
        why = error.strerror if isinstance(error, OSError) else None
        raise BadPixels(f"cannot read '{path.name}' as an image: {why or error}") from error
    frames = [one for one in frames if one[0].shape == frames[0][0].shape]
    return _batch([colours for colours, _ in frames]), _masks(frames)


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


def size_of(path: Path) -> tuple[int, int]:
    """(H, W) from the file's header. Raises BadPixels."""
    try:
        with _any_size(), Image.open(path) as file:
            return file.height, file.width
    except Exception as error:
        raise BadPixels(f"cannot read '{path.name}' as an image: {error}") from error


def levels(image: Tensor) -> np.ndarray:
    """(H, W, C) in [0, 1], any float dtype -> bytes (H, W, C) as files hold them."""
    # Truncated, not rounded: so the pixels of the file are those that ComfyUI's SaveImage would write.
    return (image.float() * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()


def _image(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    # Pillow's limit protects servers from strangers' files. These are the user's own, and may well be very large.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _frames(file: Image.Image) -> Iterator[Image.Image]:
    # The further images in a camera's MPO are previews or the other eye, not frames.
    return iter([file]) if file.format == "MPO" else iter(ImageSequence.Iterator(file))


def _frame(frame: Image.Image) -> tuple[Tensor, Tensor | None]:
    """-> (H, W, 3) in [0, 1], and alpha (H, W) if there is any."""
    frame = ImageOps.exif_transpose(frame)
    if frame.mode.startswith("I"):
        return _sixteen_bit(frame).unsqueeze(-1).repeat(1, 1, 3), None
    if frame.mode == "F":
        raise BadPixels("an image of floating point numbers has no agreed white: save it with 8 or 16 bits")
    has_alpha = bool({"A", "a"} & set(frame.getbands())) or "transparency" in frame.info
    values = torch.from_numpy(np.array(frame.convert("RGBA" if has_alpha else "RGB"))).float().div_(255)
    return values[..., :3].contiguous(), values[..., 3] if has_alpha else None


def _sixteen_bit(frame: Image.Image) -> Tensor:
    levels = np.array(frame).astype(np.float32)
    if levels.min() < 0 or levels.max() > 65535:
        raise BadPixels("an image of more than 16 bits a channel has no agreed white: save it with 8 or 16 bits")
    return torch.from_numpy(levels).div_(65535)


def _masks(frames: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    opaque = all(alpha is None for _, alpha in frames)
    size = _NO_MASK if opaque else frames[0][0].shape[:2]
    return _batch([torch.zeros(size) if alpha is None else 1 - alpha for _, alpha in frames])


def _batch(parts: list[Tensor]) -> Tensor:
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
