"""Which size is an image brought to? Rules of our own, and those of trainers, to the pixel.

A rule maps (width, height) of an image to a `Fit`. What it gives depends on nothing but that size and the recipe.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..vae_core import BadRequest
from .records import Size

ASPECT, NONE, SD_SCRIPTS, MUSUBI = RULES = ("aspect", "none", "sd-scripts", "musubi")
SIDES = (256, 1024)  # sd-scripts: min_bucket_reso and max_bucket_reso if nothing is said (library/config_util.py)


class Fit(NamedTuple):
    """bucket: what is encoded. resized: what the image is resized to before it is cropped or padded to that."""

    bucket: Size
    resized: Size


class Rule(NamedTuple):
    """How images find their bucket.

    name      one of RULES
    area      (width, height) whose product the buckets keep
    step      that sides of a bucket are multiples of
    sizes     buckets to choose from; empty: those that the rule makes
    pad       resize into the bucket, instead of over it
    enlarge   may an image be made larger?
    sides     the shortest and the longest side of a bucket, of sd-scripts' rule
    """

    name: str
    area: Size
    step: int
    sizes: tuple[Size, ...] = ()
    pad: bool = False
    enlarge: bool = True
    sides: Size = SIDES

    def fit(self, size: Size) -> Fit:
        """The fit of an image of this size. Raises BadRequest if nothing would be left of it."""
        found = self._fit(size)
        if min(*found.bucket, *found.resized) < 1:
            raise BadRequest(f"an image of {size[0]}x{size[1]} is smaller than a step of {self.step} pixels")
        return found

    def _fit(self, size: Size) -> Fit:
        if self.name == NONE:
            return _keep_size(size, self.step, self.pad)
        if self.name == SD_SCRIPTS:
            return _fit_sd_scripts(self, size)
        if self.name == MUSUBI:
            return _fit_musubi(self, size)
        return _fit_aspect(self, size)

    def list_sizes(self) -> tuple[Size, ...]:
        """All buckets to choose from, in the order in which ties are decided."""
        if self.sizes:
            return self.sizes
        if self.name == MUSUBI:
            return list_musubi_sizes(self.area, self.step)
        if self.name == SD_SCRIPTS:
            return list_sd_scripts_sizes(self.area, self.sides, self.step)
        side = math.isqrt(self.area[0] * self.area[1])
        return list_sd_scripts_sizes(self.area, (_floor(side // 2, self.step), 2 * side), self.step)


def _floor(n: int, step: int) -> int:
    return n - n % step


def _round(x: float) -> int:
    """As both trainers round: 0.5 up."""
    return int(x + 0.5)


def _keep_size(size: Size, step: int, pad: bool) -> Fit:
    add = step - 1 if pad else 0
    w, h = (_floor(n + add, step) for n in size)
    return Fit((w, h), size)


def _fit_aspect(rule: Rule, size: Size) -> Fit:
    """The bucket whose aspect ratio is nearest, as a factor: 2:1 is as far from 1:1 as 1:2 is."""
    aspect = math.log(size[0] / size[1])
    sizes = rule.list_sizes()
    if not sizes:
        raise BadRequest(f"an area of {rule.area[0]}x{rule.area[1]} holds no bucket with a step of {rule.step}")
    bucket = min(sizes, key=lambda one: abs(math.log(one[0] / one[1]) - aspect))
    choose = min if rule.pad else max
    scale = choose(bucket[0] / size[0], bucket[1] / size[1])
    if scale > 1 and not rule.enlarge:
        return _keep_size(size, rule.step, rule.pad)
    limit = min if rule.pad else max  # rounding must not make it miss the bucket
    w, h = (limit(_round(n * scale), side) for n, side in zip(size, bucket, strict=True))
    return Fit(bucket, (w, h) if not rule.pad else (max(1, w), max(1, h)))


def list_sd_scripts_sizes(area: Size, sides: Size, step: int) -> tuple[Size, ...]:
    """`make_bucket_resolutions` of kohya-ss/sd-scripts, library/model_util.py (Apache-2.0)."""
    most, (least, longest) = area[0] * area[1], sides
    square = int(math.sqrt(most) // step) * step
    found = {(square, square)}
    for width in range(least, longest + 1, step) if least > 0 else ():
        height = min(longest, int((most // width) // step) * step)
        if height >= least:
            found |= {(width, height), (height, width)}
    return tuple(sorted(one for one in found if min(one) > 0))


def _nearest(sizes: Sequence[Size], size: Size) -> Size:
    """The first bucket with the smallest difference of width / height, as NumPy's argmin finds it."""
    aspect = size[0] / size[1]
    return min(sizes, key=lambda one: abs(one[0] / one[1] - aspect))


def _fit_sd_scripts(rule: Rule, size: Size) -> Fit:
    """`BucketManager.select_bucket` of kohya-ss/sd-scripts, library/train_util.py (Apache-2.0)."""
    if not rule.enlarge:
        return _shrink_sd_scripts(rule, size)
    sizes = rule.list_sizes()
    bucket = size if size in sizes else _nearest(sizes, size)
    wider = size[0] / size[1] > bucket[0] / bucket[1]
    scale = bucket[1] / size[1] if wider else bucket[0] / size[0]
    return Fit(bucket, (_round(size[0] * scale), _round(size[1] * scale)))


def _shrink_sd_scripts(rule: Rule, size: Size) -> Fit:
    """The same with bucket_no_upscale: images that are too large are shrunk, with one side a multiple of the step."""
    most, resized = rule.area[0] * rule.area[1], size
    if size[0] * size[1] > most:
        aspect = size[0] / size[1]
        width = math.sqrt(most * aspect)
        by_width, by_height = _floor(_round(width), rule.step), _floor(_round(most / width), rule.step)
        if not by_width or not by_height:
            return Fit((0, 0), (0, 0))
        other_height, other_width = (_floor(_round(n), rule.step) for n in (by_width / aspect, by_height * aspect))
        if not other_height or not other_width:
            return Fit((0, 0), (0, 0))
        if abs(by_width / other_height - aspect) < abs(other_width / by_height - aspect):
            resized = (by_width, _round(by_width / aspect))
        else:
            resized = (_round(by_height * aspect), by_height)
    return Fit((_floor(resized[0], rule.step), _floor(resized[1], rule.step)), resized)


def list_musubi_sizes(area: Size, step: int) -> tuple[Size, ...]:
    """`BucketSelector` of kohya-ss/musubi-tuner, dataset/bucket.py (Apache-2.0)."""
    most = area[0] * area[1]
    side = int(math.sqrt(most))
    found = set()
    for w in range(max(step, _floor(side // 2, step)), side + step, step):
        h = _floor(most // w, step)
        found |= {(w, h), (h, w)}
    return tuple(sorted(one for one in found if min(one) > 0))


def _fit_musubi(rule: Rule, size: Size) -> Fit:
    """`get_bucket_resolution`, and the resizing of `resize_image_to_bucket` in dataset/media_utils.py (Apache-2.0)."""
    if not rule.enlarge and size[0] * size[1] <= rule.area[0] * rule.area[1]:
        bucket = (_floor(size[0], rule.step), _floor(size[1], rule.step))
    else:
        bucket = _nearest(rule.list_sizes(), size)
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    return Fit(bucket, (_round(size[0] * scale), _round(size[1] * scale)))


def crop_of_sd_scripts(bucket: Size, original: Size) -> tuple[float, float, float, float]:
    """`BucketManager.get_crop_ltrb`: left, top, right, bottom as SDXL is told them, in pixels of the bucket."""
    aspect = original[0] / original[1]
    if bucket[0] / bucket[1] > aspect:
        width, height = bucket[1] * aspect, float(bucket[1])
    else:
        width, height = float(bucket[0]), bucket[0] / aspect
    left, top = (bucket[0] - width) // 2, (bucket[1] - height) // 2
    return left, top, left + width, top + height
