"""PNG files of 16 bits with texts: Pillow writes no such bits, imagecodecs no texts.

W3C, "Portable Network Graphics", third edition.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PNG_START = b"\x89PNG\r\n\x1a\n"
PRIVATE = b"comf"  # PNG's chunk in which ComfyUI keeps texts of images that move
PNG_COLOURS = {1: 0, 3: 2, 4: 6}  # channels -> PNG's type: grey, RGB, RGBA
UP = 2  # PNG's filter: the difference to the row above


def write(path: Path, image: Tensor, texts: Mapping[str, str]) -> None:
    """image: (H, W, C) in [0, 1], C 1, 3 or 4. texts: kept in the file; in ASCII."""
    height, width, channels = image.shape
    # Truncated, not rounded: so the numbers in the file are those that ComfyUI's node writes.
    levels = (image.float().clamp(0, 1) * 65535).to(torch.int32).cpu().numpy().astype(">u2")
    rows = np.frombuffer(levels.tobytes(), np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), UP, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOURS[channels], 0, 0, 0)
    with path.open("wb") as file:
        file.write(PNG_START + png_chunk(b"IHDR", header))
        for name, text in texts.items():
            file.write(png_chunk(b"tEXt", f"{name}\0{text}".encode("latin-1")))
        file.write(png_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 4)) + png_chunk(b"IEND", b""))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
