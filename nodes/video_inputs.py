"""What comes by the sockets VIDEO and AUDIO, as the library reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..vae_core import BadRequest, videos
from . import host
from .images import demand_image, to_pixels

if TYPE_CHECKING:
    from fractions import Fraction

# How sound is written into each kind of file: what players of it know.
_SOUND_CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "libopus"}


class ClipInMemory:
    """The frames of an IMAGE (T, H, W, C), for `VAE.encode_frames`."""

    path = None

    def __init__(self, image: Any, rate: Fraction, audio: Any, convert: Callable[[Tensor], Tensor]):
        self.image, self.rate, self.audio, self.convert = demand_image(image, "video"), rate, audio, convert

    @property
    def has_sound(self) -> bool:
        return self.audio is not None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)"""
        _, c, h, w = self.convert(self.image[:1]).shape
        return c, len(self.image), h, w

    def read(self) -> Iterator[Tensor]:
        """All frames in order: (C, 1, H, W) in [-1, 1], float32."""
        for frame in self.image.split(1):
            yield self.convert(frame).transpose(0, 1)


def open_video(video: Any, channels: int = 3) -> Any:
    """The frames of a VIDEO, or of the file at a path, with their `rate`, for `VAE.encode_frames`.

    channels: of the VAE. Raises BadRequest for what is no video, BadPixels if it holds no frames.
    """
    found = host.FoundVideo(video) if isinstance(video, Path) else host.find_video(video)

    def convert(image: Tensor) -> Tensor:
        return to_pixels(image, channels)

    if found.path:
        return videos.open_frames(found.path, convert)
    return ClipInMemory(found.images, found.rate or videos.USUAL_RATE, found.audio, convert)


@contextmanager
def sound_file(audio: Any, clip: Any, suffix: str) -> Iterator[Path | None]:
    """A file with the AUDIO, or else with the sound of a clip that `open_video` gave; None without either.

    suffix: of the video that the sound is for.
    """
    audio = clip.audio if audio is None and isinstance(clip, ClipInMemory) else audio
    if audio is None:
        yield clip.path if clip and clip.has_sound else None
        return
    waveform, rate = _read_audio(audio)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.mkv")
        videos.write_sound(path, waveform, rate, videos.SoundEncoding(_SOUND_CODECS[suffix]))
        yield path


def _read_audio(audio: Any) -> tuple[Tensor, int]:
    """AUDIO -> (samples (C, n) in [-1, 1], how many a second)"""
    try:
        waveform, rate = audio["waveform"], int(audio["sample_rate"])
    except (TypeError, KeyError, ValueError):
        raise BadRequest(f"audio needs AUDIO, not {type(audio).__name__}.") from None
    if not isinstance(waveform, Tensor) or waveform.ndim != 3 or not waveform.numel():
        raise BadRequest("audio needs AUDIO, samples of the shape (1, channels, length).")
    return waveform[0], rate
