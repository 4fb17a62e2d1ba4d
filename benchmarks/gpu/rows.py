"""Keeps what is measured, one line of JSON for each row, and writes the tables again from what is kept.

A row is on the disk before the next measurement begins, so whatever ends the run, nothing that was measured is lost.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
ROWS, REPORT = "rows.jsonl", "report.md"
SECTION, TOOK = "section", "took"  # columns of all rows that are not shown: whose it is, and seconds to measure it
SKIPPED, ERROR = "skipped", "error"  # why there is nothing else in a row


def add_row(folder: Path, section: str, row: Mapping[str, Any]) -> None:
    """Append a row, and wait until the disk has it."""
    line = json.dumps({SECTION: section, **row}, default=str) + "\n"
    with (folder / ROWS).open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_rows(folder: Path) -> list[Row]:
    """All rows so far. A line that a kill cut short is left out."""
    path = folder / ROWS
    return list(_parse(path.read_text(encoding="utf-8"))) if path.is_file() else []


def is_measured(row: Mapping[str, Any], section: str) -> bool:
    """Is it of this section, and has it what was measured, or why that fails? No: there was no time for it."""
    return row[SECTION] == section and SKIPPED not in row and not str(row.get(ERROR, "")).startswith("killed")


def drop_made_up_for(rows: list[Row]) -> list[Row]:
    """All but those that say what was skipped, and was tried again or had been measured."""
    return [row for i, row in enumerate(rows) if not _is_made_up_for(row, rows[:i], rows[i + 1 :])]


def _is_made_up_for(row: Row, before: list[Row], after: list[Row]) -> bool:
    if SKIPPED not in row:
        return False
    labels = {name: value for name, value in row.items() if name not in (SKIPPED, TOOK)}.items()
    measured = (other for other in before if is_measured(other, row[SECTION]))
    return any(labels <= other.items() for other in (*measured, *after))


def _parse(text: str) -> Iterator[Row]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def write_report(folder: Path, titles: Mapping[str, str], head: Iterable[str] = ()) -> str:
    """The tables of all sections, in report.md too. titles: section -> its title. head: lines before the tables."""
    rows = drop_made_up_for(read_rows(folder))
    lines = ["# What this device does", "", *head]
    for section, title in titles.items():
        own = [row for row in rows if row[SECTION] == section]
        lines += ["", f"## {title}", "", *format_table(own)] if own else []
    text = "\n".join(lines) + "\n"
    part = folder / f"{REPORT}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / REPORT)
    return text


def format_table(rows: list[Row]) -> Iterator[str]:
    """One line for each row; its columns are all names that any row has, in the order in which they first come."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in (SECTION, TOOK)))
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(_format_cell(row.get(name, '')) for name in names)} |"


def _format_cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
