"""Core nodes that change latents without a model. A latent is {"samples": (B, C, ..., H, W)}, with what else is known.

What a node does not change it passes on, as core does: a mask for noise, the numbers of the batch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...vae_core.errors import BadRequest
from .bislerp import bislerp
from .declaring import CROPS, LARGEST, LONGEST_LATENTS, METHODS, Core, Latent, Nested, row, whole
from .images import FLIPS, TURNS
from .pasting import paste
from .resizing import repeat_to, resize_latent

LEAST = 64  # pixels of a side that core's scaling gives
RATIO = 8  # pixels of core's inputs to a number of a latent
LATENT_METHODS = [*METHODS[:4], "bislerp"]
SHARE: dict[str, Any] = {"default": 0.5, "min": 0, "max": 1, "step": 0.01}
PLACE = whole(0, step=8)


class _Latent(Core):
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent.",)
    CATEGORY = "model/latent"


class LatentFlip(_Latent):
    DESCRIPTION = "Mirrors a latent."
    TAKES = {"samples": ("LATENT",), "flip_method": (FLIPS,)}

    def run(self, samples: Latent, flip_method: str) -> tuple[Latent]:
        return ({**samples, "samples": samples["samples"].flip(2 if flip_method == FLIPS[0] else 3)},)


class LatentRotate(_Latent):
    DESCRIPTION = "Turns a latent clockwise."
    TAKES = {"samples": ("LATENT",), "rotation": (TURNS,)}

    def run(self, samples: Latent, rotation: str) -> tuple[Latent]:
        """Clockwise."""
        return ({**samples, "samples": samples["samples"].rot90(TURNS.index(rotation), (3, 2))},)


class LatentUpscale(_Latent):
    DESCRIPTION = "Scales a latent to the size of an image."
    TAKES = {"samples": ("LATENT",), "upscale_method": (LATENT_METHODS,), "width": whole(512, step=8),
             "height": whole(512, step=8), "crop": (CROPS,)}  # fmt: skip

    def run(self, samples: Latent, upscale_method: str, width: int, height: int, crop: str) -> tuple[Latent]:
        """width, height: in pixels, 64 at least; one that is 0 follows from the other one; both 0 leave the latent."""
        if width == 0 and height == 0:
            return (samples,)
        rows, columns = samples["samples"].shape[-2:]
        width, height = (max(LEAST, side) if side else 0 for side in (width, height))
        width = width or max(LEAST, round(columns * height / rows))
        height = height or max(LEAST, round(rows * width / columns))
        return (_scale(samples, width // RATIO, height // RATIO, upscale_method, crop),)


class LatentUpscaleBy(_Latent):
    DESCRIPTION = "Scales a latent by a factor."
    TAKES = {"samples": ("LATENT",), "upscale_method": (LATENT_METHODS,),
             "scale_by": ("FLOAT", {"default": 1.5, "min": 0.01, "max": 8.0, "step": 0.01})}  # fmt: skip

    def run(self, samples: Latent, upscale_method: str, scale_by: float) -> tuple[Latent]:
        rows, columns = samples["samples"].shape[-2:]
        return (_scale(samples, round(columns * scale_by), round(rows * scale_by), upscale_method, "disabled"),)


class LatentCrop(_Latent):
    DESCRIPTION = "Cuts a rectangle out of a latent."
    TAKES = {"samples": ("LATENT",), "width": whole(512, 64, step=8), "height": whole(512, 64, step=8), "x": PLACE,
             "y": PLACE}  # fmt: skip

    def run(self, samples: Latent, width: int, height: int, x: int, y: int) -> tuple[Latent]:
        """In pixels. The corner is 64 pixels away from the right and lower side at least."""
        latent = samples["samples"]
        x, y = min(x // RATIO, latent.shape[3] - RATIO), min(y // RATIO, latent.shape[2] - RATIO)
        return ({**samples, "samples": latent[:, :, y : y + height // RATIO, x : x + width // RATIO]},)


class LatentComposite(_Latent):
    DESCRIPTION = "Pastes a latent into another, with borders that fade."
    TAKES = {"samples_to": ("LATENT",), "samples_from": ("LATENT",), "x": PLACE, "y": PLACE, "feather": PLACE}

    def run(self, samples_to: Latent, samples_from: Latent, x: int, y: int, feather: int) -> tuple[Latent]:
        """In pixels. Only borders inside the other latent fade."""
        into, what = samples_to["samples"], samples_from["samples"]
        x, y, feather = x // RATIO, y // RATIO, feather // RATIO
        what = what[..., : max(into.shape[-2] - y, 0), : max(into.shape[-1] - x, 0)]
        made, (height, width) = into.clone(), what.shape[-2:]
        if height and width:
            rows, columns = _fade(height, feather, y, into.shape[-2]), _fade(width, feather, x, into.shape[-1])
            share, there = rows[:, None] * columns, made[..., y : y + height, x : x + width]
            there.copy_(what * share + there * (1.0 - share) if feather else what)
        return ({**samples_to, "samples": made},)


class LatentCompositeMasked(_Latent):
    DESCRIPTION = "Pastes a latent into another, through a mask if there is one."
    TAKES = {"destination": ("LATENT",), "source": ("LATENT", {"tooltip": "What is pasted."}), "x": PLACE, "y": PLACE,
             "resize_source": ("BOOLEAN", {"default": False})}  # fmt: skip
    MAY_TAKE = {"mask": ("MASK",)}

    def run(
        self, destination: Latent, source: Latent, x: int, y: int, resize_source: bool, mask: Tensor | None = None
    ) -> tuple[Latent]:
        made = paste(destination["samples"], source["samples"], x // RATIO, y // RATIO, mask, resize_source)
        return ({**destination, "samples": made},)


class LatentBlend(_Latent):
    DESCRIPTION = "Blends a latent with another."
    CATEGORY = "experimental"
    TAKES = {"samples1": ("LATENT",), "samples2": ("LATENT",),
             "blend_factor": ("FLOAT", {**SHARE, "tooltip": "How much of the first."})}  # fmt: skip

    def run(self, samples1: Latent, samples2: Latent, blend_factor: float) -> tuple[Latent]:
        """A single latent is blended with each of a batch. Raises BadRequest for batches of two lengths."""
        first, second = samples1["samples"], samples2["samples"]
        if len(first) != len(second) and 1 not in (len(first), len(second)):
            raise BadRequest(f"{len(first)} latents cannot be blended with {len(second)}: take as many, or one")
        if first.shape != second.shape:
            second = resize_latent(second, first.shape[-1], first.shape[-2], "bicubic", "center")
        return ({**samples1, "samples": first * blend_factor + second * (1 - blend_factor)},)


class LatentInterpolate(_Latent):
    DESCRIPTION = "Goes from the second latent to the first: the directions of its pixels and their lengths apart."
    CATEGORY = "model/latent/advanced"
    TAKES = {"samples1": ("LATENT",), "samples2": ("LATENT",),
             "ratio": ("FLOAT", {**SHARE, "default": 1.0, "tooltip": "How much of the first."})}  # fmt: skip

    def run(self, samples1: Latent, samples2: Latent, ratio: float) -> tuple[Latent]:
        """A pixel is the vector of its channels. What has no length has no direction either, and stays 0."""
        first, second = samples1["samples"], _match(samples2["samples"], samples1["samples"])
        lengths = torch.lerp(_length(second), _length(first), ratio)
        direction = _turn_to_unit(first) * ratio + _turn_to_unit(second) * (1.0 - ratio)
        return ({**samples1, "samples": _turn_to_unit(direction) * lengths},)


class LatentBatch(_Latent):
    DESCRIPTION = "Puts two latents into one batch."
    CATEGORY = "model/latent/batch"
    TAKES = {"samples1": ("LATENT",), "samples2": ("LATENT",)}

    def run(self, samples1: Latent, samples2: Latent) -> tuple[Latent]:
        return (_join([samples1, samples2]),)


class BatchLatentsNode(Nested, _Latent):
    DESCRIPTION = "Puts several latents into one batch."
    CATEGORY = "model/latent/batch"
    TAKES = {"latents": row("latent", "LATENT")}

    def run(self, latents: Mapping[str, Latent]) -> tuple[Latent]:
        return (_join(list(latents.values())),)


class RepeatLatentBatch(_Latent):
    DESCRIPTION = "Repeats a batch of latents."
    CATEGORY = "model/latent/batch"
    TAKES = {"samples": ("LATENT",), "amount": whole(1, 1, LONGEST_LATENTS)}

    def run(self, samples: Latent, amount: int) -> tuple[Latent]:
        """The numbers of the repeated ones go on after the largest."""
        latent = samples["samples"]
        made = {**samples, "samples": torch.cat([latent] * amount)}
        mask = samples.get("noise_mask")
        if mask is not None and len(mask) > 1:
            made["noise_mask"] = torch.cat([mask] * amount)
        if "batch_index" in samples:
            numbers = samples["batch_index"]
            step = max(numbers) - min(numbers) + 1
            made["batch_index"] = [number + i * step for i in range(amount) for number in numbers]
        return (made,)


class LatentFromBatch(_Latent):
    DESCRIPTION = "Takes some latents out of a batch."
    CATEGORY = "model/latent/batch"
    TAKES = {"samples": ("LATENT",), "batch_index": whole(0, -LARGEST), "length": whole(1, 1, LONGEST_LATENTS)}

    def run(self, samples: Latent, batch_index: int, length: int) -> tuple[Latent]:
        """A negative index counts from the end. Each keeps its number, which its noise follows from."""
        latent = samples["samples"]
        start = min(max(batch_index + (len(latent) if batch_index < 0 else 0), 0), len(latent) - 1)
        end = min(start + length, len(latent))
        numbers = samples.get("batch_index", range(len(latent)))
        made = {**samples, "samples": latent[start:end].clone(), "batch_index": list(numbers[start:end])}
        mask = samples.get("noise_mask")
        if mask is not None and len(mask) > 1:
            made["noise_mask"] = _fill_batch(mask, latent)[start:end].clone()
        return (made,)


class SetLatentNoiseMask(_Latent):
    DESCRIPTION = "Tells samplers where to put noise."
    TAKES = {"samples": ("LATENT",), "mask": ("MASK",)}

    def run(self, samples: Latent, mask: Tensor) -> tuple[Latent]:
        return ({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])},)


class LatentCut(_Latent):
    DESCRIPTION = "Cuts a part out of a latent, along one side."
    CATEGORY = "model/latent/advanced"
    SIDES: ClassVar[dict[str, int]] = {"x": -1, "y": -2, "t": -3}
    TAKES = {"samples": ("LATENT",), "dim": (list(SIDES),), "index": whole(0, -LARGEST),
             "amount": whole(1, 1, tooltip="How many numbers.")}  # fmt: skip

    def run(self, samples: Latent, dim: str, index: int, amount: int) -> tuple[Latent]:
        latent = samples["samples"]
        side = self.SIDES[dim] + latent.ndim
        size = latent.shape[side]
        start = min(index, size - 1) if index >= 0 else max(index + size, 0)
        return ({**samples, "samples": latent.narrow(side, start, min(amount, size - start))},)


class LatentConcat(_Latent):
    DESCRIPTION = "Puts two latents side by side, or one after the other."
    CATEGORY = "model/latent/advanced"
    TAKES = {"samples1": ("LATENT",), "samples2": ("LATENT",), "dim": (["x", "-x", "y", "-y", "t", "-t"],)}

    def run(self, samples1: Latent, samples2: Latent, dim: str) -> tuple[Latent]:
        """With a minus the second comes first."""
        first = samples1["samples"]
        parts = [first, repeat_to(samples2["samples"], len(first))]
        side = LatentCut.SIDES[dim[-1]]
        return ({**samples1, "samples": torch.cat(parts[::-1] if dim[0] == "-" else parts, side)},)


class TrimVideoLatent(_Latent):
    DESCRIPTION = "Takes frames away from the beginning of a clip's latent."
    TAKES = {"samples": ("LATENT",), "trim_amount": whole(0, 0, 99999)}

    def run(self, samples: Latent, trim_amount: int) -> tuple[Latent]:
        return ({**samples, "samples": samples["samples"][:, :, trim_amount:]},)


LATENTS = (LatentFlip, LatentRotate, LatentUpscale, LatentUpscaleBy, LatentCrop, LatentComposite,
           LatentCompositeMasked, LatentBlend, LatentInterpolate, LatentBatch, BatchLatentsNode, RepeatLatentBatch,
           LatentFromBatch, SetLatentNoiseMask, LatentCut, LatentConcat, TrimVideoLatent)  # fmt: skip


def _scale(samples: Latent, width: int, height: int, method: str, crop: str) -> Latent:
    scaled = bislerp if method == "bislerp" else resize_latent
    return {**samples, "samples": scaled(samples["samples"], width, height, method, crop)}


def _fill_batch(mask: Tensor, latent: Tensor) -> Tensor:
    """One mask for each latent at least."""
    return mask if len(mask) >= len(latent) else repeat_to(mask, len(latent))


def _match(latent: Tensor, other: Tensor) -> Tensor:
    """Cut and scaled to the other's size, and repeated to its batch."""
    if latent.shape[1:] != other.shape[1:]:
        latent = resize_latent(latent, other.shape[-1], other.shape[-2], "bilinear", "center")
    return repeat_to(latent, len(other))


def _length(latent: Tensor) -> Tensor:
    return latent.norm(dim=1, keepdim=True)


def _turn_to_unit(latent: Tensor) -> Tensor:
    return (latent / _length(latent)).nan_to_num()


def _join(several: list[Latent]) -> Latent:
    first = several[0]["samples"]
    parts = [one["samples"] for one in several]
    same = [part if part.shape[1:] == first.shape[1:] else
            resize_latent(part, first.shape[-1], first.shape[-2], "bilinear", "center") for part in parts]  # fmt: skip
    numbers = [number for one in several for number in one.get("batch_index", range(len(one["samples"])))]
    return {**several[0], "samples": torch.cat(same), "batch_index": numbers}


def _fade(length: int, feather: int, start: int, whole_length: int) -> Tensor:
    """1, and (1 ... n) / n from a border on that is inside of the other latent."""
    share = torch.ones(length)
    for i in range(min(feather, length)):
        if start:
            share[i] *= (i + 1) / feather
        if start + length < whole_length:
            share[length - 1 - i] *= (i + 1) / feather
    return share
