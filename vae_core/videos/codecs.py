"""The codecs that videos are written in, and the files that can hold them."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import BadRequest

# The ending of a file -> FFmpeg's name of its format, and the codecs that are written into it; the first is usual.
_FORMATS = {
    ".mp4": ("mp4", ("h264", "h265")),
    ".mkv": ("matroska", ("h264", "h265", "ffv1", "ffv1-16", "prores", "vp9")),
    ".mov": ("mov", ("h264", "h265", "prores")),
    ".webm": ("webm", ("vp9",)),
}
SUFFIXES = tuple(_FORMATS)
FORMATS = {suffix: name for suffix, (name, _) in _FORMATS.items()}
FASTEST = 1000  # frames a second
WORST_CRF = 51  # of h264 and h265, and as far as vp9 is taken
READABLE = (*SUFFIXES, ".m4v", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")


@dataclass(frozen=True)
class Codec:
    """How frames are encoded.

    encoder   FFmpeg's name of it
    pixels    FFmpeg's name of the layout of pixels; for sides that are not even, `odd`, with colours for every pixel
    source    the layout that frames are given in: 8 bits a channel, or 16
    lossless  are the levels of a channel as they were given?
    crf       the usual quality, lower is better; None if the codec has no such scale
    options   of the encoder
    """

    encoder: str
    pixels: str
    odd: str
    source: str = "rgb24"
    lossless: bool = False
    crf: int | None = None
    options: tuple[tuple[str, str], ...] = ()


# How FFmpeg converts colours (swscale): bicubic (4), with all rows and columns of chroma (0x2000, 0x4000), and accurate
# rounding (0x40000). Its own choice is fast, and yuv420p is read 0.7 % of white too dark (measured).
ACCURATE = 4 | 0x2000 | 0x4000 | 0x40000
_QUIET = (("x265-params", "log-level=none"),)  # it tells of itself on stderr otherwise
CODECS = {
    "h264": Codec("libx264", "yuv420p", "yuv444p", crf=16),
    "h265": Codec("libx265", "yuv420p10le", "yuv444p10le", "rgb48le", crf=18, options=_QUIET),
    "vp9": Codec("libvpx-vp9", "yuv420p", "yuv444p", crf=20, options=(("b", "0"), ("row-mt", "1"))),
    "prores": Codec("prores_ks", "yuv422p10le", "yuv444p10le", "rgb48le", options=(("profile", "hq"),)),
    "ffv1": Codec("ffv1", "bgr0", "bgr0", lossless=True),
    "ffv1-16": Codec("ffv1", "gbrp16le", "gbrp16le", "rgb48le", lossless=True),
}


@dataclass(frozen=True)
class Colours:
    """What the numbers of a video mean, as ITU-T H.273 numbers it. Nothing is converted: frames have these already."""

    primaries: int
    transfer: int
    matrix: int  # from red, green and blue to luma and chroma


BT709 = Colours(1, 1, 1)


@dataclass(frozen=True)
class Encoding:
    """What a video is written as: the format of the file, the codec, its quality, and the colours of frames."""

    container: str
    codec: Codec
    crf: float | None = None
    colours: Colours = BT709


def choose_encoding(path: Path, codec: str | None = None, crf: int | None = None) -> Encoding:
    """The encoding for a file of this name. codec: a name in CODECS; None: what is usual for the ending.

    Raises BadRequest for an ending or a codec that is not written, a codec that such a file does not hold, and a
    quality (crf) that the codec does not have.
    """
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise BadRequest(f"'{path}' has the ending of no video: use {', '.join(SUFFIXES)}.")
    container, names = found
    name = codec or names[0]
    if name not in names:
        raise BadRequest(f"a {path.suffix.lower()} file holds {' or '.join(names)}, not {name}: choose another ending.")
    chosen = CODECS[name]
    if crf is not None and chosen.crf is None:
        raise BadRequest(f"{name} has no quality to choose: leave crf away, or use h264, h265 or vp9.")
    if crf is not None and not 0 <= crf <= WORST_CRF:
        raise BadRequest(f"a crf is a number from 0 (best) to {WORST_CRF}, not {crf}.")
    return Encoding(container, chosen, chosen.crf if crf is None else crf)
