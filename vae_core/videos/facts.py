"""What a video file says of itself, without a frame being decoded. Needs PyAV."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..errors import BadPixels
from .folders import USUAL_RATE
from .reading import demand_video, import_av
from .wholeness import say_no_video

OF_FORMATS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")  # which a new file sets


@dataclass(frozen=True)
class VideoFacts:
    """Of the first video stream of a file.

    container  FFmpeg's names of its format
    codec      FFmpeg's name of it
    sounds     the codecs of its sounds
    size       (width, height) in pixels, as they lie in the file
    bits       of a channel
    colours    (primaries, transfer, matrix) as ITU-T H.273 numbers them; 2: not said
    rate       frames a second
    seconds    how long it is; 0 if the file does not say
    texts      that it carries, without those of its format
    """

    container: tuple[str, ...]
    codec: str
    sounds: tuple[str, ...]
    size: tuple[int, int]
    bits: int
    colours: tuple[int, int, int]
    rate: Fraction
    seconds: float
    texts: Mapping[str, str]


def read_facts(path: Path) -> VideoFacts:
    """Raises BadPixels for a file that holds no video, or is damaged."""
    av = import_av()
    try:
        with av.open(str(path)) as container:
            demand_video(container, path)
            stream = container.streams.video[0]
            context = stream.codec_context
            rate = Fraction(stream.average_rate or USUAL_RATE)
            seconds = container.duration / av.time_base if container.duration else float(stream.frames / rate)
            return VideoFacts(
                tuple(container.format.name.split(",")),
                stream.codec.canonical_name,
                tuple(one.codec.canonical_name for one in container.streams.audio if one.codec_context),
                (stream.width, stream.height),
                max((one.bits for one in stream.format.components), default=8) if stream.format else 8,
                (int(context.color_primaries), int(context.color_trc), int(context.colorspace)),
                rate,
                seconds,
                {name: text for name, text in container.metadata.items() if name.lower() not in OF_FORMATS},
            )
    except av.error.FFmpegError as e:
        raise BadPixels(f"{say_no_video(path, e.strerror)}: give a whole file.") from e
