"""Are the bits of an FFV1 frame those that were written? Each slice has a checksum, RFC 9043 section 4.9.

FFmpeg says in its log alone that one is wrong, and shows the frame before in the slice's place.
"""

import zlib
from collections.abc import Iterator

_SIZE, _FOOTER = 3, 8  # bytes at the end of a slice: its size, a status, the checksum
# What a checksum begins and ends with, as zlib has it: 0, inverted; and FFmpeg's number of version 4, bits turned.
_BEGINS = (0xFFFFFFFF, 0xA1CEFD61)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # zlib reads the bits from the other end


def is_sound(frame: bytes) -> bool:
    """Do all checksums of a frame agree? True for one that has none."""
    slices = [one.translate(_REVERSED) for one in _cut(frame)]
    return any(all(zlib.crc32(one, begin) == begin for one in slices) for begin in _BEGINS)


def _cut(frame: bytes) -> Iterator[bytes]:
    """The slices with their footers, from the last one; none if they are not where footers with checksums say."""
    end, found = len(frame), []
    while end > _FOOTER:
        at = end - _FOOTER
        begin = at - int.from_bytes(frame[at : at + _SIZE], "big")
        if begin < 0:
            return
        found.append(frame[begin:end])
        end = begin
    if end == 0:
        yield from found
