"""The core node that saves videos: a file is copied as it is where that is possible, else frames are encoded.

Colours are never converted: what the numbers are is only said in the file.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from ...vae_core import videos
from ...vae_core.errors import BadRequest
from ...vae_core.files import NumberedFile, next_series
from ..dynamic import COMBO
from ..folders import Folders
from .declaring import Nested, choice
from .files import HIDDEN, PREFIX_TIP, collect_texts, list_files
from .videos import SPACES, Video, as_video, demand_path

AUTO, WEBM = "auto", "webm"
CONTAINERS: Mapping[str, str] = MappingProxyType({AUTO: "mp4", "mp4": "mp4", "mkv": "matroska", WEBM: "webm"})
SOUND_CODECS: Mapping[str, str] = MappingProxyType({"mp4": "aac", "matroska": "flac", "webm": "libopus"})
IN_WEBM = {"av1", "vp8", "vp9", "opus", "vorbis"}  # the codecs that such a file holds
DEEP_SPACES = ("HDR", "HDR PQ")  # which need more than 8 bits
UNSAID = 2  # as ITU-T H.273 numbers it
MATRICES = (1, 5, 9)  # that FFmpeg converts from and to: BT.709, BT.601 and BT.2020
ENCODERS: Mapping[str, tuple[str, str, str]] = MappingProxyType(  # with the pixels for even sides, and for others
    {"h264": ("libx264", "yuv420p", "yuv444p"), "av1": ("libsvtav1", "yuv420p", "yuv420p")}
)
LOSSLESS = ("svtav1-params", "lossless=1")  # which a crf of 0 is not


def _choose_codec(name: str, crf: float, worst: float) -> dict[str, Any]:
    spaces = ([AUTO, *SPACES], {"default": AUTO, "tooltip": "What the numbers are."})
    quality = ("FLOAT", {"default": crf, "min": 0.0, "max": worst, "step": 1.0, "tooltip": "The lower, the better."})
    anew = choice("re-encode", crf=quality, color_space=spaces)
    options = {"options": [choice(AUTO), anew], "tooltip": "How it is encoded."}
    return {"key": name, "inputs": {"required": {}, "optional": {"encoding": (COMBO, options)}}}


H264, AV1 = _choose_codec("h264", 23.0, 51.0), _choose_codec("av1", 30.0, 63.0)


def _list_codecs(*codecs: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    return COMBO, {"options": [choice(AUTO), *codecs], "tooltip": "The codec.", **more}


FORMATS = [
    *(choice(name, codec=_list_codecs(H264, AV1)) for name in (AUTO, "mp4", "mkv")),
    choice(WEBM, codec=_list_codecs(AV1)),
]


@dataclass(frozen=True)
class Wanted:
    """What the node was asked for.

    container  FFmpeg's name of the format
    codec      None: any that such a file holds
    crf        None: the encoder's own
    space      what the numbers are said to be; None: what they were said to be
    """

    container: str
    codec: str | None
    crf: float | None
    space: str | None


class SaveVideo(Nested):
    folders: ClassVar[Folders]
    DESCRIPTION = "Writes a video into the output folder. A file is copied, unless another codec is asked for."
    CATEGORY = "video"
    OUTPUT_NODE = True
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video, as it came.",)
    TAKES = {"video": ("VIDEO", {"tooltip": "The video."}),
             "filename_prefix": ("STRING", {"default": "video/ComfyUI", "tooltip": PREFIX_TIP}),
             "format": (COMBO, {"options": FORMATS, "tooltip": "The format of the file."})}  # fmt: skip
    MAY_TAKE = {"codec": _list_codecs(H264, AV1, hidden=True)}  # of graphs from before formats had their own

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {**super().INPUT_TYPES(), "hidden": HIDDEN}

    def run(
        self, video: Any, filename_prefix: str, format: Mapping[str, Any], codec: Any = None, prompt: Any = None,
        extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Raises BadRequest on an unusable place, and for what such a file does not hold."""
        given, wanted = as_video(video), _read_wanted(format, codec)
        suffix = ".mp4" if format["format"] == AUTO else f".{format['format']}"
        texts = collect_texts(prompt, extra_pnginfo)
        file = next_series(self.folders.output, filename_prefix, _measure(given)).file(None, suffix)
        if _can_copy(given, wanted):
            videos.copy_video(demand_path(given), file, suffix, texts)
        else:
            _encode(given, file, wanted, texts)
        return {"ui": {"images": list_files([file], "output"), "animated": (True,)}, "result": (video,)}


VIDEO_SAVING = (SaveVideo,)


def _measure(video: Video) -> dict[str, int]:
    """For %width% and %height% of a name."""
    if video.components:
        _, height, width, _ = video.components.images.shape
    else:
        width, height = video.facts.size
    return {"width": width, "height": height}


def _read_wanted(format: Mapping[str, Any], codec: Any) -> Wanted:
    chosen = format.get("codec") or codec or AUTO
    named = chosen if isinstance(chosen, Mapping) else {"codec": chosen}
    encoding = named.get("encoding")
    options = encoding if isinstance(encoding, Mapping) else {}
    name, space = named.get("codec", AUTO), options.get("color_space", AUTO)
    container = CONTAINERS[format["format"]]
    if container == WEBM and name not in (AUTO, "av1"):
        raise BadRequest(f"a webm file holds av1, not {name}: take mp4 or mkv, or codec av1")
    return Wanted(container, None if name == AUTO else name, options.get("crf"), None if space == AUTO else space)


def _can_copy(video: Video, wanted: Wanted) -> bool:
    """A file stays as it is if nothing else is asked for. Raises BadPixels for what is no video."""
    if video.components or not video.is_whole or wanted.crf is not None or wanted.space is not None:
        return False
    facts = video.facts
    fits = wanted.container != WEBM or IN_WEBM.issuperset((facts.codec, *facts.sounds))
    return fits and wanted.codec in (None, facts.codec)


def _encode(video: Video, file: NumberedFile, wanted: Wanted, texts: Mapping[str, str]) -> None:
    said = video.colour_space
    if video.path and wanted.space and said not in (None, wanted.space):
        raise BadRequest(
            f"the video is said to be {said}, so it cannot be saved as {wanted.space}: take auto or {said}"
        )
    space = wanted.space or said
    deep = video.bit_depth > 8 or space in DEEP_SPACES
    codec = _choose_encoder(wanted.codec or ("av1" if wanted.container == WEBM else "h264"), deep)
    crf = wanted.crf
    if codec.encoder == ENCODERS["av1"][0] and crf == 0:
        codec, crf = replace(codec, options=(LOSSLESS,)), None
    encoding = videos.Encoding(wanted.container, codec, crf, _choose_colours(video, space))
    kept = {} if video.components else video.facts.texts
    with ExitStack() as exits:
        sound = exits.enter_context(_write_sound(video.read_sound(), wanted.container))
        written = exits.enter_context(videos.VideoFile(file, encoding, video.rate, sound, {**kept, **texts}))
        for frames in video.read_frames():
            written.put(frames)


def _choose_encoder(name: str, deep: bool) -> videos.Codec:
    encoder, even, odd = ENCODERS[name]
    if deep:
        return videos.Codec(encoder, f"{even}10le", f"{odd}10le", "rgb48le")
    return videos.Codec(encoder, even, odd)


def _choose_colours(video: Video, space: str | None) -> videos.Colours:
    """What the file says; where it says nothing of use, what is usual for the space, or for video."""
    usual = SPACES[space] if space else (1, 1, 1)
    if video.components or video.colour_space is None:
        return videos.Colours(*usual)
    primaries, transfer, matrix = video.facts.colours
    return videos.Colours(
        usual[0] if primaries == UNSAID else primaries, transfer, matrix if matrix in MATRICES else usual[2]
    )


@contextmanager
def _write_sound(audio: Any, container: str) -> Iterator[Path | None]:
    if audio is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.mkv")
        encoding = videos.SoundEncoding(SOUND_CODECS[container])
        videos.write_sound(path, audio["waveform"][0], int(audio["sample_rate"]), encoding)
        yield path
