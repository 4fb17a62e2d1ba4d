"""The kernels, in Triton. Only `choose` reads this file, for it needs a package that not everybody has.

All read images as they lie in channels last: frame after frame, pixel after pixel, the channels of a pixel side by
side. A program has some pixels and some channels of one frame; what lies beyond the borders is masked, so any numbers
of them will do. Sums are in fp32, offsets in 64 bits. How many channels there are is part of a kernel, so that its
reads are as wide as can be; no other size is, so the kernel that was checked is the one that runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")
if TYPE_CHECKING:
    constexpr = Any
else:
    constexpr = tl.constexpr

TILE = 4096  # numbers that a program has in its registers: 32 for each thread of four warps
WIDEST = 128  # pixels or channels of a program at most
CHUNKS = 512  # of a frame at most, each summed by a program of its own; enough to keep the largest cards busy
MERGED = 64  # chunks that are merged at a time
# A product and a sum after it may be rounded once: the default of Triton until 3.9, which warns that it will change.
OPTIONS = {"enable_fp_fusion": True}


@triton.jit(do_not_specialize=["frame_pixels", "pixels", "chunk_pixels"])
def sum_chunks(
    x, means, squares, frame_pixels, pixels, chunk_pixels,
    CHANNELS: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """Of each chunk of the pixels of each frame: means and sums of squared deviations, (T, chunks, C).

    All is summed as it lies from the first pixel of the frame, so a mean far from zero leaves no fewer digits.
    Each tile is summed in two passes, which costs nothing as it is in registers: first its mean, then what lies around
    it. So nothing large cancels. `rest` is what rounding has left of the mean: the corrected algorithm of Chan, Golub &
    LeVeque 1983, "Algorithms for computing the sample variance". Tiles are merged as chunks are below.
    """
    chunk, frame = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    zero = tl.load(x + frame * frame_pixels * CHANNELS + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)
    first = chunk * chunk_pixels
    last = tl.minimum(first + chunk_pixels, pixels)
    mean = tl.zeros((COLUMNS,), tl.float32)
    square = tl.zeros((COLUMNS,), tl.float32)
    for start in range(first, last, ROWS):
        pixel = start + tl.arange(0, ROWS)
        inside = (pixel < last)[:, None] & (channel < CHANNELS)[None, :]
        at = (frame * frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
        tile = tl.where(inside, tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - zero[None, :], 0.0)
        known, new = (start - first).to(tl.float32), tl.minimum(last - start, ROWS).to(tl.float32)
        tile_mean = tl.sum(tile, 0) / new
        apart = tl.where(inside, tile - tile_mean[None, :], 0.0)
        rest = tl.sum(apart, 0)
        step = tile_mean + rest / new - mean
        mean += step * (new / (known + new))
        square += tl.sum(apart * apart, 0) - rest * rest / new + step * step * (known * new / (known + new))
    to = (frame * tl.num_programs(0) + chunk) * CHANNELS + channel
    tl.store(means + to, mean, mask=channel < CHANNELS)
    tl.store(squares + to, square, mask=channel < CHANNELS)


@triton.jit(do_not_specialize=["frame_pixels", "pixels", "chunk_pixels", "chunks"])
def merge_chunks(
    x, chunk_means, chunk_squares, means, squares, frame_pixels, pixels, chunk_pixels, chunks,
    CHANNELS: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """What `sum_chunks` has made -> means and sums of squared deviations of each frame, (T, C).

    Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    known = 0.0
    mean = tl.zeros((COLUMNS,), tl.float32)
    square = tl.zeros((COLUMNS,), tl.float32)
    for start in range(0, chunks, ROWS):
        chunk = (start + tl.arange(0, ROWS)).to(tl.int64)
        inside = (chunk < chunks)[:, None] & (channel < CHANNELS)[None, :]
        at = (frame * chunks + chunk)[:, None] * CHANNELS + channel[None, :]
        tile = tl.load(chunk_means + at, mask=inside, other=0.0)
        sizes = tl.maximum(tl.minimum(pixels - chunk * chunk_pixels, chunk_pixels), 0).to(tl.float32)
        new = tl.sum(sizes, 0)
        tile_mean = tl.sum(tile * (sizes / new)[:, None], 0)
        apart = tl.where(inside, tile - tile_mean[None, :], 0.0)
        rest = tl.sum(apart * sizes[:, None], 0)
        inner = tl.load(chunk_squares + at, mask=inside, other=0.0) + sizes[:, None] * apart * apart
        step = tile_mean + rest / new - mean
        mean += step * (new / (known + new))
        square += tl.sum(inner, 0) - rest * rest / new + step * step * (known * new / (known + new))
        known += new
    to = frame * CHANNELS + channel
    zero = tl.load(x + frame * frame_pixels * CHANNELS + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)
    tl.store(means + to, zero + mean, mask=channel < CHANNELS)
    tl.store(squares + to, square, mask=channel < CHANNELS)


@triton.jit(do_not_specialize=["frame_pixels", "pixels", "frame_statistics"])
def normalize_tile(
    x, y, mean, var, weight, bias, eps,
    frame_pixels, pixels, frame_statistics,
    CHANNELS: constexpr, SILU: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """y = (x - mean) / sqrt(var + eps) * weight + bias, perhaps times its own sigmoid; rounded once.

    The mean is subtracted first: x * scale + (bias - mean * scale) would cancel where the mean is large.
    frame_statistics: 1 if each frame has its own mean and var, 0 if all have the same.
    """
    frame = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    real = channel < CHANNELS
    inside = (pixel < pixels)[:, None] & real[None, :]
    statistic = frame * frame_statistics * CHANNELS + channel
    center = tl.load(mean + statistic, mask=real, other=0.0)
    scale = tl.rsqrt(tl.load(var + statistic, mask=real, other=1.0) + eps)
    scale *= tl.load(weight + channel, mask=real, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=real, other=0.0).to(tl.float32)
    at = (frame * frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    tile = (tile - center[None, :]) * scale[None, :] + shift[None, :]
    if SILU:
        tile = tile / (1.0 + tl.exp(-tile))
    to = (frame * pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    tl.store(y + to, tile.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["x_frame_pixels", "y_frame_pixels", "pixels"])
def normalize_pixels_tile(
    x, y, gamma, root, least, x_frame_pixels, y_frame_pixels, pixels,
    CHANNELS: constexpr, SILU: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """y = x / max(length of the pixel, least) * root * gamma, perhaps times its own sigmoid; rounded once.

    A program has all channels of its pixels. root: of their number.
    """
    frame = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, COLUMNS)
    real = channel < CHANNELS
    inside = (pixel < pixels)[:, None] & real[None, :]
    at = (frame * x_frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    tile = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    scale = root / tl.maximum(tl.sqrt(tl.sum(tile * tile, 1)), least)
    tile = tile * scale[:, None] * tl.load(gamma + channel, mask=real, other=0.0).to(tl.float32)[None, :]
    if SILU:
        tile = tile / (1.0 + tl.exp(-tile))
    to = (frame * y_frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    tl.store(y + to, tile.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["y_frame_pixels", "skip_frame_pixels", "pixels"])
def add_bias_tile(
    y, bias, skip, y_frame_pixels, skip_frame_pixels, pixels,
    CHANNELS: constexpr, ROWS: constexpr, COLUMNS: constexpr,
):  # fmt: skip
    """y + bias + skip, rounded once, written over y."""
    frame = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    real = channel < CHANNELS
    inside = (pixel < pixels)[:, None] & real[None, :]
    at = (frame * y_frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    beside = (frame * skip_frame_pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    made = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
    made += tl.load(bias + channel, mask=real, other=0.0).to(tl.float32)[None, :]
    made += tl.load(skip + beside, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + at, made.to(y.dtype.element_ty), mask=inside)


def add_bias(y: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """As the twin, but rounded once, for tensors that `choose.lies_in_pixels`, in half precision or fp32."""
    (frames, channels, *_), pixels, (rows, columns) = y.shape, _count_pixels(y), _choose_tile(y.shape[1])
    grid = (triton.cdiv(pixels, rows), frames, triton.cdiv(channels, columns))
    with torch.cuda.device_of(y):
        add_bias_tile[grid](
            y, bias, skip, y.stride(0) // channels, skip.stride(0) // channels, pixels,
            CHANNELS=channels, ROWS=rows, COLUMNS=columns, **OPTIONS,
        )  # fmt: skip
    return y


def find_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """As the twin, for a tensor that `choose.lies_in_pixels`, in half precision or fp32; the results are fp32."""
    (frames, channels, *_), pixels, (rows, columns) = x.shape, _count_pixels(x), _choose_tile(x.shape[1])
    chunk_pixels = rows * triton.cdiv(triton.cdiv(pixels, CHUNKS), rows)
    chunks = triton.cdiv(pixels, chunk_pixels)
    parts = torch.empty((2, frames, chunks, channels), dtype=torch.float32, device=x.device)
    found = torch.empty((2, frames, channels), dtype=torch.float32, device=x.device)
    blocks = triton.cdiv(channels, columns)
    sizes = {"CHANNELS": channels, "COLUMNS": columns, **OPTIONS}
    apart = (x.stride(0) // channels, pixels, chunk_pixels)
    with torch.cuda.device_of(x):
        sum_chunks[(chunks, frames, blocks)](x, parts[0], parts[1], *apart, ROWS=rows, **sizes)
        merge_chunks[(frames, blocks)](x, parts[0], parts[1], found[0], found[1], *apart, chunks, ROWS=MERGED, **sizes)
    return found[0], found[1]


def normalize(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool
) -> Tensor:
    """As the twin, but rounded once, for a tensor that `choose.lies_in_pixels`, in half precision or fp32."""
    (frames, channels, *_), pixels, (rows, columns) = x.shape, _count_pixels(x), _choose_tile(x.shape[1])
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    weight = torch.ones_like(mean[0]) if weight is None else weight
    bias = torch.zeros_like(mean[0]) if bias is None else bias
    grid = (triton.cdiv(pixels, rows), frames, triton.cdiv(channels, columns))
    with torch.cuda.device_of(x):
        normalize_tile[grid](
            x, y, mean, var, weight, bias, eps, x.stride(0) // channels, pixels, int(len(mean) > 1),
            CHANNELS=channels, SILU=silu, ROWS=rows, COLUMNS=columns, **OPTIONS,
        )  # fmt: skip
    return y


def normalize_pixels(x: Tensor, gamma: Tensor, least: float, silu: bool, y: Tensor) -> Tensor:
    """As the twin, but rounded once, for two tensors that `choose.lies_in_pixels`, in half precision or fp32."""
    (frames, channels, *_), pixels = x.shape, _count_pixels(x)
    columns = triton.next_power_of_2(channels)
    rows = min(WIDEST, max(1, TILE // columns))
    with torch.cuda.device_of(x):
        normalize_pixels_tile[(triton.cdiv(pixels, rows), frames)](
            x, y, gamma, channels**0.5, least, x.stride(0) // channels, y.stride(0) // channels, pixels,
            CHANNELS=channels, SILU=silu, ROWS=rows, COLUMNS=columns, **OPTIONS,
        )  # fmt: skip
    return y


def _count_pixels(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


def _choose_tile(channels: int) -> tuple[int, int]:
    """(pixels, channels) of a program, powers of two: 128 or fewer channels that divide all, if 32 or more do."""
    fitting = [n for n in (WIDEST, 64, 32) if channels % n == 0]
    columns = fitting[0] if fitting else min(WIDEST, triton.next_power_of_2(channels))
    return min(WIDEST, TILE // columns), columns
