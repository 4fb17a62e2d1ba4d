"""Copy the streams of a video into another file, with other texts: nothing is encoded anew. Needs PyAV."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import BadRequest
from ..files import Target, write_atomically
from .codecs import FORMATS
from .reading import demand_video, import_av


def copy_video(source: Path, path: Path | Target, suffix: str, texts: Mapping[str, str]) -> None:
    """suffix: says the format of the new file. texts: kept in it, beside those of the source.

    Raises BadPixels for a source that is no whole video, BadRequest for streams that such a file cannot hold.
    """
    av = import_av()
    container = FORMATS[suffix]
    options = {"movflags": "+faststart+use_metadata_tags"} if container in ("mp4", "mov") else {}
    try:
        with ExitStack() as exits:
            part = exits.enter_context(write_atomically(path))
            given = exits.enter_context(av.open(str(source)))
            demand_video(given, source)
            made = exits.enter_context(av.open(str(part), "w", format=container, options=options))
            made.metadata.update({**given.metadata, **texts})
            _copy_streams(given, made)
    except (av.error.FFmpegError, ValueError) as e:
        raise BadRequest(f"'{source}' cannot be copied into a {suffix} file ({e}): choose a codec.") from e


def _copy_streams(given: Any, made: Any) -> None:
    streams = [*given.streams.video[:1], *given.streams.audio[:1]]
    copies = {stream.index: made.add_stream_from_template(stream) for stream in streams}
    for packet in _fill_times(packet for packet in given.demux(streams) if packet.size):  # what ends a stream is empty
        packet.stream = copies[packet.stream.index]
        made.mux(packet)


def _fill_times(packets: Iterable[Any]) -> Iterator[Any]:
    """The packets. In Matroska the first ones, before frames that come later, say no time at which to decode them."""
    waiting: dict[int, list[Any]] = {}
    for packet in packets:
        early = waiting.setdefault(packet.stream.index, [])
        if packet.dts is None:
            early.append(packet)
            continue
        for number, one in enumerate(reversed(early), 1):
            one.dts = packet.dts - number * max(1, packet.duration or 0)
        yield from waiting.pop(packet.stream.index)
        yield packet
    yield from chain(*waiting.values())
