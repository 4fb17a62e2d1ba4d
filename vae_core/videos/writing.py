"""Write a video file frame by frame. Needs PyAV."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadPixels, BadRequest
from ..files import Target, write_atomically
from ..images import to_unit_range
from .codecs import ACCURATE, Codec, Encoding
from .reading import import_av

REORDERED, FARTHEST = 2, 16  # frames that an encoder decodes ahead of their time: as a rule, and at most
TV_RANGE = 1  # as FFmpeg numbers it: of all that is written but RGB


class VideoFile:
    """A video that gets its name when it is complete; after an error there is none, and what had the name stays.

        with VideoFile(path, choose_encoding(path), rate=24) as video:
            for frames in vae.decode_frames(z):
                video.put(frames)

    rate   frames a second
    sound  a file whose first audio stream is copied, as far as the frames go
    texts  kept in the file, by their names
    Raises BadRequest if it cannot be written, BadPixels for frames of another size or of other than 3 channels.
    """

    def __init__(
        self,
        path: Path | Target,
        encoding: Encoding,
        rate: Fraction | float,
        sound: Path | None = None,
        texts: Mapping[str, str] | None = None,
    ):
        self.path, self.encoding, self.sound, self.texts = path, encoding, sound, dict(texts or {})
        self.rate = Fraction(rate).limit_denominator(1001)
        if self.rate <= 0:
            raise BadRequest(f"a video of {rate} frames a second cannot be written: give a number above 0.")
        self._av, self._exits = import_av(), ExitStack()
        self._stream: Any = None
        self.frames = self._packets = 0

    def __enter__(self) -> "VideoFile":
        options = {"movflags": "+faststart+use_metadata_tags"} if self.encoding.container in ("mp4", "mov") else {}
        with ExitStack() as exits:
            part = exits.enter_context(write_atomically(self.path))
            self._container = self._av.open(str(part), "w", format=self.encoding.container, options=options)
            exits.callback(self._close)
            self._container.metadata.update(self.texts)
            self._track = _Sound(exits, self._container, self._av, self.sound) if self.sound else None
            self._exits = exits.pop_all()
        return self

    def __str__(self) -> str:
        height, width = (self._stream.height, self._stream.width) if self._stream else (0, 0)
        return f"{self.path}: {self.frames} frames of {width}x{height}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        with self._exits.pop_all() as exits:
            if error is not None:
                return exits.__exit__(kind, error, tb)
            if self._stream is None:
                raise BadPixels(f"'{self.path}' was given no frames.")
            with self._explaining(self._stream.height, self._stream.width):
                self._mux(self._stream.encode())
                self._container.close()
        return None

    def _close(self) -> None:
        """After an error there is no end to write, and what FFmpeg says of that is no news."""
        with suppress(self._av.error.FFmpegError):
            self._container.close()

    def put(self, frames: Tensor) -> None:
        """Write frames (C, n, H, W) in [-1, 1], C 3, any floating dtype."""
        if frames.ndim != 4 or frames.shape[0] != 3:
            raise BadPixels(f"'{self.path}' cannot be written: a video has 3 channels, these frames {frames.shape[0]}.")
        for frame in frames.unbind(1):
            height, width = frame.shape[1:]
            with self._explaining(height, width):
                self._put_one(frame)

    @contextmanager
    def _explaining(self, height: int, width: int) -> Iterator[None]:
        """An encoder has limits of its own, for sizes first of all."""
        try:
            yield
        except self._av.error.FFmpegError as e:
            if isinstance(e, OSError) and e.errno == errno.ENOSPC:
                raise
            what = f"{width}x{height} by {self.encoding.codec.encoder}"
            what += f" with {self._track.codec} sound" if self._track and self._track.codec else ""
            why = e.strerror or e
            raise BadRequest(f"'{self.path}' cannot be written, {what} ({why}): use .mkv, or another codec.") from e

    def _put_one(self, frame: Tensor) -> None:
        stream = self._stream or self._open_stream(*frame.shape[1:])
        if tuple(frame.shape[1:]) != (stream.height, stream.width):
            raise BadPixels(f"frame {self.frames + 1} of '{self.path}' has another size than those before it.")
        codec, colours = self.encoding.codec, self.encoding.colours
        image = self._av.VideoFrame.from_ndarray(_levels(frame, codec), codec.source)
        if stream.pix_fmt.startswith("yuv"):
            image = image.reformat(format=stream.pix_fmt, dst_colorspace=colours.matrix, interpolation=ACCURATE)
            image.colorspace, image.color_range = colours.matrix, TV_RANGE
            image.color_primaries, image.color_trc = colours.primaries, colours.transfer
        else:
            image = image.reformat(format=stream.pix_fmt)
        image.pts, image.time_base = self.frames, 1 / self.rate
        self.frames += 1
        self._mux(stream.encode(image))

    def _open_stream(self, height: int, width: int) -> Any:
        codec = self.encoding.codec
        if codec.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it tells of itself on stderr otherwise
        options = {**dict(codec.options), **({"crf": str(self.encoding.crf)} if self.encoding.crf is not None else {})}
        stream = self._container.add_stream(codec.encoder, rate=self.rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = codec.odd if height % 2 or width % 2 else codec.pixels
        if stream.pix_fmt.startswith("yuv"):
            context, colours = stream.codec_context, self.encoding.colours
            context.color_primaries, context.color_trc = colours.primaries, colours.transfer
            context.colorspace, context.color_range = colours.matrix, TV_RANGE
        if codec.encoder == "libx265" and self.encoding.container in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # players of Apple know no other
        self._stream = stream
        return stream

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if self._track:
                self._track.copy_until(self.frames / self.rate)
            self._mend_order(packet)
            self._container.mux(packet)

    def _mend_order(self, packet: Any) -> None:
        """Of one frame or two, libx265 may give a time to decode that it never set: about half of such .mp4 failed."""
        if packet.pts is not None and not packet.pts - FARTHEST <= (packet.dts or 0) <= packet.pts:
            packet.dts = min(packet.pts, self._packets - REORDERED)
        self._packets += 1


class _Sound:
    """The first audio stream of a file, packet by packet."""

    def __init__(self, exits: ExitStack, target: Any, av: Any, path: Path):
        source = exits.enter_context(av.open(str(path)))
        self.target, self.stream, self.codec = target, None, ""
        self.packets: Iterator[Any] = iter(())
        for track in source.streams.audio[:1]:
            self.codec = track.codec_context.name
            if self.codec not in target.supported_codecs:
                raise BadRequest(
                    f"the sound of '{path}' is {self.codec}, which this kind of video does not hold: use .mkv."
                )
            self.stream, self.packets = target.add_stream_from_template(track), source.demux(track)
        self.waiting: Any = None

    def copy_until(self, seconds: Fraction) -> None:
        while packet := self.waiting or next(self.packets, None):
            if packet.pts is not None and packet.pts * packet.time_base > seconds:
                self.waiting = packet
                return
            self.waiting = None
            if packet.size:  # what ends the stream is empty
                packet.stream = self.stream
                self.target.mux(packet)


def _levels(frame: Tensor, codec: Codec) -> np.ndarray:
    """(3, H, W) in [-1, 1] -> (H, W, 3) of 8 or 16 bits.

    Of a lossless codec, 8 bits are those that the image files of this frame hold, which are truncated.
    """
    unit = to_unit_range(frame.detach().to("cpu", torch.float32)).clamp(0, 1).movedim(0, -1)
    white, kind = (255, np.uint8) if codec.source == "rgb24" else (65535, np.uint16)
    if codec.lossless and white == 255:
        return (unit * 255).to(torch.uint8).contiguous().numpy()
    return (unit.double() * white).round().contiguous().numpy().astype(kind)
