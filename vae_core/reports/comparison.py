"""Comparison of VAEs: round trips of an image through them, measured, and reports of the measurements."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import NumericalOverflow
from ..execution.options import RunOptions
from ..execution.plans import budget as memory
from ..execution.progress import Progress, share_progress
from ..execution.tiles import Tiles
from ..families import Half
from ..images import heatmaps, metrics
from ..images.pixels import convert_channels, to_pixel_range, to_unit_range
from ..posterior import Posterior
from .tables import format_markdown

Prepare = Callable[[Half, tuple[int, ...]], tuple[Any, Any]]  # (half, shape) -> (VAE, its budget)
GAP = 8  # white pixels between images side by side


@dataclass(frozen=True)
class RoundTrip:
    """What a batch of images became that was encoded and decoded.

    decoded                  (B, 3, H, W) in [0, 1], float32 on the CPU
    psnr, ssim               means over the batch, see images/metrics.py
    max_error, colour_shift  the largest of the batch, as fractions of the full range
    kl                       nats per value of z, from N(0, 1); None for a VAE without a posterior
    encode, decode           seconds
    peak                     bytes beside the weights, measured on CUDA, planned elsewhere; None if not known
    """

    name: str
    decoded: Tensor
    psnr: float
    ssim: float
    max_error: float
    colour_shift: float
    kl: float | None
    encode: float
    decode: float
    peak: int | None


@dataclass(frozen=True)
class Overflow:
    """Takes the place of a round trip if the numbers inside the VAE became too large; fault: the error message."""

    name: str
    fault: str


def round_trip(
    name: str, prepare: Prepare, image: Tensor, *, tiles: Tiles | None = None, progress: Progress | None = None
) -> RoundTrip | Overflow:
    """Encode and decode an image (B, 3, H, W) in [0, 1], and measure the result.

    prepare  gives the VAE and its memory budget, before each half runs
    Raises what `VAE.encode` and `VAE.decode` raise, but returns an Overflow instead of raising NumericalOverflow.
    """
    halves = [_Measurement(tiles, one) for one in share_progress(progress, 2)]
    try:
        vae, budget = prepare(Half.ENCODER, tuple(image.shape))
        x = to_pixel_range(convert_channels(image, vae.in_channels)[0])
        with halves[0].measure(vae, budget) as how:
            posterior = vae.encode(x, options=how)
            z = posterior.mode().cpu()
        vae, budget = prepare(Half.DECODER, tuple(z.shape))
        with halves[1].measure(vae, budget) as how:
            pixels = vae.decode(z, size=posterior.size, options=how).cpu()
    except NumericalOverflow as e:
        return Overflow(name, str(e))
    decoded = to_unit_range(pixels[:, :3]).clamp(0, 1).float()
    peaks = [half.peak for half in halves if half.peak is not None]
    image = image.cpu().float()
    return RoundTrip(
        name=name,
        decoded=decoded,
        psnr=metrics.psnr(image, decoded).mean().item(),
        ssim=metrics.ssim(image, decoded).mean().item(),
        max_error=(image - decoded).abs().amax().item(),
        colour_shift=metrics.colour_shift(image, decoded).amax().item(),
        kl=_nats(posterior),
        encode=halves[0].seconds,
        decode=halves[1].seconds,
        peak=max(peaks, default=None),
    )


def format_table(trips: Sequence[RoundTrip | Overflow]) -> str:
    """A Markdown table, also aligned as plain text: a row for each round trip, then the faults of overflows."""
    cells = [["", *COLUMNS], *([trip.name, *_format_cells(trip)] for trip in trips)]
    faults = [trip.fault for trip in trips if isinstance(trip, Overflow)]
    return "\n".join([format_markdown(cells), *(f"\n{fault}" for fault in faults)])


def format_lines(trips: Sequence[RoundTrip | Overflow]) -> str:
    """The figures of `format_table` as text without columns, two lines for each round trip."""
    return "\n\n".join(map(_format_trip, trips))


def draw_side_by_side(image: Tensor, trips: Sequence[RoundTrip | Overflow]) -> Tensor:
    """The image (B, 3, H, W) in [0, 1], then each decoded one, in a row: (B, 3, H, W'). An overflow is black."""
    return _join_in_a_row([image, *list_decoded(image, trips)])


def list_decoded(image: Tensor, trips: Sequence[RoundTrip | Overflow]) -> list[Tensor]:
    """Each decoded image, (B, 3, H, W) in [0, 1], as `image` is. An overflow is black."""
    return [_decoded_or_black(image, trip) for trip in trips]


def draw_heat_maps(image: Tensor, trips: Sequence[RoundTrip | Overflow], white: float = heatmaps.WHITE_HOT) -> Tensor:
    """Heat maps of the differences from the image (B, 3, H, W) in [0, 1], in a row: (B, 3, H, W') in [0, 1]."""
    return _join_in_a_row([heatmaps.heat_map(image, decoded, white) for decoded in list_decoded(image, trips)])


class _Measurement:
    """Encoding or decoding: its options, and the time and memory it took."""

    def __init__(self, tiles: Tiles | None, progress: Progress | None):
        self.tiles, self.progress = tiles, progress
        self.seconds, self.peak = 0.0, None

    @contextmanager
    def measure(self, vae: Any, budget: Any) -> Iterator[RunOptions]:
        device = getattr(vae, "device", torch.device("cpu"))
        start, before = time.perf_counter(), _reset_peak(device)
        yield RunOptions(tiles=self.tiles, progress=self.progress, budget=budget, on_plan=self._note_plan)
        self.seconds = time.perf_counter() - start
        self.peak = self.peak if before is None else torch.cuda.max_memory_allocated(device) - before

    def _note_plan(self, plan: Any) -> None:
        self.peak = getattr(getattr(plan, "each", plan), "peak", None)


def _reset_peak(device: torch.device) -> int | None:
    """Start measuring the peak. Returns the bytes in use now; None on devices where torch does not count them."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _nats(posterior: Posterior) -> float | None:
    nats = posterior.kl().mean().item() / posterior.mean[0].numel()
    return nats or None


QUALITY = ("PSNR", "SSIM", "max error", "colour shift", "KL")
COST = ("encode", "decode", "peak")
COLUMNS = (*QUALITY, *COST)


def _format_cells(trip: RoundTrip | Overflow) -> list[str]:
    if isinstance(trip, Overflow):
        return ["overflowed", *["-"] * (len(COLUMNS) - 1)]
    return [
        f"{trip.psnr:.2f} dB",
        f"{trip.ssim:.4f}",
        f"{trip.max_error:.1%}",
        f"{trip.colour_shift:.2%}",
        "-" if trip.kl is None else f"{trip.kl:.2f} nats",
        f"{trip.encode:.2f} s",
        f"{trip.decode:.2f} s",
        "-" if trip.peak is None else memory.format_bytes(trip.peak),
    ]


def _format_trip(trip: RoundTrip | Overflow) -> str:
    if isinstance(trip, Overflow):
        return f"{trip.name}\n{trip.fault}"
    cells = dict(zip(COLUMNS, _format_cells(trip), strict=True))
    cost, quality = (
        ", ".join(f"{name} {cells[name]}" for name in names if cells[name] != "-") for names in (COST, QUALITY)
    )
    return f"{trip.name}; {cost}\n{quality}"


def _decoded_or_black(image: Tensor, trip: RoundTrip | Overflow) -> Tensor:
    return torch.zeros_like(image) if isinstance(trip, Overflow) else trip.decoded


def _join_in_a_row(images: Sequence[Tensor]) -> Tensor:
    gap = torch.ones_like(images[0][..., :GAP])
    return torch.cat([part for image in images for part in (gap, image.to(gap))][1:], -1)
