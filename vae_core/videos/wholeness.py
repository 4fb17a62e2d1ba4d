"""Is a video file all there? FFmpeg reads a Matroska or AVI file that was cut off to where it ends, without an error.

Their outermost element says how long it is (RFC 9559 section 4.5; Microsoft's RIFF). Of others the last frame is
damaged, or FFmpeg fails. A recording that was never closed does not say how long it is: all that is there is taken.
"""

from pathlib import Path
from typing import BinaryIO

from ..errors import BadPixels

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def demand_whole(path: Path) -> Path:
    """The path of a video. Raises BadPixels if the file ends before its outermost element does."""
    with path.open("rb") as file:
        end = _find_end(file)
    given = path.stat().st_size
    if given < end:
        raise BadPixels(
            f"'{path}' is cut off: it has {given:,} bytes of the {end:,} that it says it has: frames may be missing. "
            f"Get all of it; or write what there is to a file of its own: ffmpeg -i '{path.name}' -c copy "
            f"'whole{path.suffix}'."
        )
    return path


def _find_end(file: BinaryIO) -> int:
    """Where the outermost element ends, in bytes; 0 if that is not said."""
    magic = file.read(4)
    if magic == _EBML:
        return _end_of_segment(file)
    return 8 + int.from_bytes(file.read(4), "little") if magic == b"RIFF" else 0


def _end_of_segment(file: BinaryIO) -> int:
    header = _read_size(file)
    file.seek(header, 1)
    size = _read_size(file) if file.read(4) == _SEGMENT else 0
    return file.tell() + size if size else 0


def _read_size(file: BinaryIO) -> int:
    """A number of EBML (RFC 8794 section 4): zeros in front say how many bytes it has. 0 if all ones say nothing."""
    first = file.read(1)
    more = 8 - first[0].bit_length() if first else 8
    if more > 7:
        return 0
    bits = 7 * (more + 1)
    size = int.from_bytes(first + file.read(more), "big") & (1 << bits) - 1
    return 0 if size == (1 << bits) - 1 else size
