"""VAE Decode to Video File: a latent straight into a video, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..vae_core import execution, videos
from . import host
from .entrance import checks_inputs
from .inputs import choice_input, float_input, int_input, text_input
from .save_latent import PREFIX
from .vae_decode import EMPTY, EMPTY_TIP, REFUSE, Ready, VAEDecode, make_ready
from .video_inputs import open_video, sound_file

AUTO = "auto"
USUAL_CRF = -1
# The file for a codec that .mp4 does not hold, or that is at home in another: prores in editors, vp9 in browsers.
_USUAL = {"prores": ".mov", "vp9": ".webm", "ffv1": ".mkv", "ffv1-16": ".mkv"}


@checks_inputs()
class VAEDecodeToVideoFile:
    DESCRIPTION = (
        "Decodes a latent straight into a video in the output folder. Each frame is written as soon as it is final, so "
        "memory does not grow with the length of the clip, and the frames are exactly those of VAE Decode (Exact). The "
        "file gets its name when it is complete: an interrupted run leaves none. For a VAE of images, each image of "
        "the batch is a frame."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["decode to video", "latent to video", "save video", "export video", "mp4", "prores", "ffv1"]
    RETURN_TYPES = ("VIDEO", "STRING")
    RETURN_NAMES = ("video", "path")
    OUTPUT_TOOLTIPS = ("The video, for nodes that take one. It stays in its file.", "Where the file is.")
    FUNCTION = "decode"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        codec = (
            "h264 plays everywhere. h265 and prores have 10 bits a channel, and prores is for editors. vp9 is for "
            "browsers. ffv1 is lossless, with 8 bits a channel, ffv1-16 with 16."
        )
        crf = "Quality of h264, h265 and vp9: lower is better and larger. -1: what is usual for the codec."
        file_type = "The kind of file. auto: .mp4, but .webm for vp9, .mov for prores and .mkv for ffv1."
        source = "The video that was encoded. Its sound and its frames a second are taken, instead of fps."
        audio = "Sound for the video, as long as its frames go. It is taken instead of that of source."
        samples, vae = VAEDecode.INPUT_TYPES()["required"].values()
        return {
            "required": {
                "samples": samples,
                "vae": vae,
                "filename_prefix": text_input("video/ComfyUI", PREFIX),
                "fps": float_input(float(videos.USUAL_RATE), 0.01, videos.FASTEST, "Frames a second."),
                "codec": choice_input(list(videos.CODECS), next(iter(videos.CODECS)), codec),
            },
            "optional": {
                "crf": int_input(USUAL_CRF, USUAL_CRF, videos.WORST_CRF, crf, advanced=True),
                "file_type": choice_input((AUTO, *videos.SUFFIXES), AUTO, file_type, advanced=True),
                "empty_latent": choice_input(EMPTY, REFUSE, EMPTY_TIP, advanced=True),
                "source": ("VIDEO", {"tooltip": source}),
                "audio": ("AUDIO", {"tooltip": audio}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def decode(self, samples, vae, filename_prefix, fps, codec, *, crf=USUAL_CRF, file_type=AUTO, empty_latent=REFUSE,
               source=None, audio=None, prompt=None, extra_pnginfo=None):  # fmt: skip
        suffix = choose_suffix(codec) if file_type == AUTO else file_type
        file = host.new_file(filename_prefix, suffix)
        encoding = videos.choose_encoding(file.path, codec, None if crf == USUAL_CRF else crf)
        given = open_video(source) if source is not None else None
        rate = given.rate if given else fps
        with sound_file(audio, given, suffix) as sound:
            ready = make_ready(samples, vae, empty_latent, streamed=True)
            write(ready, videos.VideoFile(file, encoding, rate, sound, host.list_graph_texts(prompt, extra_pnginfo)))
        return host.show_video(file, ready.shown)


def choose_suffix(codec: str) -> str:
    return _USUAL.get(codec, videos.SUFFIXES[0])


def write(ready: Ready, video: Any) -> None:
    """Decode what is ready into a VideoFile."""
    with video:
        for frames in _decode_frames(ready):
            video.put(frames)


def _decode_frames(ready: Ready) -> Iterator[Tensor]:
    """Frames (C, n, H, W) in [-1, 1], of several clips one after the other."""
    clips = ready.latent.split(1) if ready.latent.ndim == 5 else [ready.latent]
    for one, options in zip(clips, execution.share_options(ready.options, len(clips)), strict=True):
        left = ready.frames
        for frames in ready.codec.decode_frames(one, size=ready.size, options=options):
            yield frames if left is None else frames[:, :left]
            left = None if left is None else max(0, left - frames.shape[1])
