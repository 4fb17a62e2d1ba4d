"""VAE Encode Video File: a video to a latent, a few frames at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import vae_core
from ..vae_core import BadRequest, videos
from . import host
from .entrance import checks_inputs
from .frames import describe_clip, describe_images
from .images import frames_are_batch, tag_latent
from .vae_encode import draw, posterior_inputs
from .video_inputs import open_video

NO_FILE = "none"


@checks_inputs()
class VAEEncodeVideoFile:
    DESCRIPTION = (
        "Encodes a video straight from its file to a latent. Only a few frames are in memory at a time, however long "
        "the video is, and the latent is exactly that of VAE Encode (Exact) for all frames at once. The latent "
        "remembers the size and the number of frames. For a VAE of images, each frame becomes a latent of its own."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["encode video", "video to latent", "load video", "vid2vid", "video file"]
    RETURN_TYPES = ("LATENT", "FLOAT", "INT")
    RETURN_NAMES = ("LATENT", "fps", "frames")
    OUTPUT_TOOLTIPS = (
        "The raw latent, as every VAE Encode gives it. It remembers the VAE, the size and the number of frames.",
        "Frames a second of the video.",
        "The number of its frames.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        file = (
            "A video in the input folder. Files in the output folder end with [output]. none: the one that is "
            "connected to video."
        )
        video = "A video from another node, taken instead of the file."
        vae = "The VAE to encode with, from any loader."
        names = [*host.list_files(videos.READABLE), NO_FILE]
        return {
            "required": {
                "file": (names, {"tooltip": file, "video_upload": True}),
                "vae": ("VAE", {"tooltip": vae}),
            },
            "optional": {**posterior_inputs(), "video": ("VIDEO", {"tooltip": video})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file):
        try:
            return file in (None, NO_FILE) or bool(host.find_file(file))  # None: it comes from another node
        except BadRequest as e:
            return str(e)

    @classmethod
    def IS_CHANGED(cls, file, **others):
        if file == NO_FILE:
            return NO_FILE
        stat = host.find_file(file).stat()
        return f"{file} {stat.st_size} {stat.st_mtime_ns}"

    def encode(self, file, vae, *, posterior="mode", seed=0, video=None):
        clip = open_video(_choose(file, video), host.facts(vae).in_channels)
        _, frames, *size = clip.shape
        options, found = vae_core.RunOptions(), host.facts(vae)
        law = None if frames_are_batch(found) else found.clip_law
        shape = (1, found.in_channels, *([frames] if law else []), *size)
        codec = host.from_socket(vae, vae_core.Half.ENCODER, shape, options, streamed=True)
        shown = host.Shown(describe_clip(frames, codec) or describe_images(frames))
        told = {"on_plan": shown, "progress": host.progress(), "advice": host.advise(options)}
        given = codec.encode_frames(clip, options=replace(options, budget=host.budget(vae), **told))
        latent = host.result(_lay_out(draw(given, posterior, seed), codec))
        count = frames if law and not law.images_stay_apart else None
        made = tag_latent(latent, codec.family, codec.spatial_ratio, given.size, codec, count)
        return shown.beside(made, float(clip.rate), frames)


def _lay_out(latent: Tensor, codec: Any) -> Tensor:
    """(1, C, T, h, w) as VAE Encode (Exact) gives the frames: a clip, or images of their own."""
    if isinstance(codec, host.HostVAE):
        return latent
    images = latent[0].transpose(0, 1)
    if codec.clip_law is None or frames_are_batch(codec):
        return images
    return images[:, :, None] if codec.clip_law.images_stay_apart else latent


def _choose(file: str, video: Any) -> Path | Any:
    if video is not None:
        return video
    if file == NO_FILE:
        raise BadRequest("choose a file, or connect a video: this node has neither.")
    return host.find_file(file)
