"""How is it run? Whole, in bands of rows, clips a few frames at a time, or in blended tiles; and what each costs."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from . import whole
    from .frames import Frames
    from .options import DEFAULTS, OnPlan, RunKeywords, RunOptions, share_options
    from .parts import OnPart, Part
    from .plans import budget, scratch
    from .plans.budget import MARGIN, format_bytes
    from .plans.choose import choose_plan, count_latent_frames, list_plans, make_request, read_budget
    from .plans.places import DEVICE, DISK, KEEP, SYSTEM
    from .plans.plan import Plan
    from .plans.request import Request
    from .progress import Progress, share_progress
    from .streaming import PixelRows
    from .tiles import TilePlan, Tiles
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "whole": "whole",
            "frames": "Frames",
            "options": "DEFAULTS OnPlan RunKeywords RunOptions share_options",
            "parts": "OnPart Part",
            "plans.budget": "budget MARGIN format_bytes",
            "plans.scratch": "scratch",
            "plans.choose": "choose_plan count_latent_frames list_plans make_request read_budget",
            "plans.places": "DEVICE DISK KEEP SYSTEM",
            "plans.plan": "Plan",
            "plans.request": "Request",
            "progress": "Progress share_progress",
            "streaming": "PixelRows",
            "tiles": "TilePlan Tiles",
        },
    )

__all__ = [
    "DEFAULTS",
    "DEVICE",
    "DISK",
    "KEEP",
    "MARGIN",
    "SYSTEM",
    "Frames",
    "OnPart",
    "OnPlan",
    "Part",
    "PixelRows",
    "Plan",
    "Progress",
    "Request",
    "RunKeywords",
    "RunOptions",
    "TilePlan",
    "Tiles",
    "budget",
    "choose_plan",
    "count_latent_frames",
    "format_bytes",
    "list_plans",
    "make_request",
    "read_budget",
    "scratch",
    "share_options",
    "share_progress",
    "whole",
]
