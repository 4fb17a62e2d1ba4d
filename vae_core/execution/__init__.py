"""How is it run? Whole, in bands of rows, clips a few frames at a time, or in blended tiles; and what each costs."""

from . import whole
from .plans import budget, scratch
from .plans import choose as planning
from .plans.budget import MARGIN, format_bytes
from .plans.request import DEVICE, DISK, KEEP, SYSTEM, Plan
from .progress import Progress
from .tiles import Tiles

__all__ = [
    "DEVICE",
    "DISK",
    "KEEP",
    "MARGIN",
    "SYSTEM",
    "Plan",
    "Progress",
    "Tiles",
    "budget",
    "format_bytes",
    "planning",
    "scratch",
    "whole",
]
