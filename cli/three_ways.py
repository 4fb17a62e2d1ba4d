"""One latent decoded whole, in bands of rows, and in blended tiles: what each takes, how far it is from the whole."""

from typing import NamedTuple

from torch import Tensor

from ..vae_core import VAE, Plan, TilePlan, Tiles
from ..vae_core.execution import RunKeywords
from ..vae_core.images import psnr, to_unit_range
from .progress import bar
from .timing import measure_seconds

SIDE = 768  # pixels of the image at most, both ways: of a larger one the middle is decoded
ROWS, TILES = 16, Tiles(256, 64)
WHOLE, BANDS, IN_TILES = "whole", "in bands", "in tiles"


class Decoded(NamedTuple):
    """way: its name. pixels: (1, C, H, W) in [-1, 1]. plan: the words of the plan. difference: from the whole run."""

    way: str
    pixels: Tensor
    plan: str
    seconds: float
    difference: str

    def __str__(self) -> str:
        """'bands of 16 rows, kept on disk; at most 54 MiB; 2.1 s; 144.3 dB from whole, at most 1e-4 of 255 levels'"""
        return "; ".join(filter(None, (self.plan, f"{self.seconds:.1f} s", self.difference)))


def decode_three_ways(vae: VAE, latent: Tensor) -> list[Decoded]:
    """Whole, in bands and in tiles. latent: one image's, raw (1, C, h, w). Raises DoesNotFit."""
    latent = take_middle(latent, vae.spatial_ratio)
    height = latent.shape[-2] * vae.spatial_ratio
    bands: RunKeywords = {"rows": ROWS, "keep": "disk"}
    ways: dict[str, RunKeywords] = {WHOLE: {"rows": height}, BANDS: bands, IN_TILES: {"tiles": TILES}}
    found: list[Decoded] = []
    for way, options in ways.items():
        pixels, plan, seconds = _decode(vae, latent, options, f"decode {way}")
        difference = describe_difference(found[0].pixels, pixels) if found else ""
        found.append(Decoded(way, pixels, plan, seconds, difference))
    return found


def take_middle(latent: Tensor, ratio: int) -> Tensor:
    """Of at most `SIDE` pixels both ways. latent: (B, C, h, w); ratio: pixels of the image for one of the latent."""
    for dim in (-2, -1):
        n = min(latent.shape[dim], max(1, SIDE // ratio))
        latent = latent.narrow(dim, (latent.shape[dim] - n) // 2, n)
    return latent


def describe_difference(whole: Tensor, pixels: Tensor) -> str:
    """'35.1 dB from whole, at most 39 of 255 levels', of two images (1, C, H, W) in [-1, 1]."""
    most = (pixels - whole).abs().max().item() / 2 * 255
    if not most:
        return "the same as whole to the last bit"
    a, b = (to_unit_range(image.clamp(-1, 1)) for image in (whole, pixels))
    return f"{psnr(a, b).item():.1f} dB from whole, at most {most:.2g} of 255 levels"


def _decode(vae: VAE, latent: Tensor, options: RunKeywords, label: str) -> tuple[Tensor, str, float]:
    """(the pixels, the words of the plan, seconds)"""
    plans: list[str] = []

    def note(plan: Plan | TilePlan | str) -> None:
        plans.append(str(plan))

    with bar(label) as progress:
        asked: RunKeywords = {**options, "on_plan": note, "progress": progress}
        pixels, seconds = measure_seconds(lambda: vae.decode(latent, **asked))
    return pixels.cpu(), plans[0], seconds
