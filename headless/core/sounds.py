"""Core nodes that read and save sound.

An AUDIO is {"waveform": (B, C, n) in [-1, 1], "sample_rate"}.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from torch import Tensor

from ...vae_core import videos
from ...vae_core.errors import BadRequest
from ...vae_core.files import next_series
from ..dynamic import COMBO
from ..folders import Folders
from .declaring import Core, Nested, choice
from .files import HIDDEN, NO_SIZE, PREFIX_TIP, collect_texts, list_files
from .loading import FromFile

ENDINGS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".mka")
CODECS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}  # format of a file -> FFmpeg's encoder
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # samples a second (RFC 6716, 2)
BEST = "V0"  # of MP3: as many bits as each moment needs
MP3 = [BEST, "128k", "320k"]
OPUS = ["64k", "96k", "128k", "192k", "320k"]
QUALITY_TIP = "How many bits a second; V0: as many as the sound needs."
AUDIO: tuple[Any, ...] = ("AUDIO", {"tooltip": "The sound to save; each of a batch gets a file."})
PREFIX: tuple[Any, ...] = ("STRING", {"default": "audio/ComfyUI", "tooltip": PREFIX_TIP})


def _choose_quality(choices: list[str], usual: str) -> tuple[Any, ...]:
    return choices, {"default": usual, "tooltip": QUALITY_TIP}


class LoadAudio(FromFile):
    FILE, KIND = "audio", "audio"
    UPLOAD: ClassVar[dict[str, Any]] = {"audio_upload": True}
    WHERE = "A file in the input folder, also in a subfolder; 'x.mp3 [output]' means the output folder."
    DESCRIPTION = "Reads the sound of a file in the input folder."
    CATEGORY = "audio"
    RETURN_TYPES = ("AUDIO",)
    OUTPUT_TOOLTIPS = ("The sound.",)

    @classmethod
    def list_endings(cls) -> tuple[str, ...]:
        return (*ENDINGS, *videos.READABLE)

    def run(self, audio: str) -> tuple[dict[str, Any]]:
        """-> {"waveform": (1, C, n), "sample_rate"}. Raises BadRequest, BadPixels."""
        found = videos.read_sound(self.folders.find(audio))
        if found is None:
            raise BadRequest(f"'{audio}' has no sound")
        return ({"waveform": found[0][None], "sample_rate": found[1]},)


class _Saving(Core):
    """Writes sound into the output folder, with the graph inside the files."""

    folders: ClassVar[Folders]
    CATEGORY = "audio"
    OUTPUT_NODE = True
    RETURN_TYPES = ("AUDIO",)
    OUTPUT_TOOLTIPS = ("The sound, as it came.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {**super().INPUT_TYPES(), "hidden": HIDDEN}

    def save(
        self, audio: Any, prefix: str, format: str, quality: str, texts: Mapping[str, str], kind: str = "output"
    ) -> dict[str, Any]:
        """quality: of the codec; "" where it has none. kind: the folder.

        Raises BadRequest for no sound, an unusable place, and what the codec does not take.
        """
        waveform, rate = _demand_sound(audio)
        series = next_series(self.folders.of(kind), prefix, NO_SIZE)
        files = [series.file(i, f".{format}", tail="") for i in range(len(waveform))]
        bits = 0 if quality in ("", BEST) else 1000 * int(quality.removesuffix("k"))
        for file, sound in zip(files, waveform, strict=True):
            encoding = videos.SoundEncoding(CODECS[format], format, _choose_rate(format, rate), bits, quality == BEST)
            videos.write_sound(file, sound, rate, encoding, texts)
        return {"ui": {"audio": list_files(files, kind)}, "result": (audio,)}


class SaveAudio(_Saving):
    DESCRIPTION = "Writes sound as FLAC files, which lose nothing of 16 bits."
    TAKES = {"audio": AUDIO, "filename_prefix": PREFIX}

    def run(self, audio: Any, filename_prefix: str, prompt: Any = None, extra_pnginfo: Any = None) -> dict[str, Any]:
        """audio: samples of B sounds."""
        return self.save(audio, filename_prefix, "flac", "", collect_texts(prompt, extra_pnginfo))


class SaveAudioMP3(_Saving):
    DESCRIPTION = "Writes sound as MP3 files."
    TAKES = {"audio": AUDIO, "filename_prefix": PREFIX, "quality": _choose_quality(MP3, BEST)}

    def run(
        self, audio: Any, filename_prefix: str, quality: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """audio: samples of B sounds."""
        return self.save(audio, filename_prefix, "mp3", quality, collect_texts(prompt, extra_pnginfo))


class SaveAudioOpus(_Saving):
    DESCRIPTION = "Writes sound as Opus files."
    TAKES = {"audio": AUDIO, "filename_prefix": PREFIX, "quality": _choose_quality(OPUS, "128k")}

    def run(
        self, audio: Any, filename_prefix: str, quality: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """audio: samples of B sounds."""
        return self.save(audio, filename_prefix, "opus", quality, collect_texts(prompt, extra_pnginfo))


class SaveAudioAdvanced(_Saving, Nested):
    DESCRIPTION = "Writes sound as FLAC, MP3 or Opus files."
    FORMATS: ClassVar[list[dict[str, Any]]] = [
        choice("flac"),
        choice("mp3", quality=_choose_quality(MP3, BEST)),
        choice("opus", quality=_choose_quality(OPUS, "128k")),
    ]
    TAKES = {"audio": AUDIO, "filename_prefix": PREFIX,
             "format": (COMBO, {"options": FORMATS, "tooltip": "The format of the files."})}  # fmt: skip

    def run(
        self, audio: Any, filename_prefix: str, format: Mapping[str, str], prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """audio: samples of B sounds."""
        texts = collect_texts(prompt, extra_pnginfo)
        return self.save(audio, filename_prefix, format["format"], format.get("quality", ""), texts)


class PreviewAudio(_Saving):
    DESCRIPTION = "Writes sound as FLAC files into the folder for temporary files."
    TAKES = {"audio": AUDIO}

    def run(self, audio: Any, prompt: Any = None, extra_pnginfo: Any = None) -> dict[str, Any]:
        """audio: samples of B sounds."""
        return self.save(audio, "ComfyUI_temp", "flac", "", collect_texts(prompt, extra_pnginfo), "temp")


SOUND_FILES = (LoadAudio, SaveAudio, SaveAudioMP3, SaveAudioOpus, SaveAudioAdvanced, PreviewAudio)


def _demand_sound(audio: Any) -> tuple[Tensor, int]:
    """(B, C, n) and samples a second. Raises BadRequest."""
    if audio is None:
        raise BadRequest("there is no sound to save: the video it comes from may have none")
    with suppress(KeyError, TypeError):
        return audio["waveform"], int(audio["sample_rate"])
    raise BadRequest(f"this input needs an AUDIO, not {type(audio).__name__}")


def _choose_rate(format: str, rate: int) -> int:
    """Opus has five rates: the next one that loses nothing."""
    return next((one for one in OPUS_RATES if one >= rate), OPUS_RATES[-1]) if format == "opus" else rate
