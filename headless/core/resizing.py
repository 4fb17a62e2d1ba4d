"""Scaling with core's filters, and making batches and channels alike. Images are (B, H, W, C)."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ...vae_core.errors import BadRequest


def resize(image: Tensor, width: int, height: int, method: str) -> Tensor:
    """image: (B, H, W, C). -> (B, height, width, C). Raises BadRequest for a side of no pixel."""
    demand_sides(width, height)
    demand_sides(image.shape[2], image.shape[1], "what is scaled is")
    if method == "lanczos":
        return torch.stack([_resize_levels(one, width, height) for one in image])
    return interpolate(image.movedim(-1, 1), size=(height, width), mode=method).movedim(1, -1)


def resize_cropped(image: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    """crop: "center" cuts the middle out first, that nothing is stretched."""
    demand_sides(width, height)
    return resize(crop_to_aspect(image, width / height) if crop == "center" else image, width, height, method)


def demand_sides(width: int, height: int, which: str = "the size would be") -> None:
    """Raises BadRequest for a side of no pixel."""
    if width < 1 or height < 1:
        raise BadRequest(f"{which} {width} x {height}: a side has one pixel at least")


def complete_size(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """A side of 0 follows from the other one; if both are 0 the size stays."""
    if not columns and not rows:
        return width, height
    return columns or max(1, round(width * rows / height)), rows or max(1, round(height * columns / width))


def scale_sides(width: int, height: int, side: int, length: int) -> tuple[int, int]:
    """width, height: of which one is the side that gets this length."""
    columns, rows = (length if one == side else round(one / side * length) for one in (width, height))
    return columns, rows


def crop_to_aspect(image: Tensor, aspect: float) -> Tensor:
    """The middle of the images that has this width for its height."""
    height, width = image.shape[1:3]
    x = round((width - width * (aspect / (width / height))) / 2) if width / height > aspect else 0
    y = round((height - height * ((width / height) / aspect)) / 2) if width / height < aspect else 0
    return image[:, y : height - y, x : width - x]


def match_channels(images: list[Tensor]) -> list[Tensor]:
    """Those with fewer channels get 1 in the others: they are opaque."""
    most = max(one.shape[-1] for one in images)
    return [pad(one, (0, most - one.shape[-1]), value=1.0) if one.shape[-1] < most else one for one in images]


def repeat_to(batch: Tensor, number: int) -> Tensor:
    """As many of the batch, from its beginning on and again and again."""
    return batch if len(batch) == number else batch[torch.arange(number) % len(batch)]


def resize_latent(samples: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """samples: (B, C, ..., H, W). -> (B, C, ..., height, width)."""
    frames = samples.movedim(1, -3).flatten(0, -4)
    made = resize_cropped(frames.movedim(1, -1), width, height, method, crop).movedim(-1, 1)
    return made.unflatten(0, (len(samples), *samples.shape[2:-2])).movedim(-3, 1)


def _resize_levels(image: Tensor, width: int, height: int) -> Tensor:
    """With 8 bits, as Pillow's filter has them."""
    levels = (255.0 * image.cpu()).clamp(0, 255).to(torch.uint8).numpy()
    plain = levels[..., 0] if levels.shape[-1] == 1 else levels
    scaled = Image.fromarray(plain).resize((width, height), Image.Resampling.LANCZOS)
    found = torch.frombuffer(bytearray(scaled.tobytes()), dtype=torch.uint8).float() / 255.0
    return found.reshape(height, width, image.shape[-1])
