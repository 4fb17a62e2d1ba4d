"""Does a latent still lie as it did when it was tagged? Told by small maps of it, which its tag remembers.

Nodes that know nothing of tags copy them from one latent to another. One that flips, turns, or batches a latent with
others may keep its shape; then the padding of the image is elsewhere, and must not be cropped as if it were not.

Noticed, also after a sampler that has not yet changed the image beyond recognition:
    a flip, a half turn, and of square latents quarter turns and transposition
    a batch of latents of which only some are those that were tagged, while it has more of them
    of clips, what core nodes for images do to them along their third axis, which is time: a flip, and turns of time
    and rows; unless nothing moves

Not noticed, and so trusted:
    what samplers, noise and masks do: they leave everything in its place
    another latent that was pasted in, or over all: the result has the size of the latent below
    a latent that was cut and enlarged, or moved, and has its old shape again
    an item that was taken out of a mixed batch; a mixed batch that was sampled from nothing but noise
    a flip of an image that is equal to its mirror image, or of one colour
"""

import base64
import binascii
import math

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 8  # of a map, each way, at most
MAPS = 2  # of an item; channels are added up into them by turns
TIMES, PLACES = 8, 4  # what a map of a clip's motion has at most: latent frames, and cells each way
ITEMS = 16  # of a batch that are remembered and compared
LEVELS = 127  # numbers of a map are whole ones up to this
FLAT = 1e-4  # an item whose maps vary by less, relative to its numbers, is of one colour
STILL = 0.03  # and of a clip whose maps of motion do, nothing moves: a sampler's noise would tell its direction
ALIKE = 0.8  # cosine between maps from which on one is taken for another that has been worked on
ENOUGH = 64  # numbers of an item's maps; if there are fewer they may be alike by chance, and then only equal ones count
SAME, STRANGE = 0.95, 0.5  # cosine of an item that nobody has worked on; of one that was never there
EXACT = 0.002  # by so much rounding to LEVELS may lower a cosine

FLIPS = ((-2,), (-1,), (-2, -1))  # upside down, left to right, half a turn


def draw_marks(latent: Tensor) -> str:
    """What a tag remembers of a latent (B, C, h, w) or (B, C, T, h, w), of any range and floating dtype: ASCII."""
    found = [_draw_maps(latent)] if (motion := _draw_motion(latent)) is None else [_draw_maps(latent), motion]
    return " ".join(".".join(texts) for texts in zip(*(_write_maps(maps) for maps in found), strict=True))


def runs_as_before(marks: str, latent: Tensor) -> bool:
    """Do the frames of a clip (B, C, T, h, w) that has been resized or cut follow one another as when it was marked?

    More so than if its time had been turned. False for marks that do not tell. An image has nothing to turn.
    """
    motion = _draw_motion(latent)
    if motion is None:
        return True
    before = _read_maps([item.partition(".")[2] for item in marks.split(" ")[:ITEMS]], motion.shape[1:])
    if before is None:
        return False
    straight, turned = _compare(motion, before), _compare_turned(latent, None, before)
    return bool((straight >= torch.stack(turned).amax(0)).all())


def lies_as_before(marks: str, items: int, latent: Tensor) -> bool:
    """Is the latent, (B, C, h, w) or (B, C, T, h, w), in the place of the one that the marks were drawn of?

    items: how many that one had. False for marks that cannot be read.
    """
    texts = [item.partition(".") for item in marks.split(" ")[:ITEMS]]
    now, motion = _draw_maps(latent), _draw_motion(latent)
    before = _read_maps([first for first, *_ in texts], now.shape[1:])
    motion_before = None if motion is None else _read_maps([last for *_, last in texts], motion.shape[1:])
    if before is None or _lies_otherwise(now, before, has_more=len(latent) > items):
        return False
    if motion is None or motion_before is None:
        return True
    straight = torch.minimum(_compare(now, before), _compare(motion, motion_before))
    return not _is_turned(straight, _compare_turned(latent, before, motion_before), motion_before)


def _lies_otherwise(now: Tensor, before: Tensor, has_more: bool) -> bool:
    """Has an item been turned, or are only some of the items of before, which has_more of them?"""
    straight = _compare(now, before)
    if _is_turned(straight, [_compare(now, one) for one in _turn(before)], before):
        return True
    return has_more and bool((straight > SAME).any() and (straight < STRANGE).any())


def _compare_turned(latent: Tensor, before: Tensor | None, motion_before: Tensor) -> list[Tensor]:
    """For each way to turn back the time of a clip, and each item, a cosine: the smaller one of its two kinds of maps.

    before: None to compare the motion alone.
    """
    turned = _turn_in_time(latent)
    found = [_compare(motion, motion_before) for one in turned if (motion := _draw_motion(one)) is not None]
    if before is None:
        return found
    return [torch.minimum(alike, _compare(_draw_maps(one), before)) for alike, one in zip(found, turned, strict=True)]


def _is_turned(straight: Tensor, turned: list[Tensor], before: Tensor) -> bool:
    """Is an item far more like one of before when that is turned? straight, turned: cosines of each item."""
    best = torch.stack(turned).amax(0)
    alike = ALIKE if before[0].numel() >= ENOUGH else 1 - EXACT
    return bool(((best > alike) & (1 - best + EXACT < (1 - straight) / 2)).any())


def _write_maps(maps: Tensor) -> list[str]:
    """A text for each item of (items, ...)."""
    flat = maps.flatten(1)
    levels = (flat / flat.abs().amax(1, keepdim=True).clamp(min=1e-30) * LEVELS).round().to(torch.int8)
    return [base64.b64encode(item.numpy().tobytes()).decode() for item in levels]


def _draw_maps(latent: Tensor) -> Tensor:
    """(items, MAPS, n, m) float32: each map with mean 0; zero for an item of one colour."""
    x = _add_up(latent)
    x = x.mean(2) if x.ndim == 5 else x
    cells = F.adaptive_avg_pool2d(x, (min(CELLS, x.shape[-2]), min(CELLS, x.shape[-1])))
    return _drop_flat(cells - cells.mean((-2, -1), keepdim=True), x, FLAT)


def _draw_motion(latent: Tensor) -> Tensor | None:
    """(items, MAPS, t, n, m) float32: how the frames of a clip differ from their mean; None for images."""
    if latent.ndim < 5 or latent.shape[2] < 2:
        return None
    x = _add_up(latent)
    size = (min(TIMES, x.shape[2]), min(PLACES, x.shape[3]), min(PLACES, x.shape[4]))
    cells = F.adaptive_avg_pool3d(x, size)
    return _drop_flat(cells - cells.mean(2, keepdim=True), x, STILL)


def _add_up(latent: Tensor) -> Tensor:
    """(B, C, ...) -> (items, MAPS, ...) float32: channels, added up by turns."""
    x = latent.detach()[:ITEMS].to("cpu", torch.float32)
    return torch.stack([x[:, i::MAPS].sum(1) for i in range(MAPS)], 1)


def _drop_flat(maps: Tensor, x: Tensor, least: float) -> Tensor:
    """The maps of x, but zero for an item that varies by no more than `least`. All (items, ...)."""
    size, scale = (one.flatten(1).square().mean(1).sqrt() for one in (maps, x))
    is_flat = (size <= least * scale).reshape(-1, *[1] * (maps.ndim - 1))
    return torch.where(is_flat, 0.0, maps)


def _read_maps(texts: list[str], shape: torch.Size) -> Tensor | None:
    """What `_write_maps` wrote, up to a factor for each item; None for what it did not write of items of this shape."""
    try:
        items = [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError):
        return None
    if any(len(item) != math.prod(shape) for item in items):
        return None
    return torch.stack([torch.frombuffer(bytearray(item), dtype=torch.int8).reshape(shape) for item in items]).float()


def _turn(maps: Tensor) -> list[Tensor]:
    """All that maps may become without another shape, but themselves."""
    turned = [maps.flip(dims) for dims in FLIPS]
    if maps.shape[-1] == maps.shape[-2]:
        across = maps.transpose(-2, -1)
        turned += [across, *(across.flip(dims) for dims in FLIPS)]
    return turned


def _turn_in_time(latent: Tensor) -> list[Tensor]:
    """(B, C, T, h, w) -> what it may have been before nodes for images turned its time, or its time and its rows."""
    turned = [latent.flip(2)]
    if latent.shape[2] == latent.shape[3]:
        across = latent.transpose(2, 3)
        turned += [across, *(across.flip(dims) for dims in ((2,), (3,), (2, 3)))]
    return turned


def _compare(now: Tensor, before: Tensor) -> Tensor:
    """For each item of now its largest cosine with one before; 1 if both are of one colour."""
    a, b = (F.normalize(maps.flatten(1), dim=1, eps=1e-30) for maps in (now, before))
    both_flat = ~a.any(1)[:, None] & ~b.any(1)[None]
    return torch.where(both_flat, 1.0, a @ b.T).amax(1)
