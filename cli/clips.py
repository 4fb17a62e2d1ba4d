"""Clips on the command line: from a video or a folder of images to a latent, and back, a few frames at a time."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..headless import image_files
from ..nodes.images import frames_are_batch, to_image, to_pixels
from ..vae_core import VAE, BadRequest, Posterior, RunOptions, videos
from ..vae_core.files import make_folder
from ..vae_core.latents import Tag
from . import rows
from .options import DIGITS
from .progress import bar

USUAL_RATE, FASTEST = 24, 1000  # frames a second
_NUMBER = re.compile(r"%0?(\d*)d")  # as FFmpeg writes it: frames/%05d.png


class Writer(Protocol):
    """Takes frames (C, n, H, W) in [-1, 1], in order."""

    def put(self, frames: Tensor) -> None: ...


def add_output(command: argparse.ArgumentParser) -> None:
    """The options of `decode` for clips."""
    group = command.add_argument_group("clips")
    group.add_argument(
        "--fps", type=parse_rate, metavar="N", help=f"frames a second (default: {USUAL_RATE}, or --source's)"
    )
    codec = "default: h264 for .mp4, .mkv and .mov, vp9 for .webm; ffv1 is lossless"
    group.add_argument("--codec", choices=list(videos.CODECS), help=codec)
    group.add_argument("--crf", type=int, metavar="N", help="quality of h264, h265 and vp9: lower is better")
    source = "the video that was encoded: its frames a second and its sound are taken"
    group.add_argument("--source", type=Path, metavar="CLIP", help=source)
    group.add_argument("--resume", action="store_true", help="keep numbered images that are there")


def parse_rate(said: str) -> Fraction:
    """24, 23.976 or 24000/1001. For argparse."""
    try:
        rate = Fraction(said)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= FASTEST or len(said) > DIGITS:
        raise argparse.ArgumentTypeError(f"frames a second are a number such as 24 or 30000/1001, not '{said}'")
    return rate


def is_clip_file(path: Path) -> bool:
    """Is it read frame by frame: a folder, or a file with the ending of a video?"""
    return path.is_dir() or path.suffix.lower() in (*videos.SUFFIXES, *videos.READABLE)


def encode(vae: VAE, path: Path, how: RunOptions) -> tuple[Posterior, Callable[[Tensor], Tensor], int | None]:
    """Encode the frames at this path -> (posterior, how its latent lies in a file, the number of frames of a clip)."""
    frames = videos.open_frames(path, lambda image: to_pixels(image, vae.in_channels))
    with bar("encode") as progress:
        posterior = vae.encode_frames(frames, options=how, progress=progress)
    if vae.clip_law is None or frames_are_batch(vae):
        return posterior, _as_batch, None
    return posterior, lambda latent: latent, frames.shape[1]


def _as_batch(latent: Tensor) -> Tensor:
    """(1, C, T, h, w) -> (T, C, h, w)"""
    return latent[0].transpose(0, 1)


def decode(vae: VAE, latent: Tensor, tag: Tag | None, options: argparse.Namespace, how: RunOptions) -> None:
    """Decode a clip or a batch of images into a video, or into numbered images, and print what was written."""
    size, most = (tag.size_of(latent.shape), tag.frames_of(latent.shape)) if tag else (None, None)
    latents = latent.split(1) if latent.ndim == 5 else [latent]
    with bar("decode") as progress, open_writer(options, vae.out_channels) as writer:
        for one in latents:
            left = most
            for frames in vae.decode_frames(one, size=size, options=how, progress=progress):
                writer.put(frames if left is None else frames[:, :left])
                left = None if left is None else max(0, left - frames.shape[1])
    print(writer)


def open_writer(options: argparse.Namespace, channels: int) -> AbstractContextManager:
    """What takes the frames that are decoded."""
    target = options.image
    if target.suffix.lower() not in videos.SUFFIXES:
        rows.demand_savable(target, channels)
        return nullcontext(NumberedImages(target, options.resume))
    if options.resume:
        raise BadRequest("a video cannot be resumed: leave --resume away, or write numbered images (frames/%05d.png).")
    if channels != 3:
        raise BadRequest(f"a video has 3 channels, this VAE decodes to {channels}: write numbered images.")
    encoding = videos.choose_encoding(target, options.codec, options.crf)
    source = videos.VideoFrames(options.source, lambda image: image) if options.source else None
    rate = options.fps or (source.rate if source else USUAL_RATE)
    return videos.VideoFile(target, encoding, rate, options.source if source and source.has_sound else None)


class NumberedImages:
    """Image files with numbers from 1: 'frames/%05d.png', or the name with _00001, _00002 ... before its ending.

    resume: files that are there are kept. They are whole: each gets its name when it is complete.
    """

    def __init__(self, target: Path, resume: bool):
        self.target, self.resume = target, resume
        self.written = self.kept = 0
        self.size = ""

    def path(self, number: int) -> Path:
        found = _NUMBER.search(self.target.name)
        if found is None:
            return self.target.with_stem(f"{self.target.stem}_{number:05}")
        digits = f"{number:0{min(int(found[1] or 1), 9)}}"
        return self.target.with_name(self.target.name[: found.start()] + digits + self.target.name[found.end() :])

    def put(self, frames: Tensor) -> None:
        for image in _images(frames):
            path = self.path(self.written + self.kept + 1)
            if self.resume and path.exists():
                self.kept += 1
                continue
            make_folder(path.parent)
            image_files.write_levels(path, image_files.levels(image))
            self.written += 1
            self.size = f"{image.shape[1]}x{image.shape[0]}"

    def __str__(self) -> str:
        last = self.path(max(1, self.written + self.kept))
        kept = f", {self.kept} were there" if self.kept else ""
        return f"{self.path(1)} to {last.name}: {self.written} images of {self.size}{kept}"


def _images(frames: Tensor) -> Iterator[Tensor]:
    """(C, n, H, W) in [-1, 1] -> images (H, W, C) in [0, 1]"""
    yield from to_image(frames.transpose(0, 1))
