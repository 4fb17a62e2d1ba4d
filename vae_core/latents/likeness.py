"""Does a latent still lie as it did when it was tagged? Told by small maps of it, which its tag remembers.

Nodes that know nothing of tags copy them from one latent to another. One that flips, turns, or batches a latent with
others may keep its shape; then the padding of the image is elsewhere, and must not be cropped as if it were not.

Noticed, also after a sampler that has not yet changed the image beyond recognition:
    a flip, a half turn, and of square latents quarter turns and transposition
    a batch of latents of which only some are those that were tagged, while it has more of them

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
ITEMS = 16  # of a batch that are remembered and compared
LEVELS = 127  # numbers of a map are whole ones up to this
FLAT = 1e-4  # an item whose maps vary by less, relative to its numbers, is of one colour
ALIKE = 0.8  # cosine between maps from which on one is taken for another that has been worked on
ENOUGH = 64  # numbers of an item's maps; if there are fewer they may be alike by chance, and then only equal ones count
SAME, STRANGE = 0.95, 0.5  # cosine of an item that nobody has worked on; of one that was never there
EXACT = 0.002  # by so much rounding to LEVELS may lower a cosine

FLIPS = ((-2,), (-1,), (-2, -1))  # upside down, left to right, half a turn


def draw_marks(latent: Tensor) -> str:
    """What a tag remembers of a latent (B, C, h, w) or (B, C, T, h, w), of any range and floating dtype: ASCII."""
    maps = _draw_maps(latent)
    largest = maps.abs().flatten(1).amax(1).clamp(min=1e-30)
    levels = (maps / largest[:, None, None, None] * LEVELS).round().to(torch.int8)
    return " ".join(base64.b64encode(item.numpy().tobytes()).decode() for item in levels)


def lies_as_before(marks: str, items: int, latent: Tensor) -> bool:
    """Is the latent, (B, C, h, w) or (B, C, T, h, w), in the place of the one that the marks were drawn of?

    items: how many that one had. False for marks that cannot be read.
    """
    now = _draw_maps(latent)
    before = _read_maps(marks, now.shape[1:])
    if before is None:
        return False
    straight = _compare(now, before)
    turned = torch.stack([_compare(now, one) for one in _turn(before)]).amax(0)
    alike = ALIKE if before[0].numel() >= ENOUGH else 1 - EXACT
    if ((turned > alike) & (1 - turned + EXACT < (1 - straight) / 2)).any():
        return False
    mixed = (straight > SAME).any() and (straight < STRANGE).any()
    return not (mixed and len(latent) > items)


def _draw_maps(latent: Tensor) -> Tensor:
    """(items, MAPS, n, m) float32: each map with mean 0; zero for an item of one colour."""
    x = latent.detach()[:ITEMS].to("cpu", torch.float32)
    x = x.mean(2) if x.ndim == 5 else x
    size = (min(CELLS, x.shape[-2]), min(CELLS, x.shape[-1]))
    x = torch.stack([x[:, i::MAPS].sum(1) for i in range(MAPS)], 1)
    cells = F.adaptive_avg_pool2d(x, size)
    maps = cells - cells.mean((-2, -1), keepdim=True)
    scale = x.square().mean((1, 2, 3), keepdim=True).sqrt()
    is_flat = maps.square().mean((1, 2, 3), keepdim=True).sqrt() <= FLAT * scale
    return torch.where(is_flat, 0.0, maps)


def _read_maps(marks: str, shape: torch.Size) -> Tensor | None:
    """What `draw_marks` wrote, up to a factor for each item; None for what it did not write of items of this shape."""
    try:
        items = [base64.b64decode(item, validate=True) for item in marks.split(" ")[:ITEMS]]
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


def _compare(now: Tensor, before: Tensor) -> Tensor:
    """For each item of now its largest cosine with one before; 1 if both are of one colour."""
    a, b = (F.normalize(maps.flatten(1), dim=1, eps=1e-30) for maps in (now, before))
    both_flat = ~a.any(1)[:, None] & ~b.any(1)[None]
    return torch.where(both_flat, 1.0, a @ b.T).amax(1)
