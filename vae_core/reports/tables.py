"""Tables in Markdown that are aligned as plain text too."""

from collections.abc import Sequence


def format_markdown(cells: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table of these rows, the first of which is its header. left: so many columns of words, aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    header, *rows = [[align(cell, n) for align, cell, n in zip(aligned, row, widths, strict=True)] for row in cells]
    ruler = ["-" * n if i < left else "-" * (n - 1) + ":" for i, n in enumerate(widths)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *rows))
