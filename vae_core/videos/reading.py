"""The frames of a video file, a few at a time. Needs PyAV."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadPixels, BadRequest
from ..files import demand_file, explain_read_errors
from ..files.kinds import IMAGES, kind_of
from . import ffv1
from .codecs import ACCURATE, READABLE
from .folders import USUAL_RATE, ImageFrames, PagesOfFile
from .wholeness import demand_whole, say_no_video

AT_ONCE = 8  # frames that are handed on together
# Seconds before a part of a video that are tried to read it from: containers find keyframes by when they are decoded,
# so the one that is found may be shown after the part begins. None: all of it is decoded.
SEEKS = (0, 1, 10, None)
HIGH_DEFINITION = 576  # rows, above which a video that does not say so has the colours of ITU-R BT.709, as players do

ToPixels = Callable[[Tensor], Tensor]  # (n, H, W, 3) in [0, 1] -> (n, C, H, W) in [-1, 1]


@dataclass(frozen=True)
class Span:
    """A part of a video, in seconds. length: 0 goes on to the end."""

    start: float = 0.0
    length: float = 0.0

    def count(self, time_base: Fraction) -> tuple[int, int]:
        """Its begin and its end, in units of a stream; with no length both are the begin."""
        return int(self.start / time_base), int((self.start + self.length) / time_base)


WHOLE = Span()


def open_frames(path: Path, to_pixels: ToPixels) -> "VideoFrames | ImageFrames | PagesOfFile":
    """The frames of a video file, of a folder of images, or of an image file of many, for `VAE.encode_frames`.

    to_pixels: from what is read, (n, H, W, 3 or 4) in [0, 1], to pixels (n, C, H, W) in [-1, 1]
    Raises BadPixels if there are none to be read, BadRequest if PyAV is not there.
    """
    if path.is_dir():
        return ImageFrames(path, to_pixels)
    with explain_read_errors(path):
        kind = kind_of(path)
    if kind.name in IMAGES:
        return PagesOfFile(path, to_pixels)
    return VideoFrames(path, to_pixels)


def import_av() -> Any:
    """PyAV. Raises BadRequest if it is not installed."""
    try:
        import av
    except ImportError:
        raise BadRequest("video files are read and written by PyAV, which is not installed: pip install av.") from None
    return av


def demand_video(container: Any, path: Path) -> None:
    """Raise BadPixels if a file that PyAV has opened has no video in it, or one that nobody here decodes."""
    if not container.streams.video:
        raise BadPixels(f"'{path}' holds sound, but no video.")
    if container.streams.video[0].codec_context is None:
        raise BadPixels(f"the video in '{path}' is damaged, or of a kind that FFmpeg does not know here.")


class VideoFrames:
    """The frames of the first video stream of a file, upright, in the order in which they are shown.

    span: the part of its time. Raises BadPixels for a file that holds no video, is damaged, or is cut off, BadRequest
    if there is none.
    """

    def __init__(self, path: Path, to_pixels: ToPixels, span: Span = WHOLE):
        self.path, self.span, self._to_pixels, self._av = path, span, to_pixels, import_av()
        demand_whole(demand_file(path))
        with self._open() as container:
            self.rate = Fraction(container.streams.video[0].average_rate or USUAL_RATE)
            self.has_sound = bool(container.streams.audio)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W). The file is read once for T: what its header says is often wrong."""
        return self._shape

    @cached_property
    def _shape(self) -> tuple[int, int, int, int]:
        frames, first = 0, None
        for frame in self._decode():
            first = self._to_pixels(_to_values(frame)[None]) if first is None else first
            frames += 1
        if first is None:
            raise BadPixels(f"'{self.path}' holds no frame of a video.")
        _, c, h, w = first.shape
        return c, frames, h, w

    def read(self) -> Iterator[Tensor]:
        """All frames in order: (C, n, H, W) in [-1, 1], float32."""
        some: list[Tensor] = []
        for frame in self._decode():
            some.append(_to_values(frame))
            if len(some) == AT_ONCE:
                yield self._to_pixels(torch.stack(some)).transpose(0, 1)
                some.clear()
        if some:
            yield self._to_pixels(torch.stack(some)).transpose(0, 1)

    def _decode(self) -> Iterator[Any]:
        for back in SEEKS:
            with self._open() as container:
                frames = self._decode_from(container, back)
                if frames is not None:
                    yield from frames
                    return

    def _decode_from(self, container: Any, back: int | None) -> Iterator[Any] | None:
        """The frames of the span; None if those before `back` seconds before it have to be decoded as well."""
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # threads of a frame each lose the errors of the last ones
        first, end = self.span.count(stream.time_base)
        # AVI does not say when frames are shown, and what is guessed in its stead depends on where reading begins.
        seeks = first > 0 and back is not None and container.format.name != "avi"
        if seeks and not self._seek(container, stream, first - int((back or 0) / stream.time_base)):
            return None
        frames = self._decode_packets(container.demux(stream), stream.codec_context.name == "ffv1")
        begin = list(islice(frames, 1))
        if seeks and not (begin and (begin[0].pts is None or begin[0].pts <= first)):
            return None
        return self._cut(chain(begin, frames), first, end)

    def _seek(self, container: Any, stream: Any, first: int) -> bool:
        try:
            container.seek(first, stream=stream)
        except self._av.error.FFmpegError:
            return False
        return True

    def _cut(self, frames: Iterable[Any], first: int, end: int) -> Iterator[Any]:
        for frame in frames:
            if self.span.length and frame.pts is not None and frame.pts >= end:
                return
            if frame.pts is None or frame.pts >= first or self.span == WHOLE:
                yield self._demand_sound(frame, frame.is_corrupt)

    def _decode_packets(self, packets: Iterable[Any], have_checksums: bool) -> Iterator[Any]:
        for packet in packets:
            if have_checksums:
                self._demand_sound(packet, not ffv1.is_sound(bytes(packet)))
            yield from packet.decode()

    def _demand_sound(self, what: Any, is_damaged: bool) -> Any:
        """A frame or its packet. Raises BadPixels if FFmpeg would guess, or has guessed, a part of it."""
        if is_damaged:
            at = None if what.pts is None else float(what.pts * what.time_base)
            raise BadPixels(
                f"a frame {'' if at is None else f'at {at:.2f} s '}of '{self.path}' is damaged. Get the file again; or "
                f"write what players show of it to a file of its own: ffmpeg -i '{self.path.name}' -c:v ffv1 mended.mkv"
            )
        return what

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with self._av.open(str(self.path)) as container:
                demand_video(container, self.path)
                yield container
        except self._av.error.FFmpegError as e:
            endings = ", ".join(READABLE)
            why = say_no_video(self.path, e.strerror)
            raise BadPixels(f"{why}: give a whole {endings} file, or a folder of images.") from e


def _to_values(frame: Any) -> Tensor:
    """A frame of PyAV -> (H, W, 3) in [0, 1], float32, upright."""
    from av.video.reformatter import Colorspace

    deep = max(part.bits for part in frame.format.components) > 8
    unsaid = frame.colorspace not in {int(space) for space in Colorspace}
    space = None
    if unsaid and frame.format.name.startswith("yuv"):
        space = Colorspace.ITU709 if frame.height > HIGH_DEFINITION else Colorspace.ITU601
    layout = "rgb48le" if deep else "rgb24"
    found = frame.reformat(format=layout, src_colorspace=space, interpolation=ACCURATE).to_ndarray()
    turned = np.rot90(found, (frame.rotation // 90) % 4)
    white = np.float32(65535 if deep else 255)
    return torch.from_numpy(np.ascontiguousarray(turned).astype(np.float32) / white)
