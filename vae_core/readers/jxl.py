"""The header of JPEG XL: size, depth and frames. `imagecodecs` decodes the numbers but does not tell their white.

After ISO/IEC 18181-1:2022, annexes D (SizeHeader, ImageMetadata, BitDepth) and, for the container, 18181-2.
"""

import struct
from typing import NamedTuple

CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
CODESTREAM = b"\xff\x0a"
SIZE = ((1, 9), (1, 13), (1, 18), (1, 30))  # (offset, bits) of the four ways to write a side
RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
INTEGER, FLOAT = ((8, 0), (10, 0), (12, 0), (1, 6)), ((32, 0), (16, 0), (24, 0), (1, 6))


class Header(NamedTuple):
    height: int  # as it is stored
    width: int
    bits: int  # of a number
    floats: bool
    orientation: int  # as in EXIF
    animated: bool


class _Bits:
    """Numbers of a bit stream, the lowest bit first."""

    def __init__(self, data: bytes):
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, n: int) -> int:
        if n > self.left:
            raise ValueError("its header is cut short")
        found = self.value & ((1 << n) - 1)
        self.value >>= n
        self.left -= n
        return found

    def choose(self, ways: tuple[tuple[int, int], ...]) -> int:
        offset, n = ways[self.take(2)]
        return offset + self.take(n)


def read_header(start: bytes) -> Header:
    """The header of a file that begins like this. Raises ValueError if it is no JPEG XL, or one with a preview."""
    bits = _Bits(_codestream(start)[len(CODESTREAM) :])
    height, width = _read_size(bits)
    if bits.take(1):  # all_default
        return Header(height, width, 8, False, 1, False)
    orientation, animated = _read_extra(bits) if bits.take(1) else (1, False)
    floats = bool(bits.take(1))
    return Header(height, width, bits.choose(FLOAT if floats else INTEGER), floats, orientation, animated)


def _codestream(start: bytes) -> bytes:
    """The bytes from the codestream's signature on."""
    at = len(CONTAINER) if start.startswith(CONTAINER) else None
    while at is not None and at + 16 <= len(start):
        size, kind = struct.unpack(">I4s", start[at : at + 8])
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", start[at + 8 : at + 16])[0], 16
        if kind in (b"jxlc", b"jxlp"):
            start, at = start[at + head + (4 if kind == b"jxlp" else 0) :], None
        else:
            at = at + max(size, 8) if size else len(start)
    if not start.startswith(CODESTREAM):
        raise ValueError("its first part is no JPEG XL codestream")
    return start[:64]


def _read_size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if small else bits.choose(SIZE)
    if ratio := RATIOS[bits.take(3)]:
        return height, height * ratio[0] // ratio[1]
    return height, 8 * (1 + bits.take(5)) if small else bits.choose(SIZE)


def _read_extra(bits: _Bits) -> tuple[int, bool]:
    """(orientation, is it animated?)"""
    orientation = 1 + bits.take(3)
    if bits.take(1):  # a size to be shown at
        _read_size(bits)
    if bits.take(1):
        raise ValueError("it holds a preview")
    animated = bool(bits.take(1))
    if animated:
        bits.choose(((100, 0), (1000, 0), (1, 10), (1, 30)))  # ticks per second: numerator, denominator
        bits.choose(((1, 0), (1001, 0), (1, 8), (1, 10)))
        bits.choose(((0, 0), (0, 3), (0, 16), (0, 32)))  # loops
        bits.take(1)  # timecodes
    return orientation, animated
