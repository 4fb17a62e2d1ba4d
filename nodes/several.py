"""LATENTs that hold several latents: of the frames of a clip and of its sound, say. ComfyUI calls them nested.

Known by what it does, an object in the place of the one tensor: `is_nested` is true, and `unbind()` gives the tensors.
A mask may be of the same kind. The tag is that of the first latent that has one, with those of all beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..vae_core import BadRequest, latents
from . import host
from .images import TAG, latent_of, tag_of

SAMPLES, MASK = "samples", "noise_mask"
EACH = "latents"  # in the tag: that of each latent, or None


def split_latents(samples: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A LATENT of each latent in it; the LATENT itself if it holds one. What else lies in it, each of them has."""
    tensors = _unbind(samples.get(SAMPLES)) if isinstance(samples, Mapping) else []
    if not tensors:
        return [samples]
    masks = _unbind(samples.get(MASK)) or [samples.get(MASK)]
    masks += [None] * (len(tensors) - len(masks))
    tags = _tags_of(samples.get(TAG), tensors)
    kept = {key: value for key, value in samples.items() if key not in (SAMPLES, MASK, TAG)}
    own = [{SAMPLES: z, MASK: mask, TAG: tag} for z, mask, tag in zip(tensors, masks, tags, strict=False)]
    return [{**kept, **{key: value for key, value in one.items() if value is not None}} for one in own]


def join_latents(several: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One LATENT of all latents in LATENTs; the LATENT itself if there is one. Of other keys those of the first win.

    Raises LatentMismatch for what is no LATENT.
    """
    flat = [one for samples in several for one in split_latents(samples)]
    if len(flat) == 1:
        return flat[0]
    tensors = [latent_of(one) for one in flat]
    made = {key: value for one in reversed(flat) for key, value in one.items()}
    made[SAMPLES] = host.nest(tensors)
    if MASK in made:
        made[MASK] = host.nest([_mask_of(one) for one in flat])
    tags = [tag.to_dict() if (tag := tag_of(one)) else None for one in flat]
    made[TAG] = {**next(filter(None, tags), {}), EACH: tags}
    return made if any(tags) else {key: value for key, value in made.items() if key != TAG}


def pick_image(several: Sequence[Mapping[str, Any]], channels: int | None = None) -> int:
    """Which of these LATENTs is of an image or clip: the first that may be, and has the channels if any has."""
    shapes = [tuple(latent_of(one).shape) for one in several]
    may_be = [i for i, shape in enumerate(shapes) if len(shape) in (4, 5)]
    return next((i for i in may_be if shapes[i][1] == channels), next(iter(may_be), 0))


def take_image(samples: Mapping[str, Any], channels: int | None = None) -> tuple[Mapping[str, Any], str]:
    """(the LATENT of the image or clip in a LATENT that may hold several; a note on that, or ''). See `pick_image`."""
    several = split_latents(samples)
    if len(several) == 1:
        return several[0], ""
    i = pick_image(several, channels)
    return several[i], f"of {len(several)} latents, number {i + 1}, the image's"


def change_image(samples: Mapping[str, Any], change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """The LATENT with the one of its image or clip changed; others in it stay as they are."""
    several = split_latents(samples)
    i = pick_image(several) if len(several) > 1 else 0
    return join_latents([*several[:i], change(several[i]), *several[i + 1 :]])


def items_of(samples: Mapping[str, Any]) -> list[int] | None:
    """For each item of a LATENT, its number in the batch that it was taken from; None if it was not taken from one.

    Raises BadRequest for what are no numbers.
    """
    found = samples.get("batch_index") if isinstance(samples, Mapping) else None
    if found is None:
        return None
    numbers = found.tolist() if isinstance(found, Tensor) else found
    if not isinstance(numbers, Sequence) or not all(isinstance(number, Integral) for number in numbers):
        raise BadRequest(f"this latent's batch_index is {str(numbers)[:60]}: a whole number for each item is needed.")
    return [int(number) for number in numbers]


def _unbind(thing: Any) -> list[Any]:
    """The tensors of what holds several; none of anything else, as of a tensor."""
    holds_several = not isinstance(thing, Tensor) and getattr(thing, "is_nested", False) is True
    return list(thing.unbind()) if holds_several else []


def _tags_of(tag: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """For each latent what is its tag: of one that was put into a LATENT by core's nodes, if that has the channels."""
    each = tag.get(EACH) if isinstance(tag, Mapping) else None
    if isinstance(each, Sequence) and len(each) == len(tensors):
        return list(each)
    one = latents.Tag.from_dict(tag)
    fits = [one is not None and isinstance(z, Tensor) and one.adapt_to(tuple(z.shape)) is not None for z in tensors]
    return [tag if i == (fits.index(True) if any(fits) else None) else None for i in range(len(tensors))]


def _mask_of(samples: Mapping[str, Any]) -> Tensor:
    """Its mask, or one that is 1 everywhere: a sampler works on all of it, as it does without a mask."""
    mask = samples.get(MASK)
    return mask if isinstance(mask, Tensor) else torch.ones(1, 1, *latent_of(samples).shape[2:])
