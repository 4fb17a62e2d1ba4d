"""How our VAEs are asked to run in a way that is to be measured."""

from typing import Any

import torch
from memory import MIB


def find_frames_budget(vae: Any, part: str, shape: tuple[int, ...], frames: int) -> int | None:
    """Bytes with which whole parts of so many latent frames are the fastest plan that fits; None if there is none."""
    plans = [plan for plan in _list_plans(vae, part, shape) if plan.frames == frames and not plan.rows]
    return plans[0].peak if plans else None


def _list_plans(vae: Any, part: str, shape: tuple[int, ...]) -> list[Any]:
    from exact_vae.vae_core import Half
    from exact_vae.vae_core.execution import list_plans, make_request

    request = make_request(vae.family, vae.config, Half.of(part), shape, vae.dtype, device=vae.device)
    return list_plans(request, torch.device(vae.device))


def describe_plan(vae: Any, part: str, shape: tuple[int, ...], **how: Any) -> dict[str, Any]:
    """The plan that a call with these options would follow, as columns of a row: MiB that it states, and its text."""
    plan = vae.plan(part, shape, **how)
    return {"planned": plan.peak / MIB, "plan": str(plan)}
