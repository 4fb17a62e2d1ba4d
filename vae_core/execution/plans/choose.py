"""Plans for a VAE: how it would encode or decode a request, under a budget or in the memory that is free now."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

from ...errors import BadRequest, DoesNotFit
from ...families import ClipLaw, Config, Network
from ...families.registry import build
from ...ops import alone
from .. import whole
from ..rewrite.fuse import fused
from . import budget as memory
from . import scratch
from .clip_request import ClipRequest
from .request import DEVICE, DISK, KEEP, SYSTEM, Plan, Request, choose


@lru_cache(maxsize=32)
def request(
    family: str, config: Config, part: str, shape: tuple[int, ...], dtype: torch.dtype, streamed: bool = False,
    masked: bool = False,
) -> Request:  # fmt: skip
    """To 'encode' pixels or 'decode' a latent of this shape, (B, C, H, W) or (B, C, T, H, W); C is the config's own.

    streamed: the image comes or goes row by row.
    masked: decode beside an image and its mask.
    Raises BadRequest for another part, DoesNotFit for more pixels than can be counted.
    """
    if part not in ("encode", "decode"):
        raise BadRequest(f"there is no plan to '{part}': choose encode or decode.")
    twin, ratio = build(family, config).to(dtype), config.spatial_ratio
    law = twin.clip_law
    if len(shape) == 4 and law and law.images_are_clips:
        shape = (*shape[:2], 1, *shape[2:])
    h, w = shape[-2] + -shape[-2] % ratio * (part == "encode"), shape[-1] + -shape[-1] % ratio * (part == "encode")
    if len(shape) == 5 and law and (shape[2] > 1 or law.images_are_clips):
        with _counting(part, shape):
            return _of_clips(twin, law, config, part, (shape[0], shape[2], h, w), dtype)
    batch = math.prod((shape[0], *shape[2:-2]))
    with _counting(part, shape):
        if part == "encode":
            pixels = torch.empty(batch, config.in_channels, h, w, dtype=dtype)
            return Request(fused(alone(twin.encode_ops())), pixels, 1, streamed="input" if streamed else None)
        z = whole.run(twin.from_latent_ops(), torch.empty(batch, config.latent_channels, h, w, dtype=dtype))
        scale = getattr(config, "decoded_ratio", ratio) * h // z.shape[-2]
        if masked:
            beside = torch.empty(batch, config.out_channels + 1, ratio * h, ratio * w, dtype=dtype)
            return Request(fused(twin.masked_decode_ops()), z, scale, beside=beside)
        return Request(fused(alone(twin.decode_ops())), z, scale, streamed="result" if streamed else None)


def _of_clips(
    twin: Network, law: ClipLaw, config: Config, part: str, shape: tuple[int, ...], dtype: torch.dtype
) -> ClipRequest:
    """shape: (B, T, H, W)"""
    clips, t, h, w = shape
    if part == "decode":
        z = torch.empty(t, config.latent_channels, h, w, dtype=dtype)
        return ClipRequest(fused(twin.decode_ops()), z, config.spatial_ratio, clips, 1, 1)
    pixels = torch.empty(t + law.missing(t), config.in_channels, h, w, dtype=dtype)
    return ClipRequest(fused(twin.encode_ops()), pixels, 1, clips, law.first, law.step)


def latent_frames(family: str, config: Config, frames: int) -> int:
    """Of the latent of a clip of so many; as many as those if each is an image to this VAE. One frame is an image."""
    law = build(family, config).clip_law
    return law.latents(frames) if law and frames > 1 else frames


@contextmanager
def _counting(part: str, shape: tuple[int, ...]) -> Iterator[None]:
    batch = math.prod((shape[0], *shape[2:-2]))
    with torch.device("meta"), torch.no_grad(), _countable(f"to {part} {batch} x {shape[-1]}x{shape[-2]}"):
        yield


def plan(
    wanted: Request,
    device: torch.device,
    *,
    budget: int | str | None = None,
    rows: int | None = None,
    keep: str | None = None,
    what: str,
) -> Plan:
    """The fastest way that fits.

    budget  bytes on the device, also as '2GiB'; None: what is free now
    rows    of the image in a band at most, at least 1; None: the plan's choice, which may be to run whole
    keep    where bands are held: 'device', 'system memory' (of a CPU, the same) or 'disk'; None: the plan's choice
    Raises DoesNotFit, BadRequest.
    """
    if keep not in (None, *KEEP):
        raise BadRequest(f"bands cannot be kept in '{keep}': choose {', '.join(KEEP)}.")
    if rows is not None and rows < 1:
        raise BadRequest(f"a band cannot have {rows} rows: choose 1 or more.")
    if keep == SYSTEM and device.type == "cpu":
        keep = DEVICE
    with _countable(what):
        places, on_cpu = elsewhere(device), device.type == "cpu"
        return choose(wanted, most(device, budget), places, rows=rows, keep=keep, on_cpu=on_cpu, what=what)


def ways(wanted: Request, device: torch.device) -> list[Plan]:
    """All that `plan` chooses from if neither rows nor keep are given, the fastest first."""
    return list(wanted.ways(elsewhere(device), on_cpu=device.type == "cpu"))


def most(device: torch.device, budget: int | str | None) -> int:
    """Bytes that a plan may use on the device: the budget, or what is free now. Raises BadRequest."""
    return memory.free(device) if budget is None else memory.parsed(budget)


def elsewhere(device: torch.device) -> dict[str, int]:
    """Bytes there are beside the device. System memory is the device's own on a CPU, so only the disk is left."""
    disk = {DISK: scratch.free()}
    return disk if device.type == "cpu" else {SYSTEM: memory.free(torch.device("cpu")), **disk}


@contextmanager
def _countable(what: str) -> Iterator[None]:
    """Torch counts bytes to 2**63, on the meta device too; attention has as many as the square of the pixels."""
    try:
        yield
    except (RuntimeError, TypeError) as e:
        if "overflow" not in str(e).lower():
            raise
        raise DoesNotFit(f"{what} is more than can be counted: check the size.") from e


__all__ = ["DEVICE", "DISK", "KEEP", "SYSTEM", "Plan", "Request", "most", "plan", "request", "ways"]
