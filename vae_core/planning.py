"""Plans for a VAE: how it would encode or decode a request, under a budget or in the memory that is free now."""

import math
import shutil
import tempfile
from functools import lru_cache

import torch

from .detection import build
from .errors import BadRequest
from .execution import budget as memory
from .execution import whole
from .execution.fused import fused
from .execution.plan import DEVICE, DISK, KEEP, SYSTEM, Plan, Request, choose
from .families import Config


@lru_cache(maxsize=32)
def request(
    family: str, config: Config, part: str, shape: tuple[int, ...], dtype: torch.dtype, masked: bool = False
) -> Request:
    """To 'encode' pixels or 'decode' a latent of this shape, (B, C, H, W) or (B, C, T, H, W); C is the config's own.

    masked: decode beside a picture and its mask.
    """
    twin = build(family, config).to(dtype)
    batch, (h, w), ratio = math.prod((shape[0], *shape[2:-2])), shape[-2:], config.spatial_ratio
    with torch.device("meta"), torch.no_grad():
        if part == "encode":
            pixels = torch.empty(batch, config.in_channels, h + -h % ratio, w + -w % ratio, dtype=dtype)
            return Request(fused(twin.encode_ops()), pixels, scale=1)
        z = whole.run(twin.from_latent_ops(), torch.empty(batch, config.latent_channels, h, w, dtype=dtype))
        scale = ratio * h // z.shape[-2]
        if masked:
            beside = torch.empty(batch, config.out_channels + 1, ratio * h, ratio * w, dtype=dtype)
            return Request(fused(twin.masked_decode_ops()), z, scale, beside)
        return Request(fused(twin.decode_ops()), z, scale)


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
    rows    of the picture in a band, at least 1; None: the plan's choice, which may be to run whole
    keep    where bands are held: 'device', 'system memory' or 'disk'; None: the plan's choice
    Raises DoesNotFit, BadRequest.
    """
    if keep not in (None, *KEEP):
        raise BadRequest(f"bands cannot be kept in '{keep}': choose {', '.join(KEEP)}.")
    if rows is not None and rows < 1:
        raise BadRequest(f"a band cannot have {rows} rows: choose 1 or more.")
    most = memory.parsed(budget) if budget is not None else memory.free(device)
    return choose(wanted, most, elsewhere(device), rows=rows, keep=keep, what=what)


def elsewhere(device: torch.device) -> dict[str, int]:
    """Bytes there are beside the device. System memory is the device's own on a CPU, so only the disk is left."""
    disk = {DISK: shutil.disk_usage(tempfile.gettempdir()).free}
    return disk if device.type == "cpu" else {SYSTEM: memory.free(torch.device("cpu")), **disk}


__all__ = ["DEVICE", "DISK", "KEEP", "SYSTEM", "Plan", "Request", "plan", "request"]
