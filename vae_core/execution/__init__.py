"""How is it run? Whole, in bands of rows, clips a few frames at a time, or in blended tiles; and what each costs."""

from . import whole
from .options import DEFAULTS, OnPlan, RunKeywords, RunOptions
from .plans.budget import MARGIN, free, text
from .plans.choose import choose_plan, count_latent_frames, list_plans, make_request, read_budget
from .plans.request import DEVICE, DISK, KEEP, SYSTEM, Plan, Request
from .plans.scratch import VARIABLE
from .progress import Progress
from .streaming import PixelRows
from .tiles import TilePlan, Tiles

__all__ = [
    "DEFAULTS",
    "DEVICE",
    "DISK",
    "KEEP",
    "MARGIN",
    "SYSTEM",
    "VARIABLE",
    "OnPlan",
    "PixelRows",
    "Plan",
    "Progress",
    "Request",
    "RunKeywords",
    "RunOptions",
    "TilePlan",
    "Tiles",
    "choose_plan",
    "count_latent_frames",
    "free",
    "list_plans",
    "make_request",
    "read_budget",
    "text",
    "whole",
]
