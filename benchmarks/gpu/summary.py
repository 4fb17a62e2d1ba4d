"""What the rows say in a few sentences: ours beside diffusers, and what went wrong."""

from collections.abc import Iterator

from gpu.clock import FIRST
from gpu.peers import COMPILED, EAGER
from gpu.rows import Row
from gpu.speed import OURS

KEY = ("VAE", "part", "px", "dtype")


def summarize(rows: list[Row]) -> Iterator[str]:
    """Lines of Markdown."""
    yield from compare_with_diffusers([row for row in rows if FIRST in row])
    failed = [row for row in rows if "error" in row]
    yield ""
    yield f"{len(rows)} rows, {len(failed)} of them errors{':' if failed else '.'}"
    for row in failed:
        names = [str(value) for name, value in row.items() if name not in ("error", "took") and value != ""]
        yield f"- {', '.join(names)}: {row['error']}"


def compare_with_diffusers(rows: list[Row]) -> Iterator[str]:
    """Our fastest way by its time and memory beside theirs, for each call that both were timed at."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row.get(name)) for name in KEY), []).append(row)
    for key, group in groups.items():
        ours = min((row for row in group if row["who"] == OURS), key=_milliseconds, default=None)
        eager = next((row for row in group if row["who"] == EAGER), None)
        compiled = min((row for row in group if COMPILED in row["who"]), key=_milliseconds, default=None)
        if ours and (eager or compiled):
            yield f"- {', '.join(key)}: {_say(ours, eager, compiled)}"


def _say(ours: Row, eager: Row | None, compiled: Row | None) -> str:
    text = f"{ours['ms']:.1f} ms ({ours.get('plan', '')})"
    if eager:
        memory = ours["allocated"] / eager["allocated"] if eager.get("allocated") else float("nan")
        text += f"; {ours['ms'] / eager['ms']:.2f} of diffusers' {eager['ms']:.1f} ms, {memory:.2f} of its memory"
    if compiled:
        text += f"; {ours['ms'] / compiled['ms']:.2f} of its {compiled['ms']:.1f} ms when compiled"
    return text


def _milliseconds(row: Row) -> float:
    return row["ms"]
