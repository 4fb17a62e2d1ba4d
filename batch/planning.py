"""Sources to images, images to items, items to shards. All of it is a function of the sources and the recipe."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

from ..vae_core import VAEError, readers
from . import clips
from .limits import MOST_RECORDS, READERS
from .mishaps import skip
from .reading import digest, open_file
from .recipe import PAD, Recipe
from .records import Box, Image, Item, Record, Shape, Size, Skipped, Source, name_shape
from .watching import ignore

Look = Callable[[Iterable[Source | Skipped], Mapping[str, Image]], Iterable[Image | Skipped]]

KEY = 24  # hexadecimal digits of an image's id in the keys of its latents: 96 bits


@dataclass
class Survey:
    """The usable images, in the order of the sources, and what was skipped."""

    images: list[Image] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


class Shard(NamedTuple):
    """Items of one shape that are written together."""

    name: str
    items: tuple[Item, ...]


def survey(
    sources: Iterable[Source | Skipped],
    known: Mapping[str, Image],
    smallest: int,
    on_look: Callable[[int], None] = ignore,
    look: Look | None = None,
) -> Survey:
    """Read the headers and the bytes of all sources; of those that are as they were known, nothing.

    known    images of an earlier survey by the path of their source
    on_look  called with the number of sources that were looked at; it may raise, to stop
    look     does it; None: this process
    """
    found, seen = Survey(), {}
    for number, one in enumerate((look or look_here)(sources, known), 1):
        on_look(number)
        if isinstance(one, Image):
            one = _demand_usable(one, seen, smallest)
        if isinstance(one, Skipped):
            found.skipped.append(one)
        else:
            seen[one.id] = one.source.path
            found.images.append(one)
    return found


def look_here(sources: Iterable[Source | Skipped], known: Mapping[str, Image]) -> Iterator[Image | Skipped]:
    """`look_at` of each, some of them at once, in order."""
    waiting = []
    with ThreadPoolExecutor(READERS) as pool:
        for source in sources:
            waiting.append(pool.submit(look_at, source, known))
            if len(waiting) > 8 * READERS:
                yield waiting.pop(0).result()
        for one in waiting:
            yield one.result()


def look_at(source: Source | Skipped, known: Mapping[str, Image]) -> Image | Skipped:
    """Size and id of an image, or why there is none. What cannot be opened for now is still what it was."""
    if before := recall(source, known):
        return before
    assert isinstance(source, Source)
    try:
        with open_file(source) as path:
            if clips.is_clip(source):
                size, frames, rate = clips.measure(path)
                return Image(source, digest(path), size, frames, rate)
            height, width = readers.measure(path)
            return Image(source, digest(path), (width, height))
    except (VAEError, OSError) as error:
        return skip(source.path, error)


def recall(source: Source | Skipped, known: Mapping[str, Image]) -> Image | Skipped | None:
    """What is known of a source without reading it: it is as it was, or cannot be read. None: it is to be read."""
    before = known.get(source.path)
    if isinstance(source, Skipped):
        return before if before and source.again else source
    if before and (before.source.stamp, before.source.part) == (source.stamp, source.part):
        return replace(before, source=source)
    return None


def _demand_usable(image: Image, seen: Mapping[str, str], smallest: int) -> Image | Skipped:
    if image.id in seen:
        return Skipped(image.source.path, f"it is a duplicate of '{seen[image.id]}'", image.id)
    if min(image.size) < smallest:
        size = f"{image.size[0]}x{image.size[1]}"
        return Skipped(image.source.path, f"it is too small: {size}, and {smallest} pixels are the least", image.id)
    return image


def make_items(image: Image, recipe: Recipe) -> list[Item]:
    """What is encoded of an image: each crop, and its mirror image. Raises BadRequest if nothing is left of it."""
    fit = recipe.rule.fit(image.size)
    items = []
    boxes, flips = list_crops(image.id, fit.resized, fit.bucket, recipe), (False, True) if recipe.flip else (False,)
    for (start, frames), (number, box), flip in product(clips.list_pieces(image, recipe), enumerate(boxes), flips):
        piece = (f".of{frames}" if len(recipe.frames) > 1 else "") + (f".at{start}" if start else "")
        key = image.id[:KEY] + piece + (f".{number}" if number else "") + (".flip" if flip else "")
        place = (image.size, fit.resized, box, fit.bucket, flip, number, start, frames)
        items.append(Item(Record(key, image.id, image.source.path, *place), image.source))
    return items


def list_crops(id: str, resized: Size, bucket: Size, recipe: Recipe) -> list[Box]:
    """The centre, then others whose places the image's id decides. Without room for others there is one crop."""
    spare = [have - want for have, want in zip(resized, bucket, strict=True)]
    # Python's // rounds down: padding of an odd number gets the larger half before, cropping after, as trainers crop.
    starts = [(spare[0] // 2, spare[1] // 2)]
    if recipe.fit != PAD and max(spare) > 0:
        for number in range(1, recipe.crops):
            drawn = hashlib.sha256(f"{id}/{number}".encode()).digest()
            across, down = (int.from_bytes(part, "big") for part in (drawn[:8], drawn[8:16]))
            starts.append((across % (spare[0] + 1), down % (spare[1] + 1)))
    return [(x, y, x + bucket[0], y + bucket[1]) for x, y in starts]


def plan_items(images: Iterable[Image], recipe: Recipe) -> tuple[list[Item], list[Skipped]]:
    """Items of all images. An image that no bucket holds is skipped."""
    items: list[Item] = []
    skipped = []
    for image in images:
        try:
            items += make_items(image, recipe)
        except VAEError as error:
            skipped.append(Skipped(image.source.path, str(error), image.id))
    return items, skipped


def plan_shards(items: Iterable[Item], bytes_of: Mapping[Shape, int], most: int) -> Iterator[Shard]:
    """Shards of one shape each, as large as they may be. Their names follow from what is in them.

    bytes_of: of the latents of one item, by its shape
    """
    groups: dict[Shape, list[Item]] = {}
    for item in items:
        groups.setdefault(item.record.shape, []).append(item)
    for shape, inside in sorted(groups.items()):
        count = max(1, min(MOST_RECORDS, most // max(1, bytes_of[shape])))
        for at in range(0, len(inside), count):
            yield name_shard(shape, inside[at : at + count])


def name_shard(shape: Shape, items: Sequence[Item]) -> Shard:
    keys = hashlib.sha256("\n".join(item.record.key for item in items).encode()).hexdigest()
    return Shard(f"{name_shape(shape)}-{keys[:16]}.safetensors", tuple(items))


def cut_batches(shard: Shard, size: int) -> Iterator[tuple[Item, ...]]:
    for at in range(0, len(shard.items), size):
        yield shard.items[at : at + size]
