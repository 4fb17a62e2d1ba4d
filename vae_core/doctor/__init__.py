"""Does this device compute this VAE correctly? A chart goes through it in every dtype; the CPU in fp64 is the judge."""

from typing import TYPE_CHECKING

from .. import lazy

if TYPE_CHECKING:
    from .chart import NARROWEST, WIDTHS
    from .drawing import draw_errors
    from .environment import format_environment, read_environment
    from .examination import Examination, examine
    from .report import format_lines, format_report, to_json
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "chart": "NARROWEST WIDTHS",
            "drawing": "draw_errors",
            "environment": "format_environment read_environment",
            "examination": "Examination examine",
            "report": "format_lines format_report to_json",
        },
    )

__all__ = [
    "NARROWEST",
    "WIDTHS",
    "Examination",
    "draw_errors",
    "examine",
    "format_environment",
    "format_lines",
    "format_report",
    "read_environment",
    "to_json",
]
