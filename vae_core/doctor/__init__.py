"""Does this device compute this VAE rightly? A chart goes through it in every dtype; the CPU in fp64 is the judge."""

from .drawing import draw_errors
from .examination import NARROWEST, WIDTHS, Examination, examine
from .report import format_lines, format_report, to_json

__all__ = [
    "NARROWEST",
    "WIDTHS",
    "Examination",
    "draw_errors",
    "examine",
    "format_lines",
    "format_report",
    "to_json",
]
