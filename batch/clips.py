"""Clips as sources: video files, and folders of which each image is a frame. Read frame by frame.

A clip is cut into pieces of as many frames as the recipe says, one after the other, for each of its numbers of frames
anew, as musubi's "chunk" does; what is over is left out.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ..vae_core import VAE, BadPixels, BadRequest, readers, videos
from ..vae_core.images import convert_channels, to_pixel_range
from . import fitting
from .captions import read_source
from .places import is_remote
from .reading import open_file
from .recipe import Recipe
from .records import Image, Item, Size, Skipped, Source

Frames: TypeAlias = "videos.VideoFrames | videos.ImageFrames | videos.PagesOfFile"


def list_clips(folder: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    """The video files of a folder and of all below it, and the folders with images, by their relative paths.

    inside: the folder of results, which is left out
    """
    if is_remote(folder):
        raise BadRequest(f"'{folder}' is in a store: clips are listed in folders of this machine, or by a list.")
    found: dict[str, Path] = {}
    for path in _walk(folder, inside.absolute()):
        is_video = path.suffix.lower() in videos.READABLE
        clip = path if is_video else path.parent
        if is_video or clip != folder:
            found[clip.relative_to(folder).as_posix()] = clip
    for name, path in sorted(found.items()):
        yield stamp(read_source(path, name, captions))


def _walk(folder: Path, left_out: Path) -> Iterator[Path]:
    endings = (*videos.READABLE, *readers.SUFFIXES)
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in endings and not hidden and not path.absolute().is_relative_to(left_out):
            yield path


def stamp(source: Source | Skipped) -> Source | Skipped:
    """A folder of frames with the bytes of all frames and the time of the last change of any."""
    if isinstance(source, Skipped) or not Path(source.file).is_dir():
        return source
    states = [one.stat() for one in sorted(Path(source.file).iterdir()) if one.is_file()]
    times = max((one.st_mtime_ns for one in states), default=0)
    return Source(source.path, source.file, (sum(one.st_size for one in states), times), None, source.caption)


def is_clip(source: Source) -> bool:
    """Is it of a kind that has frames? A file in an archive or a table is an image."""
    path = Path(source.file)
    return source.part is None and (path.suffix.lower() in videos.READABLE or path.is_dir())


def measure(path: Path) -> tuple[Size, int, float]:
    """((width, height), frames, frames a second). A video is decoded for it. Raises BadPixels."""
    frames = videos.open_frames(path, _lay_out)
    _, count, height, width = frames.shape
    return (width, height), count, float(frames.rate)


def count_frames(image: Image, recipe: Recipe) -> int:
    """Frames of a clip at the recipe's rate."""
    return image.frames if not recipe.fps else int(image.frames * Fraction(recipe.fps) / Fraction(image.rate))


def list_pieces(image: Image, recipe: Recipe) -> list[tuple[int, int]]:
    """(first frame, frames) of each piece, at the recipe's rate; (0, 1) of an image. Raises BadRequest for none."""
    if not recipe.frames:
        if image.frames > 1:
            raise BadRequest(f"it is a clip of {image.frames} frames, which --frames encodes")
        return [(0, 1)]
    count = count_frames(image, recipe)
    if count < min(recipe.frames):
        raise BadRequest(f"it has {count} frames, and {min(recipe.frames)} are the least")
    return [(start, each) for each in recipe.frames for start in range(0, count - each + 1, each)]


def load(item: Item, recipe: Recipe, channels: int) -> Tensor:
    """The pixels of a piece, (channels, T, H, W) of its bucket in [-1, 1], float32.

    Raises BadPixels, also if the clip has changed since it was measured, BadRequest, OSError.
    """
    with open_file(item.source) as path:
        return _load(videos.open_frames(path, _lay_out), item, recipe, channels)


def _load(frames: Frames, item: Item, recipe: Recipe, channels: int) -> Tensor:
    ratio = Fraction(frames.rate) / Fraction(recipe.fps) if recipe.fps else Fraction(1)
    wanted = [int((item.record.start + number) * ratio) for number in range(item.record.frames)]
    found: list[Tensor] = []
    for number, frame in enumerate(one for part in frames.read() for one in part.unbind(1)):
        if number in wanted:
            found += [_fit(frame, item, recipe, channels)] * wanted.count(number)
        if number >= wanted[-1]:
            return torch.stack(found, 1)
    raise BadPixels("it has fewer frames than it had when the job began")


def _fit(frame: Tensor, item: Item, recipe: Recipe, channels: int) -> Tensor:
    """frame (C, H, W) in [0, 1] -> (channels, H', W') in [-1, 1]."""
    image = frame.movedim(0, -1)
    if (image.shape[1], image.shape[0]) != item.record.original:
        raise BadPixels("it has another size than it had when the job began")
    if not bool(image.isfinite().all()):
        raise BadPixels("it has values that are not finite")
    fitted = fitting.fit(image, item.record, recipe.filter).movedim(-1, 0)[None]
    return to_pixel_range(convert_channels(fitted, channels, recipe.alpha, recipe.background)[0])[0]


def _lay_out(values: Tensor) -> Tensor:
    """(n, H, W, C) in [0, 1], as readers give it -> (n, C, H, W), the same numbers."""
    return values.movedim(-1, 1)


def demand_frames(vae: VAE, recipe: Recipe) -> None:
    """Raises BadRequest if the VAE does not encode clips of so many frames."""
    law = vae.clip_law
    for count in recipe.frames:
        if law is None:
            raise BadRequest(f"'{vae.name}' is a VAE of images: leave --frames out.")
        missing = law.missing(count)
        if missing:
            least = count + missing
            fewer = f"{least - law.step} or " if least > law.first else ""
            raise BadRequest(
                f"'{vae.name}' encodes no clip of {count} frame{'s' * (count > 1)}: choose {fewer}{least}."
            )


def count_latent_frames(vae: VAE, frames: int) -> int:
    return vae.clip_law.latents(frames) if vae.clip_law else 1
