"""Clips on the command line: from a video or a folder of images to a latent, and back, a few frames at a time."""

import argparse
import re
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from pathlib import Path

from PIL import Image
from torch import Tensor

from ..headless import exr, image_files, tiff
from ..nodes.images import frames_are_batch, to_image
from ..vae_core import VAE, BadRequest, Posterior, RunOptions, videos
from ..vae_core.files import make_folder
from ..vae_core.latents import Tag
from . import rows
from .options import DIGITS
from .progress import bar
from .transparency import Transparency

ENDINGS = videos.READABLE  # of files that are read frame by frame
_NUMBER = re.compile(r"%0?(\d*)d")  # as FFmpeg writes it: frames/%05d.png


def add_output(command: argparse.ArgumentParser) -> None:
    """The options of `decode` for clips."""
    group = command.add_argument_group("clips")
    group.add_argument(
        "--fps", type=parse_rate, metavar="N", help=f"frames a second (default: {videos.USUAL_RATE}, or --source's)"
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
    if not 0 < rate <= videos.FASTEST or len(said) > DIGITS:
        raise argparse.ArgumentTypeError(f"frames a second are a number such as 24 or 30000/1001, not '{said}'")
    return rate


def is_clip_file(path: Path) -> bool:
    """Is it read frame by frame: a folder, or a file with the ending of a video? Raises BadRequest for a pattern."""
    if is_pattern(path) and not path.exists():
        raise BadRequest(f"'{path}' names the images of a clip: give their folder, '{path.parent}'.")
    return path.is_dir() or path.suffix.lower() in ENDINGS


def is_pattern(path: Path) -> bool:
    """Does the name stand for numbered images, as FFmpeg writes it: frames/%05d.png?"""
    return _NUMBER.search(path.name) is not None


def is_clip_target(path: Path) -> bool:
    return is_pattern(path) or path.suffix.lower() in videos.SUFFIXES


def encode(vae: VAE, path: Path, transparency: Transparency, how: RunOptions) -> tuple[Posterior, int | None]:
    """Encode the frames at this path -> (posterior, the number of frames of a clip; None if each is an image)."""
    frames = videos.open_frames(path, lambda image: transparency.to_pixels(image, vae.in_channels))
    with bar("encode") as progress:
        posterior = vae.encode_frames(frames, options=how, progress=progress)
    return posterior, None if frames_are_batch(vae) or vae.clip_law is None else frames.shape[1]


def as_images(latent: Tensor) -> Tensor:
    """(1, C, T, h, w) of frames that are images -> (T, C, h, w)"""
    return latent[0].transpose(0, 1)


def demand_no_clip(options: argparse.Namespace, target: Path) -> None:
    """Raises BadRequest if options of clips are given for a single image, which has no use for them."""
    for name in ("fps", "codec", "crf", "source", "resume"):
        given = getattr(options, name)
        if given is not None and given is not False:
            raise BadRequest(
                f"--{name} is for clips, and '{target}' is one image: leave it away, or name a video or "
                "frames/%05d.png."
            )


def decode(
    vae: VAE, latent: Tensor, tag: Tag | None, target: Path, options: argparse.Namespace, how: RunOptions
) -> tuple[str, dict[str, str]]:
    """Decode a clip or a batch of images into a video, or into numbered images -> what was written, text and facts."""
    size, most = (tag.size_of(latent.shape), tag.frames_of(latent.shape)) if tag else (None, None)
    latents = latent.split(1) if latent.ndim == 5 else [latent]
    values = _count_values(vae, latent) if latent.ndim == 5 else 0
    with bar("decode") as progress, open_writer(target, options, vae, values) as writer:
        for one in latents:
            left = most
            for frames in vae.decode_frames(one, size=size, options=how, progress=progress):
                writer.put(frames if left is None else frames[:, :left])
                left = None if left is None else max(0, left - frames.shape[1])
    return str(writer), {"image": str(target), "written": str(writer)}


def _count_values(vae: VAE, latent: Tensor) -> int:
    """Numbers of all frames of clips (B, C, T, h, w), at most."""
    clips, _, frames, h, w = latent.shape
    longest = vae.clip_law.frames(frames) if vae.clip_law else frames
    return clips * longest * vae.out_channels * h * w * vae.decoded_ratio**2


def open_writer(target: Path, options: argparse.Namespace, vae: VAE, values: int) -> AbstractContextManager:
    """What takes the frames that are decoded. values: of all frames, at most; 0 for separate images."""
    if target.suffix.lower() in videos.SUFFIXES:
        return _open_video(target, options, vae.out_channels)
    for name in ("fps", "codec", "crf", "source"):
        if getattr(options, name) is not None:
            raise BadRequest(f"--{name} is for videos, and '{target}' is written as images: leave it away.")
    bits = rows.demand_savable(target, vae.out_channels, options.bits)
    if values and target.suffix.lower() in tiff.SUFFIXES and not is_pattern(target):
        demand_no_resume(options, "a TIFF file")
        return TiffPages(target, bits, values * bits // 8)
    return nullcontext(NumberedImages(target, options.resume, bits))


def _open_video(target: Path, options: argparse.Namespace, channels: int) -> AbstractContextManager:
    demand_no_resume(options, "a video")
    if options.bits:
        raise BadRequest(f"--bits is for images, and '{target}' is a video: choose a codec, h265, prores or ffv1-16.")
    if channels != 3:
        raise BadRequest(f"a video has 3 channels, this VAE decodes to {channels}: write numbered images.")
    encoding = videos.choose_encoding(target, options.codec, options.crf)
    source = videos.VideoFrames(options.source, lambda image: image) if options.source else None
    rate = options.fps or (source.rate if source else videos.USUAL_RATE)
    return videos.VideoFile(target, encoding, rate, options.source if source and source.has_sound else None)


def demand_no_resume(options: argparse.Namespace, what: str) -> None:
    if options.resume:
        raise BadRequest(f"{what} cannot be resumed: leave --resume away, or write numbered images (frames/%05d.png).")


class TiffPages(tiff.Stack):
    """A TIFF file with a page for each frame. most: bytes that it may have."""

    def __init__(self, path: Path, bits: int, most: int):
        super().__init__(path, most)
        self.bits = bits

    def put(self, frames: Tensor) -> None:
        """Write frames (C, n, H, W) in [-1, 1], in order."""
        for image in to_image(frames.transpose(0, 1), clamp=False):
            self.add(image_files.levels(image, self.bits))

    def __str__(self) -> str:
        return f"{self.path}: {self.pages} pages"


def _is_there(path: Path, image: Tensor) -> bool:
    """Is there a file of an image as large as this one, (H, W, C)? Raises BadRequest for any other file."""
    if not path.exists() or not path.stat().st_size:
        return False
    if path.suffix.lower() == exr.SUFFIX:  # which Pillow does not read
        return True
    try:
        with Image.open(path) as found:
            there = f"{found.width}x{found.height}"
    except (OSError, SyntaxError, ValueError):
        there = "no image"
    if there != (here := f"{image.shape[1]}x{image.shape[0]}"):
        raise BadRequest(f"'{path}' is {there}, and this clip's frames are {here}: give another place, or delete it.")
    return True


class NumberedImages:
    """Image files with numbers from 1: 'frames/%05d.png', or the name with _00001, _00002 ... before its ending.

    resume: files that are there are kept. Each got its name when it was complete, but a machine that lost its power may
    have left one without a byte: it is written again.
    """

    def __init__(self, target: Path, resume: bool, bits: int):
        self.target, self.resume, self.bits = target, resume, bits
        self.written = self.kept = 0

    def path(self, number: int) -> Path:
        found = _NUMBER.search(self.target.name)
        if found is None:
            return self.target.with_stem(f"{self.target.stem}_{number:05}")
        digits = f"{number:0{min(int(found[1] or 1), 9)}}"
        return self.target.with_name(self.target.name[: found.start()] + digits + self.target.name[found.end() :])

    def put(self, frames: Tensor) -> None:
        """Write frames (C, n, H, W) in [-1, 1], in order."""
        for image in to_image(frames.transpose(0, 1), clamp=False):
            path = self.path(self.written + self.kept + 1)
            if self.resume and _is_there(path, image):
                self.kept += 1
                continue
            make_folder(path.parent)
            image_files.write_levels(path, image_files.levels_for(path, image, self.bits))
            self.written += 1

    def __str__(self) -> str:
        count = self.written + self.kept
        to = f" to {self.path(count).name}" if count > 1 else ""
        kept = f", {self.kept} of them there before" if self.kept else ""
        return f"{self.path(1)}{to}: {count} {'image' if count == 1 else 'images'}{kept}"
