"""Memory of the host's device: what a run may use, and what is made free for it first."""

# pyright: reportMissingImports=false

from typing import Any

import torch

from ...vae_core import VAE
from ...vae_core.execution import MARGIN
from ...vae_core.execution.plans import choose as planning
from ..clips import clip_shape


def budget(thing: Any) -> int | None:
    """Bytes that a run of the VAE on the socket may use beside its weights, as the host counts what is free."""
    return None if isinstance(thing, VAE) else budget_of(thing.device, thing.patcher)


def budget_of(device: torch.device, counts: Any) -> int | None:
    """None on a CPU, of which the host knows no more than the library."""
    return None if device.type == "cpu" else _without_reserve(counts.get_free_memory(device))


def _without_reserve(free: int) -> int:
    """Less what the person told the host to leave to others, and a margin."""
    from comfy import model_management

    return max(1, int((free - model_management.extra_reserved_memory()) * (1 - MARGIN)))


def most_it_could_use(thing: Any, vae: VAE, part: str, shape: tuple[int, ...], tiles: Any = None, **way: Any) -> int:
    """Bytes of the best plan that the device could hold with nothing else on it: more need not be made free.

    Raises DoesNotFit if not even that would do.
    """
    if thing.device.type == "cpu":  # where the host makes nothing free
        return 0
    from comfy import model_management

    shape = clip_shape(shape, vae) if part == "decode" else shape
    total = model_management.get_total_memory(thing.device) - thing.patcher.model_size()
    if tiles:
        shape = tiles.tile_shape(shape, 1 if part == "encode" else vae.decoded_ratio)
    wanted = planning.request(vae.family, vae.config, part, shape, thing.vae_dtype)
    what = f"to {part} {shape[0]} x {shape[-1]}x{shape[-2]} with '{vae.name}'"
    return planning.plan(wanted, thing.device, budget=_without_reserve(total), what=what, **way).peak


def make_ready(thing: Any, needed: int) -> None:
    from comfy import model_management

    model_management.load_models_gpu([thing.patcher], memory_required=needed, force_full_load=True)
