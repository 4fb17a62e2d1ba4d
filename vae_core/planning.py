"""Plans for a VAE: how it would encode or decode a request, under a budget or in the memory that is free now."""

import shutil
import tempfile
from functools import lru_cache

import torch

from .detection import build
from .errors import BadRequest
from .execution import budget as memory
from .execution.fused import fused
from .execution.plan import DEVICE, DISK, KEEP, SYSTEM, Plan, Request, choose
from .families import Config


@lru_cache(maxsize=32)
def request(family: str, config: Config, part: str, shape: tuple[int, ...], dtype: torch.dtype) -> Request:
    """shape: (B, C, H, W) of padded pixels to 'encode', or of a z to 'decode'."""
    twin = build(family, config).to(dtype)
    ops, scale = (twin.encode_ops(), 1) if part == "encode" else (twin.decode_ops(), config.spatial_ratio)
    x = torch.empty(shape, dtype=dtype, device="meta")
    if part == "decode":
        with torch.no_grad():
            for op in twin.from_latent_ops():
                x = op(x)  # type: ignore[operator]
        scale = scale * shape[-1] // x.shape[-1]
    return Request(fused(ops), x, scale)


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
