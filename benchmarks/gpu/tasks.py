"""Runs sections of measurements: each in a process of its own, in its share of the time, and none at another's cost.

A section is a list of tasks. A task that fails leaves its error as a row, and the next one follows. A fault of the
device poisons all that its process does later; so the next section has a process that has not seen it.
"""

import gc
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gpu.rows import TOOK, Row, add_row

GRACE = 0.03  # of all the time: how much later than its end a section is killed
LONGEST_ERROR = 300  # characters
SKIPPED = "skipped"


@dataclass(frozen=True)
class Setting:
    """What all sections know.

    out      the folder of the rows
    device   that is measured, as torch names it
    tiny     small sizes, to try the script itself
    truth    the file of true results, see truth.py
    """

    out: Path
    device: str
    tiny: bool
    truth: Path

    @property
    def half(self) -> str:
        """The dtype of most measurements of speed: few CPUs compute in bf16."""
        return "bf16" if self.on_cuda else "fp32"

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")


class Task(NamedTuple):
    """One measurement.

    labels   what it measures: the first columns of its rows
    work     gives the other columns, of one row or of several
    seconds  that it takes about; it is not begun with less time left
    """

    labels: Mapping[str, Any]
    work: Callable[[], Row | list[Row]]
    seconds: float = 2.0


def explain(labels: Mapping[str, Any], why: str) -> Task:
    """A row that says why there is nothing to measure."""
    return Task(labels, partial(dict, {SKIPPED: why}), 0.0)


class Section(NamedTuple):
    """share: of all the time; a section may also use what those before it have left."""

    name: str
    title: str
    share: float
    tasks: Callable[[Setting], Iterator[Task]]


@dataclass
class Clock:
    """When each of the sections has to end, in seconds of `time.monotonic`."""

    sections: list[Section]
    total: float
    start: float = field(default_factory=time.monotonic)

    def end_of(self, section: Section) -> float:
        before = self.sections[: self.sections.index(section) + 1]
        share = sum(one.share for one in before) / sum(one.share for one in self.sections)
        return self.start + self.total * share * (1 - GRACE)

    def seconds_to_kill(self, section: Section) -> float:
        return self.end_of(section) + GRACE * self.total - time.monotonic()


def run_section(section: Section, setting: Setting, end: float) -> None:
    """Run its tasks and keep their rows. end: no task is begun that would end later, in seconds of time.monotonic."""
    try:
        for task in section.tasks(setting):
            if time.monotonic() + task.seconds * (not setting.tiny) > end:
                add_row(setting.out, section.name, {**task.labels, SKIPPED: "no time was left"})
                continue
            for row in _run_task(task, setting):
                add_row(setting.out, section.name, {**task.labels, **row})
    except Exception as e:  # whatever it is, it costs this section only
        traceback.print_exc()
        add_row(setting.out, section.name, {"error": describe(e)})


def _run_task(task: Task, setting: Setting) -> list[Row]:
    start = time.monotonic()
    try:
        made = task.work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # a fault shows here, and so in this row
    except Exception as e:
        made = {"error": describe(e)}
    gc.collect()
    if torch.cuda.is_initialized() and "error" not in made:
        torch.cuda.empty_cache()
    rows = made if isinstance(made, list) else [made]
    took = time.monotonic() - start
    what = ", ".join(str(label) for label in task.labels.values())
    print(f"{took:6.1f} s  {what}  {rows[-1].get('error', '') if rows else ''}", file=sys.stderr, flush=True)
    return [{**row, TOOK: took} for row in rows]


def describe(error: BaseException) -> str:
    """'OutOfMemoryError: CUDA out of memory. ...', its first lines."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:LONGEST_ERROR]


def isolate(function: Callable[..., None], *arguments: Any, seconds: float) -> str:
    """Call it in a process of its own, and kill that after so many seconds. Returns how it failed, or ''."""
    process = _context().Process(target=function, args=arguments)
    process.start()
    process.join(max(1.0, seconds))
    if process.is_alive():
        process.kill()
        process.join()
        return "killed: it took longer than its share of the time"
    return "" if process.exitcode == 0 else _name_exit(process.exitcode or 0)


def _name_exit(code: int) -> str:
    return f"its process ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"


def _context() -> Any:
    """A forked process has imported all already. Not on Linux, or once CUDA runs here, it must be a new one."""
    forks = sys.platform == "linux" and not torch.cuda.is_initialized()
    return multiprocessing.get_context("fork" if forks else "spawn")
