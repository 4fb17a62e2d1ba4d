"""Is a video file all there? FFmpeg reads many that were cut off to where they end, without an error.

The outermost elements of Matroska (RFC 9559), AVI (OpenDML's RIFF) and MP4 and MOV (ISO/IEC 14496-12) say how long they
are. Streams (.ts, .mpg, .flv) do not: there the last frame is damaged. A recording that was never closed does not
either: all that is there is taken.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import BadPixels
from ..files import explain_read_errors
from ..files.kinds import EMPTY, HTML, JSON, LFS, TEXT, WORKFLOW, ZEROS, kind_of

_NO_VIDEOS = (EMPTY, ZEROS, TEXT, JSON, WORKFLOW, HTML, LFS)
_EBML = b"\x1a\x45\xdf\xa3"
# The outermost boxes. What begins otherwise, as a tag that some program has put behind them, says no length.
_BOXES = frozenset(b"ftyp moov mdat free skip wide styp moof mfra sidx ssix uuid meta udta pdin emsg prft".split())


def say_no_video(path: Path, said: str) -> str:
    """The beginning of a sentence about a file that FFmpeg, which said this, does not read: what it is, if known."""
    kind = kind_of(path)
    return f"'{path}' cannot be read as a video ({f'it is {kind.what}' if kind in _NO_VIDEOS else said})"


def demand_whole(path: Path) -> None:
    """Raise BadPixels if a video's file ends before its last outermost element does, BadRequest if it is kept shut."""
    with explain_read_errors(path), path.open("rb") as file:
        end, given = _find_end(file), path.stat().st_size
    if given < end:
        raise BadPixels(
            f"'{path}' is cut off: it has {given:,} bytes of the {end:,} that it says it has: frames may be missing. "
            f"Get all of it; or write what there is to a file of its own: ffmpeg -i '{path.name}' -c copy "
            f"'whole{path.suffix}'."
        )


def _find_end(file: BinaryIO) -> int:
    """Where the last outermost element ends, in bytes; 0 if that is not said."""
    begin = file.read(8)
    if begin[:4] == _EBML:
        return _walk(file, _measure_ebml)
    if begin[:4] == b"RIFF":
        return _walk(file, _measure_riff)
    return _walk(file, _measure_box) if begin[4:] in _BOXES else 0


def _walk(file: BinaryIO, measure: Callable[[BinaryIO], int]) -> int:
    """measure: the bytes of the element that begins here; 0 if there is none, or it does not say."""
    end = 0
    while True:
        file.seek(end)
        size = measure(file)
        if not size:
            return end
        end += size


def _measure_riff(file: BinaryIO) -> int:
    header = file.read(8)
    size = int.from_bytes(header[4:], "little")
    return 8 + size + size % 2 if header[:4] == b"RIFF" and 0 < size < 2**32 - 1 else 0


def _measure_box(file: BinaryIO) -> int:
    header = file.read(8)
    size = int.from_bytes(header[:4], "big")
    if size == 1:
        size = int.from_bytes(file.read(8), "big")
    return size if size >= 8 and header[4:] in _BOXES else 0


def _measure_ebml(file: BinaryIO) -> int:
    begin = file.tell()
    name, size = _read_number(file), _read_number(file)
    return 0 if name is None or size is None else file.tell() - begin + size


def _read_number(file: BinaryIO) -> int | None:
    """The name or the size of an element (RFC 8794 section 4): zeros in front say how many bytes it has.

    None if it says nothing: all other bits are ones, or the file ends here.
    """
    first = file.read(1)
    more = 8 - first[0].bit_length() if first else 8
    if more > 7:
        return None
    bits = 7 * (more + 1)
    number = int.from_bytes(first + file.read(more), "big") & (1 << bits) - 1
    return None if number == (1 << bits) - 1 else number
