"""What travels on the VIDEO socket: of the host an object of its own class, elsewhere one that does as much."""

# pyright: reportMissingImports=false

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...vae_core import BadRequest
from .place import in_comfyui


class FoundVideo(NamedTuple):
    """A video: a file, or its frames (T, H, W, C) in [0, 1], with their rate, and the host's AUDIO."""

    path: Path | None = None
    images: Tensor | None = None
    rate: Fraction | None = None
    audio: Any = None


class VideoPath:
    """Stands for the host's own class where there is no host."""

    def __init__(self, path: Path):
        self.path = path


def to_video(path: Path) -> Any:
    """A file for the VIDEO socket."""
    if not in_comfyui():
        return VideoPath(path)
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path))


def find_video(video: Any) -> FoundVideo:
    """What came by the VIDEO socket. Only a whole file is read from its place; of others the host gives the frames.

    Raises BadRequest for what is no video.
    """
    if path := _find_whole_file(video):
        return FoundVideo(path)
    if not hasattr(video, "get_components"):
        raise BadRequest(f"this input needs a VIDEO, not {type(video).__name__}.")
    found = video.get_components()
    return FoundVideo(None, found.images, Fraction(found.frame_rate), found.audio)


def _find_whole_file(video: Any) -> Path | None:
    if isinstance(video, VideoPath):
        return video.path
    if not in_comfyui():
        return None
    from comfy_api.latest import InputImpl

    knows = isinstance(video, InputImpl.VideoFromFile) and hasattr(video, "get_active_trim_window")
    if not knows or any(video.get_active_trim_window()):
        return None
    source = video.get_stream_source()
    return Path(source) if isinstance(source, str | Path) else None  # others are in memory
