"""Core nodes that read, make and save videos.

A VIDEO is a file, or images with their rate and their sound. Frames are read as by the pack's own nodes: with the
colours that the file says, without the rounding of FFmpeg's fast conversion, which core uses.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...vae_core import videos
from ...vae_core.errors import BadRequest, DoesNotFit
from ...vae_core.execution import budget, format_bytes
from ...vae_core.files import next_series
from .. import image_files
from ..dynamic import COMBO
from ..folders import Folders
from .declaring import Core, Nested, choice, whole
from .files import HIDDEN, PREFIX_TIP, collect_texts, list_files
from .loading import FromFile

SOUND_CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "flac"}  # what players of such files know
USUAL = ".mp4"
RATE_TIP = "Images a second."


@dataclass(frozen=True)
class Components:
    images: Tensor  # (T, H, W, 3) in [0, 1]
    audio: Any  # {"waveform": (1, C, n), "sample_rate"}, or None
    frame_rate: Fraction


@dataclass(frozen=True)
class Video:
    """What goes by the VIDEO socket. path: of a file, or None for components."""

    path: Path | None = None
    components: Components | None = None

    def get_components(self) -> Components:
        """Raises BadPixels for a file that is no video, DoesNotFit before frames are kept that have no room."""
        return self.components or _read_components(_demand_path(self))


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
        if bit_depth != 8:
            raise BadRequest("videos of 10 bits are written by VAE Decode to Video File (Exact), codec h265 or prores")
        frames = image_files.demand_images(images)[..., :3]
        return (Video(None, Components(frames.expand(-1, -1, -1, 3), audio, Fraction(fps).limit_denominator(1001))),)


class GetVideoComponents(Core):
    DESCRIPTION = "Reads the frames of a video and its sound."
    CATEGORY = "video"
    TAKES = {"video": ("VIDEO", {"tooltip": "The video."})}
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT", "INT", "COMBO")
    OUTPUT_TOOLTIPS = ("The frames.", "The sound.", "Frames a second.", "Bits of a number.", "The colours.")

    def run(self, video: Any) -> tuple[Tensor, Any, float, int, str]:
        """Raises BadPixels, DoesNotFit."""
        found = _as_video(video).get_components()
        return found.images, found.audio, float(found.frame_rate), 8, "sRGB"


def _choose_codec(name: str, crf: float, worst: float) -> dict[str, Any]:
    spaces = (["auto", "sRGB", "HDR", "HDR PQ"], {"default": "auto", "tooltip": "What the numbers are."})
    quality = ("FLOAT", {"default": crf, "min": 0.0, "max": worst, "step": 1.0, "tooltip": "The lower, the better."})
    anew = choice("re-encode", crf=quality, color_space=spaces)
    options = {"options": [choice("auto"), anew], "tooltip": "How it is encoded."}
    return {"key": name, "inputs": {"required": {}, "optional": {"encoding": (COMBO, options)}}}


def _choose_format(name: str, *codecs: dict[str, Any]) -> dict[str, Any]:
    options = {"options": [choice("auto"), *codecs], "tooltip": "The codec."}
    return choice(name, codec=(COMBO, options))


def _list_formats() -> list[dict[str, Any]]:
    h264, av1 = _choose_codec("h264", 23.0, 51.0), _choose_codec("av1", 30.0, 63.0)
    return [*(_choose_format(name, h264, av1) for name in ("auto", "mp4", "mkv")), _choose_format("webm", av1)]


class SaveVideo(Nested):
    folders: ClassVar[Folders]
    DESCRIPTION = "Writes a video into the output folder. A file is copied, unless another codec is asked for."
    CATEGORY = "video"
    OUTPUT_NODE = True
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video, as it came.",)
    TAKES = {"video": ("VIDEO", {"tooltip": "The video."}),
             "filename_prefix": ("STRING", {"default": "video/ComfyUI", "tooltip": PREFIX_TIP}),
             "format": (COMBO, {"options": _list_formats(), "tooltip": "The format of the file."})}  # fmt: skip

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {**super().INPUT_TYPES(), "hidden": HIDDEN}

    def run(
        self, video: Any, filename_prefix: str, format: Mapping[str, Any], prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Raises BadRequest on an unusable place, and for a codec that is not written here."""
        given, codec = _as_video(video), format.get("codec") or "auto"
        named = codec if isinstance(codec, Mapping) else {"codec": codec}
        wanted, crf = _read_encoding(named)
        suffix = _choose_suffix(format["format"], given, wanted)
        texts = collect_texts(prompt, extra_pnginfo)
        file = next_series(self.folders.output, filename_prefix, _measure(given)).file(0, suffix)
        if given.path and wanted is None:
            videos.copy_video(given.path, file, suffix, texts)
        else:
            _encode(given, file, suffix, crf, texts)
        return {"ui": {"images": list_files([file], "output"), "animated": (True,)}, "result": (video,)}


VIDEOS = (CreateVideo, GetVideoComponents)
VIDEO_FILES = (LoadVideo, SaveVideo)  # which know folders


def _as_video(video: Any) -> Video:
    """Of the pack's own nodes a path comes by the socket."""
    if isinstance(video, Video):
        return video
    path = getattr(video, "path", None)
    if not isinstance(path, Path):
        raise BadRequest(f"this input needs a VIDEO, not {type(video).__name__}")
    return Video(path)


def _demand_path(video: Video) -> Path:
    if video.path is None:
        raise BadRequest("this video has neither a file nor frames")
    return video.path


def _measure(video: Video) -> dict[str, int]:
    """For %width% and %height% of a name; of a file they are not looked up."""
    if not video.components:
        return {}
    _, height, width, _ = video.components.images.shape
    return {"width": width, "height": height}


def _read_encoding(codec: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """-> the codec that is asked for, if one is, and its quality. Raises BadRequest for one that is not written."""
    name, encoding = codec.get("codec", "auto"), codec.get("encoding", "auto")
    if name not in ("auto", "h264"):
        raise BadRequest(f"the codec {name} is not written without ComfyUI: take h264")
    options = encoding if isinstance(encoding, Mapping) else {}
    if options.get("color_space", "auto") not in ("auto", "sRGB"):
        raise BadRequest(f"colours of {options['color_space']} are not written without ComfyUI: take sRGB")
    return (None if name == "auto" else name), (int(options["crf"]) if "crf" in options else None)


def _choose_suffix(format: str, video: Video, codec: str | None) -> str:
    if format == "webm":
        raise BadRequest("webm files hold av1, which is not written without ComfyUI: take mp4")
    if format != "auto":
        return f".{format}"
    keeps = video.path is not None and codec is None and video.path.suffix.lower() in videos.SUFFIXES
    return video.path.suffix.lower() if video.path and keeps else USUAL


def _encode(video: Video, file: Any, suffix: str, crf: int | None, texts: Mapping[str, str]) -> None:
    found = video.get_components()
    encoding = videos.choose_encoding(file.path, "h264", crf)
    with ExitStack() as exits:
        sound = exits.enter_context(_write_sound(found.audio, suffix))
        written = exits.enter_context(videos.VideoFile(file, encoding, found.frame_rate, sound, texts))
        for frame in found.images.split(1):
            written.put(frame.movedim(-1, 0) * 2 - 1)


@contextmanager
def _write_sound(audio: Any, suffix: str) -> Iterator[Path | None]:
    if audio is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.mkv")
        encoding = videos.SoundEncoding(SOUND_CODECS[suffix])
        videos.write_sound(path, audio["waveform"][0], int(audio["sample_rate"]), encoding)
        yield path


def _put_channels_first(frames: Tensor) -> Tensor:
    return frames.movedim(-1, 1)


def _read_components(path: Path) -> Components:
    source = videos.open_frames(path, _put_channels_first)
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
    sound = videos.read_sound(path) if source.has_sound else None
    audio = {"waveform": sound[0][None], "sample_rate": sound[1]} if sound else None
    return Components(images, audio, source.rate)
