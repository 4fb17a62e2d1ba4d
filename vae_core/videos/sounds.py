"""Read the sound of a file, and write sound into a file of its own, which a video may take it from. Needs PyAV."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadPixels, BadRequest
from ..files import Target, write_atomically
from .reading import WHOLE, Span, import_av

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by the number of channels, as FFmpeg names them
PIECE = 1 << 16  # samples that are encoded together
RATES = {"libopus": 48000}  # of codecs that do not have every rate; what is given is resampled


def read_sound(path: Path, span: Span = WHOLE) -> tuple[Tensor, int] | None:
    """Samples (C, n) of the first sound of a file, float32, and how many there are a second; None if it is mute.

    span: the part of its time. Raises BadPixels if it cannot be decoded.
    """
    av = import_av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            turned = av.AudioResampler(format="fltp")
            frames = [made for frame in container.decode(stream) for made in turned.resample(frame)]
            frames += turned.resample(None)
            pieces = [torch.from_numpy(frame.to_ndarray()) for frame in frames]
    except av.error.FFmpegError as e:
        raise BadPixels(f"the sound of '{path}' cannot be read ({e.strerror}).") from e
    if not pieces:
        return None
    return cut_sound(torch.cat(pieces, 1), stream.rate, span, frames[0].time or 0.0), stream.rate


def cut_sound(samples: Tensor, rate: int, span: Span, begins: float = 0.0) -> Tensor:
    """The part of sound (C, n). rate: samples a second. begins: the time of the first, in seconds."""
    if span == WHOLE:
        return samples
    length = int(span.length * rate) if span.length else samples.shape[1]
    late = max(0.0, begins - span.start) if span.length else 0.0  # sound that begins in the part ends with it
    skipped = max(0, int((span.start - begins) * rate))
    return samples[:, skipped : skipped + max(0, length - int(late * rate))]


@dataclass(frozen=True)
class SoundEncoding:
    """How sound is encoded.

    codec      FFmpeg's name of an encoder
    container  FFmpeg's name of the format of the file
    rate       samples a second in the file; None: as given, or what the codec has
    bits       a second; 0: what is usual for the codec
    variable   as many bits as each moment needs for the best that the codec gives
    """

    codec: str
    container: str = "matroska"
    rate: int | None = None
    bits: int = 0
    variable: bool = False


def write_sound(
    path: Path | Target, waveform: Tensor, rate: int, encoding: SoundEncoding, texts: Mapping[str, str] | None = None
) -> None:
    """Write samples (C, n) in [-1, 1], floating-point, as a file of one stream.

    rate   samples a second
    texts  kept in the file, by their names
    Raises BadRequest for a number of channels that has no layout, for samples that are not finite, and for what the
    encoder does not take.
    """
    av = import_av()
    codec, layout = encoding.codec, LAYOUTS.get(len(waveform))
    if layout is None:
        raise BadRequest(f"sound of {len(waveform)} channels cannot be written: give 1, 2, 6 or 8.")
    samples = waveform.detach().to("cpu", torch.float32)
    if not samples.isfinite().all():
        raise BadRequest("the sound holds NaN or infinity: it was broken before it came here.")
    try:
        with write_atomically(path) as part, av.open(str(part), "w", format=encoding.container) as container:
            container.metadata.update(texts or {})
            stream = container.add_stream(codec, rate=encoding.rate or RATES.get(codec, rate), layout=layout)
            if encoding.bits:
                stream.bit_rate = encoding.bits
            if encoding.variable:
                stream.codec_context.qscale = True  # of quality 0, the best
            for packet in _encode(av, stream, samples.clamp(-1, 1), rate, layout):
                container.mux(packet)
    except (av.error.FFmpegError, ValueError) as e:
        raise BadRequest(f"the sound cannot be written by {codec} at {rate} samples a second: {e}.") from e


def _encode(av: Any, stream: Any, samples: Tensor, rate: int, layout: str) -> Iterator[Any]:
    done = 0
    for piece in samples.split(PIECE, 1):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.numpy()), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
        done += piece.shape[1]
        yield from stream.encode(frame)
    yield from stream.encode()
