"""What the host's LoadImage makes of the kinds of image files; FFmpeg reads them for it."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ...vae_core import readers
from ...vae_core.errors import BadPixels

log = logging.getLogger("exact_vae")

# (format, mode) of what FFmpeg decodes into pixels with alpha, also where all is opaque.
WITH_ALPHA = {("GIF", "P"), ("GIF", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("TIFF", "P"), ("TGA", "P"),
              *((kind, mode) for kind in ("BMP", "PCX") for mode in ("1", "L", "P"))}  # fmt: skip
JPEG, END = b"\xff\xd8\xff", b"\xff\xd9"  # its first bytes and its last ones
WEBP, LOSSLESS, EXTENDED = b"WEBP", b"VP8L", b"VP8X"
HEADER = 1 << 16  # bytes of a WebP in which its image begins, but for what is uncommonly much of a colour profile


def read_image(path: Path) -> tuple[Tensor, Tensor]:
    """-> IMAGE (B, H, W, 3) in [0, 1], MASK (B, H, W): zeros (B, 64, 64) where the file has no place for alpha.

    Of a TIFF file the first page. A JPEG that ends too early is read as far as it goes, and that is logged.
    """
    kind, mode = readers.stored_as(path)
    colours, mask = _read(path, 1 if kind == "TIFF" else None)
    if mask.shape[1:] != colours.shape[1:3] and ((kind, mode) in WITH_ALPHA or _is_lossless_webp(path)):
        mask = torch.zeros(colours.shape[:3])
    return colours, mask


def _read(path: Path, most: int | None) -> tuple[Tensor, Tensor]:
    try:
        return readers.read(path, most)
    except BadPixels:
        with path.open("rb") as file:
            if file.read(len(JPEG)) != JPEG:
                raise
        found = _read_with_end(path)
        if found is None:
            raise
        log.warning("'%s' ends before its image does: what is missing of its last rows is grey.", path.name)
        return found


def _read_with_end(path: Path) -> tuple[Tensor, Tensor] | None:
    """A JPEG with the end that it lacks; None if it cannot be read so either."""
    with TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        whole.write_bytes(path.read_bytes() + END)
        try:
            return readers.read(whole)
        except BadPixels:
            return None


def _is_lossless_webp(path: Path) -> bool:
    """Is it a WebP of one image without loss? Of moving ones the host asks Pillow."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    chunk = head[12:16]
    return head[8:12] == WEBP and (
        chunk == LOSSLESS or (chunk == EXTENDED and LOSSLESS in head and b"ANMF" not in head)
    )
