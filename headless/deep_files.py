"""Images of more than 8 bits -> files: PNG of 16 bits, and OpenEXR of floats in linear light.

Both formats are written here, uncompressed or with zlib, since Pillow writes neither.
PNG: W3C, "Portable Network Graphics", third edition. OpenEXR: "OpenEXR File Layout" of its Technical Documentation.
"""

import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..vae_core.errors import BadRequest

PNG_START = b"\x89PNG\r\n\x1a\n"
PRIVATE = b"comf"  # PNG's chunk in which ComfyUI keeps texts of images that move
PNG_COLOURS = {1: 0, 3: 2, 4: 6}  # channels -> PNG's type: grey, RGB, RGBA
UP = 2  # PNG's filter: the difference to the row above
EXR_START = bytes([0x76, 0x2F, 0x31, 0x01, 2, 0, 0, 0])  # one part, of scan lines
LONG_NAMES = 0x400  # EXR's flag for names of more than 31 bytes
FLOAT = 2  # EXR's type of a channel: 32 bits
# Red, green, blue and white (x, y). ITU-R BT.709-6 and BT.2020-2, table 3 of each.
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
REC2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
HLG_A = 0.17883277  # ITU-R BT.2100-2, table 5: the inverse of HLG's OETF, with b = 1 - 4 a and c = 0.5 - a ln(4 a)


def write_png16(path: Path, image: Tensor, texts: Mapping[str, str]) -> None:
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


def write_exr(path: Path, image: Tensor, texts: Mapping[str, str], space: str) -> None:
    """image: (H, W, C), C 1, 3 or 4. space: what its numbers are, "sRGB", "HDR" (HLG in BT.2020) or "linear".

    The file holds linear light. Raises BadRequest for an image that the format has no room for.
    """
    height, width, channels = image.shape
    linear = {"sRGB": _from_srgb, "HDR": _from_hlg, "linear": torch.Tensor.double}[space](image[..., :3].double())
    planes = torch.cat([linear, image[..., 3:].double()], -1).float().cpu().numpy().astype("<f4")
    names = {1: "Y", 3: "RGB", 4: "RGBA"}[channels]
    order = sorted(range(channels), key=lambda i: names[i])  # channels lie in the order of their names
    row = np.ascontiguousarray(planes[..., order].transpose(0, 2, 1))
    if 8 + row[0].nbytes > 2**31 - 1:
        raise BadRequest(f"an EXR file has no room for rows of {width} pixels")
    header = _make_exr_header(width, height, sorted(names), texts, REC2020 if space == "HDR" else REC709)
    first = len(header) + 8 * height
    with path.open("wb") as file:
        file.write(header + struct.pack(f"<{height}Q", *(first + y * (8 + row[0].nbytes) for y in range(height))))
        for y in range(height):
            file.write(struct.pack("<ii", y, row[y].nbytes) + row[y].tobytes())


def _make_exr_header(
    width: int, height: int, channels: list[str], texts: Mapping[str, str], primaries: tuple[float, ...]
) -> bytes:
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", FLOAT, 0, 1, 1) for name in channels) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = [
        ("channels", "chlist", listed),
        ("chromaticities", "chromaticities", struct.pack("<8f", *primaries)),
        ("compression", "compression", b"\0"),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
        *((name, "string", text.encode()) for name, text in texts.items()),
    ]
    long = any(len(name) > 31 for name, _, _ in attributes)
    version = struct.pack("<I", struct.unpack("<I", EXR_START[4:])[0] | (LONG_NAMES if long else 0))
    return EXR_START[:4] + version + b"".join(_attribute(*one) for one in attributes) + b"\0"


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def _from_srgb(values: Tensor) -> Tensor:
    """IEC 61966-2-1. Below 0 the line goes on."""
    return torch.where(values <= 0.04045, values / 12.92, ((values.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def _from_hlg(values: Tensor) -> Tensor:
    b, c = 1 - 4 * HLG_A, 0.5 - HLG_A * math.log(4 * HLG_A)
    return torch.where(values <= 0.5, values.square() / 3, (((values - c) / HLG_A).exp() + b) / 12)
