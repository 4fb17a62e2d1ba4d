"""Latents of a clip and of its sound as one, as core's nodes of LTX-2 and of others with sound join them and part them.

In the place of the one tensor is an object that is known by what it does: `is_nested` is true, `unbind()` gives the
tensors. A mask for noise is of the same kind.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...vae_core.errors import LatentMismatch
from .declaring import Core, Latent
from .resizing import repeat_to

SAMPLES, MASK = "samples", "noise_mask"
WAYS = {1: "linear", 2: "bilinear", 3: "trilinear"}  # of scaling a mask that goes along so many sides


class Nested:
    """Several tensors in the place of one."""

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]):
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return list(self.tensors)


class LTXVConcatAVLatent(Core):
    DESCRIPTION = "Puts the latent of a clip and that of its sound into one. A sound that is there already is replaced."
    TAKES = {"video_latent": ("LATENT", {"tooltip": "The clip; it may have a sound already."}),
             "audio_latent": ("LATENT", {"tooltip": "Its sound."})}  # fmt: skip
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Both.",)
    CATEGORY = "model/latent"

    def run(self, video_latent: Latent, audio_latent: Latent) -> tuple[Latent]:
        """Of other keys those of the sound win. Raises LatentMismatch if it cannot replace the sound that is there."""
        clip, mask = _first(video_latent[SAMPLES]), _first(video_latent.get(MASK))
        sound, sound_mask = audio_latent[SAMPLES], audio_latent.get(MASK)
        if before := _unbind(video_latent[SAMPLES])[1:]:
            sound, sound_mask = _fit_length(sound, sound_mask, before[0])
        made = {**video_latent, **audio_latent, SAMPLES: Nested([clip, sound])}
        if mask is not None or sound_mask is not None:
            pairs = ((mask, clip), (sound_mask, sound))
            made[MASK] = Nested([torch.ones_like(what) if one is None else one for one, what in pairs])
        return (made,)


class LTXVSeparateAVLatent(Core):
    DESCRIPTION = "Takes the latent of a clip and that of its sound apart."
    TAKES = {"av_latent": ("LATENT", {"tooltip": "Both in one."})}
    RETURN_TYPES = ("LATENT", "LATENT")
    OUTPUT_TOOLTIPS = ("The clip.", "Its sound.")
    CATEGORY = "model/latent"

    def run(self, av_latent: Latent) -> tuple[Latent, Latent]:
        """Each gets what else is there. Raises LatentMismatch if there is no sound."""
        tensors, masks = _unbind(av_latent[SAMPLES]), _unbind(av_latent.get(MASK))
        if len(tensors) < 2:
            raise LatentMismatch("this latent is not that of a clip and its sound in one, so there is nothing to part")
        clip, sound = ({**av_latent, SAMPLES: one} for one in tensors[:2])
        if masks:
            clip[MASK], sound[MASK] = masks[:2]
        return clip, sound


JOINT = (LTXVConcatAVLatent, LTXVSeparateAVLatent)


def _unbind(thing: Any) -> list[Tensor]:
    """The tensors of what holds several; none of a tensor, or of what is not there."""
    several = not isinstance(thing, Tensor) and getattr(thing, "is_nested", False) is True
    return list(thing.unbind()) if several else []


def _first(thing: Any) -> Any:
    return (_unbind(thing) or [thing])[0]


def _fit_length(sound: Tensor, mask: Tensor | None, before: Tensor) -> tuple[Tensor, Tensor | None]:
    """As long as what it replaces. The new end is zeros, with 1 in the mask: a sampler makes it."""
    sides = [side for side, (one, other) in enumerate(zip(before.shape, sound.shape, strict=False)) if one != other]
    if not sides and sound.ndim == before.ndim:
        return sound, mask
    if sound.ndim != before.ndim or len(sides) > 1 or sides[0] < 2:
        raise LatentMismatch(
            f"the latent of the sound {tuple(sound.shape)} cannot take the place of {tuple(before.shape)}: it may only "
            "be longer or shorter"
        )
    (side,) = sides
    mask = None if mask is None else _spread(mask, sound)
    missing = before.shape[side] - sound.shape[side]
    if missing < 0:
        shorter = mask if mask is None else mask.narrow(side, 0, before.shape[side])
        return sound.narrow(side, 0, before.shape[side]), shorter
    end = sound.new_zeros([missing if i == side else size for i, size in enumerate(sound.shape)])
    return torch.cat([sound, end], side), None if mask is None else torch.cat([mask, torch.ones_like(end)], side)


def _spread(mask: Tensor, samples: Tensor) -> Tensor:
    """The mask in the shape of the samples (B, C, ...), as it is brought to it before a sampler runs."""
    along = samples.ndim - 2
    if along == 2:
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    elif along == 3 and mask.ndim < 5:
        mask = mask.reshape(1, 1, -1, *mask.shape[-2:])
    scaled = interpolate(mask, size=samples.shape[2:], mode=WAYS[along])
    if scaled.shape[1] < samples.shape[1]:
        scaled = scaled.repeat(1, samples.shape[1], *[1] * along)[:, : samples.shape[1]]
    return repeat_to(scaled, len(samples))
