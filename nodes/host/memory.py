"""Memory of the host's device: what a run may use, and what is made free for it first."""

# pyright: reportMissingImports=false

from dataclasses import replace
from typing import Any

import torch

from ...vae_core import VAE, Detection, Half, RunOptions
from ...vae_core.execution import DISK, MARGIN, choose_plan, make_request
from ..images import clip_shape

# What helps a run that does not fit, by the inputs that there are: no node has one for the budget.
ADVICE = "a smaller image or batch, or Load VAE (Exact) with the dtype bf16"


def budget(thing: Any) -> int | None:
    """Bytes that a run of the VAE on the socket may use beside its weights, as the host counts what is free."""
    return None if isinstance(thing, VAE) else budget_of(thing.device, thing.patcher)


def budget_of(device: torch.device, counts: Any) -> int | None:
    """None on a CPU, of which the host knows no more than the library."""
    return None if device.type == "cpu" else _subtract_reserve(counts.get_free_memory(device))


def _subtract_reserve(free: int) -> int:
    """Less what the person told the host to leave to others, and a margin."""
    from comfy import model_management

    return max(1, int((free - model_management.extra_reserved_memory()) * (1 - MARGIN)))


def count_usable_bytes(
    thing: Any, vae: VAE | Detection, name: str, half: Half, shape: tuple[int, ...], options: RunOptions,
    streamed: bool = False,
) -> int:  # fmt: skip
    """Bytes of the best plan that the device could hold with nothing else on it: more need not be made free.

    vae, name: which network the VAE on the socket has, and what it is called in a sentence.
    streamed: the frames of a clip come or go a few at a time, and images one by one.
    Raises DoesNotFit if not even that would do.
    """
    if thing.device.type == "cpu":  # where the host makes nothing free
        return 0
    from comfy import model_management

    shape = clip_shape(shape, vae) if half is Half.DECODER else shape
    shape = (1, *shape[1:]) if streamed else shape
    total = model_management.get_total_memory(thing.device) - thing.patcher.model_size()
    if options.tiles:
        shape = options.tiles.tile_shape(shape, 1 if half is Half.ENCODER else vae.decoded_ratio)
    how = {"streamed": streamed and len(shape) == 5, "device": thing.device}
    request = make_request(vae.family, vae.config, half, shape, thing.vae_dtype, **how)
    what = f"to {half.verb} {shape[0]} x {shape[-1]}x{shape[-2]} with '{name}'"
    options = replace(options, budget=_subtract_reserve(total), advice=advise(options))
    return choose_plan(request, thing.device, options, what=what).peak


def advise(options: RunOptions) -> str:
    """What to use if a run with these options does not fit, by the inputs of nodes."""
    return ADVICE if options.keep in (None, DISK) else f"{ADVICE}, or another place to keep bands"


def make_ready(thing: Any, needed: int) -> None:
    from comfy import model_management

    model_management.load_models_gpu([thing.patcher], memory_required=needed, force_full_load=True)
