"""Core nodes that read, make and cut videos.

A VIDEO is a file, or images with their rate and their sound. Frames are read as by the pack's own nodes: with the
colours that the file says, without the rounding of FFmpeg's fast conversion, which core uses.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...vae_core import videos
from ...vae_core.errors import BadRequest, DoesNotFit
from ...vae_core.execution import budget, format_bytes
from .. import image_files
from .declaring import Core, whole
from .loading import FromFile

TICK = Fraction(1, 90000)  # of a second, as MPEG counts time
RATE_TIP = "Images a second."
USUAL_SPACE = "sRGB"
# What SaveVideo offers -> (primaries, transfer, matrix), as ITU-T H.273 numbers them: of BT.709 with the curve of
# sRGB, and of BT.2020 with HLG or PQ.
SPACES = {USUAL_SPACE: (1, 13, 1), "HDR": (9, 18, 9), "HDR PQ": (9, 16, 9)}
TRANSFERS = {1: USUAL_SPACE, **{transfer: name for name, (_, transfer, _) in SPACES.items()}}


@dataclass(frozen=True)
class Components:
    images: Tensor  # (T, H, W, 3) in [0, 1]
    audio: Any  # {"waveform": (1, C, n), "sample_rate"}, or None
    frame_rate: Fraction


@dataclass(frozen=True)
class Video:
    """What goes by the VIDEO socket. path: of a file, or None for components. start, length: the part of it.

    start: in seconds, from the end if negative. length: 0 goes on to the end. bits: of components, when they are saved.
    sliced: is it a part? Then a part of it begins where it does, and may go on beyond its end, as in the host.
    """

    path: Path | None = None
    components: Components | None = None
    start: float = 0.0
    length: float = 0.0
    bits: int = 8
    sliced: bool = False

    def get_components(self) -> Components:
        """Raises BadPixels for a file that is no video, DoesNotFit before frames are kept that have no room."""
        return self.cut or _read_components(self)

    @cached_property
    def cut(self) -> Components | None:
        """The part of the components; None of a file. Raises BadRequest if no frame is in it."""
        return _cut(self.components, self.start, self.length) if self.components and self.sliced else self.components

    @property
    def is_whole(self) -> bool:
        return not self.start and not self.length

    @cached_property
    def facts(self) -> videos.VideoFacts:
        """What the file says. Raises BadPixels, BadRequest."""
        return videos.read_facts(demand_path(self))

    @property
    def bit_depth(self) -> int:
        return self.bits if self.components else self.facts.bits

    @property
    def colour_space(self) -> str | None:
        """What the numbers are said to be; None if the file does not say."""
        return USUAL_SPACE if self.components else TRANSFERS.get(self.facts.colours[1])

    @property
    def rate(self) -> Fraction:
        return self.components.frame_rate if self.components else self.facts.rate

    @property
    def span(self) -> videos.Span:
        """Of the file."""
        start = max(self.facts.seconds + self.start, 0.0) if self.start < 0 else self.start
        return videos.Span(start, self.length)

    @property
    def seconds(self) -> float:
        whole = _count_seconds(self.components) if self.components else self.facts.seconds
        rest = min(whole, -self.start) if self.start < 0 else whole - self.start
        return min(self.length, rest) if self.length else rest

    def read_frames(self) -> Iterator[Tensor]:
        """(3, n, H, W) in [-1, 1], a few frames at a time. Raises BadPixels."""
        if self.cut:
            yield from ((one.movedim(-1, 0) * 2 - 1) for one in self.cut.images.split(1))
        else:
            yield from _open_frames(self, _to_pixels).read()

    def read_sound(self) -> Any:
        """{"waveform": (1, C, n), "sample_rate"}, or None."""
        if self.cut:
            return self.cut.audio
        found = videos.read_sound(demand_path(self), self.span) if self.facts.sounds else None
        return {"waveform": found[0][None], "sample_rate": found[1]} if found else None


class LoadVideo(FromFile):
    FILE, KIND = "file", "video"
    UPLOAD: ClassVar[dict[str, Any]] = {"video_upload": True}
    WHERE = "A file in the input folder, also in a subfolder; 'x.mp4 [output]' means the output folder."
    DESCRIPTION = "Takes a video from the input folder. It stays in its file until a node needs its frames."
    CATEGORY = "video"
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video.",)

    @classmethod
    def list_endings(cls) -> tuple[str, ...]:
        return videos.READABLE

    def run(self, file: str) -> tuple[Video]:
        """Raises BadRequest."""
        return (Video(self.folders.find(file)),)


class CreateVideo(Core):
    DESCRIPTION = "Makes a video of images."
    CATEGORY = "video"
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video.",)
    RATE: ClassVar[dict[str, Any]] = {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0, "tooltip": RATE_TIP}
    TAKES = {"images": ("IMAGE",), "fps": ("FLOAT", RATE)}
    MAY_TAKE = {"audio": ("AUDIO", {"tooltip": "Its sound."}),
                "bit_depth": whole(8, 8, 10, step=2, tooltip="Bits of a number in the file.")}  # fmt: skip

    def run(self, images: Tensor, fps: float, audio: Any = None, bit_depth: int = 8) -> tuple[Video]:
        """images: (T, H, W, C) in [0, 1]. Raises BadPixels, BadRequest."""
        frames = image_files.demand_images(images)[..., :3].expand(-1, -1, -1, 3)
        components = Components(frames, audio, Fraction(fps))
        return (Video(None, components, bits=bit_depth),)


class GetVideoComponents(Core):
    DESCRIPTION = "Reads the frames of a video and its sound."
    CATEGORY = "video"
    TAKES = {"video": ("VIDEO", {"tooltip": "The video."})}
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT", "INT", "COMBO")
    OUTPUT_TOOLTIPS = ("The frames.", "The sound.", "Frames a second.", "Bits of a number.", "The colours.")

    def run(self, video: Any) -> tuple[Tensor, Any, float, int, str]:
        """Raises BadPixels, DoesNotFit."""
        given = as_video(video)
        found = given.get_components()
        return found.images, found.audio, float(found.frame_rate), given.bit_depth, given.colour_space or USUAL_SPACE


class VideoSlice(Core):
    ID = "Video Slice"
    DESCRIPTION = "Takes a part of a video. Of a file nothing is read or encoded for it."
    CATEGORY = "video"
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The part.",)
    START: ClassVar[dict[str, Any]] = {"default": 0.0, "min": -1e5, "max": 1e5, "step": 0.001,
                                       "tooltip": "Where it begins, in seconds; negative: from the end."}  # fmt: skip
    LENGTH: ClassVar[dict[str, Any]] = {"default": 0.0, "min": 0.0, "step": 0.001,
                                        "tooltip": "How long it is, in seconds; 0 goes on to the end."}  # fmt: skip
    STRICT: ClassVar[dict[str, Any]] = {"default": False, "tooltip": "Refuse a part that would be shorter."}
    TAKES = {"video": ("VIDEO", {"tooltip": "The video."}), "start_time": ("FLOAT", START),
             "duration": ("FLOAT", LENGTH), "strict_duration": ("BOOLEAN", STRICT)}  # fmt: skip

    def run(self, video: Any, start_time: float, duration: float, strict_duration: bool) -> tuple[Video]:
        """Raises BadRequest for a part that is not there: of images always, of a file or a part if it is strict."""
        given = as_video(video)
        part = replace(given, start=given.start + start_time, length=duration, sliced=True)
        fresh = given.components and not given.sliced
        short = given.seconds < start_time + duration if fresh else strict_duration and part.seconds < duration
        if short:
            raise BadRequest(_say_too_short(given, start_time, duration))
        if part.components:
            part.get_components()  # which says now that no frame is in it
        return (part,)


VIDEOS = (CreateVideo, GetVideoComponents, VideoSlice)
VIDEO_LOADING = (LoadVideo,)  # which know folders


def as_video(video: Any) -> Video:
    """Of the pack's own nodes a path comes by the socket. Raises BadRequest for what is no video."""
    if isinstance(video, Video):
        return video
    path = getattr(video, "path", None)
    if not isinstance(path, Path):
        raise BadRequest(f"this input needs a VIDEO, not {type(video).__name__}")
    return Video(path)


def demand_path(video: Video) -> Path:
    if video.path is None:
        raise BadRequest("this video has neither a file nor frames")
    return video.path


def _say_too_short(video: Video, start: float, length: float) -> str:
    return f"the video is {video.seconds:.3f} s long: there is no part of {length:g} s from {start:g} s on"


def _count_seconds(found: Components) -> float:
    return float(len(found.images) / found.frame_rate)


def _cut(found: Components, start: float, length: float) -> Components:
    """The images from a time on, and the sound of that time. Raises BadRequest if none is left."""
    seconds = _count_seconds(found)
    start = max(seconds + start, 0.0) if start < 0 else start
    span = videos.Span(start, length or max(seconds - start, 0.0))
    first, end = (math.ceil(ticks * TICK * found.frame_rate) for ticks in span.count(TICK))
    images = found.images[first:end]
    if not len(images):
        raise BadRequest(f"the video is {seconds:.3f} s long: from {start:g} s on it has no frame")
    if found.audio is None:
        return replace(found, images=images)
    waveform, rate = found.audio["waveform"], int(found.audio["sample_rate"])
    samples = videos.cut_sound(waveform.flatten(0, 1), rate, span).unflatten(0, waveform.shape[:2])
    return replace(found, images=images, audio={**found.audio, "waveform": samples})


def _put_channels_first(frames: Tensor) -> Tensor:
    """Colours alone: a VIDEO has no transparency, a GIF may."""
    return frames[..., :3].movedim(-1, 1)


def _to_pixels(frames: Tensor) -> Tensor:
    return frames[..., :3].movedim(-1, 1) * 2 - 1


def _open_frames(video: Video, turn: Callable[[Tensor], Tensor]) -> Any:
    path = demand_path(video)
    return videos.open_frames(path, turn) if video.is_whole else videos.VideoFrames(path, turn, video.span)


def _read_components(video: Video) -> Components:
    source = _open_frames(video, _put_channels_first)
    channels, frames, height, width = source.shape
    size, free = 4 * channels * frames * height * width, budget.free(torch.device("cpu"))
    if size > free:
        what = f"{frames} frames of {width}x{height}"
        raise DoesNotFit(f"{what} take {format_bytes(size)} of memory, and {format_bytes(free)} are free: use fewer")
    images = torch.empty(frames, height, width, channels)
    done = 0
    for some in source.read():
        images[done : done + some.shape[1]] = some.movedim(0, -1)
        done += some.shape[1]
    return Components(images, video.read_sound() if source.has_sound else None, source.rate)
