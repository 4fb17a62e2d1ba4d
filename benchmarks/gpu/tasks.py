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
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gpu.rows import TOOK, Row, add_row

GRACE = 0.03  # of all the time: how much later than its end a section is killed
LONGEST_ERROR = 300  # characters
SKIPPED = "skipped"
LONGEST_START = 60.0  # seconds until a process has the device


@dataclass(frozen=True)
class Setting:
    """What all sections know.

    out      the folder of the rows
    device   that is measured, as torch names it
    tiny     small sizes, to try the script itself
    truth    the file of true results, see truth.py
    method   how processes are started, 'fork' or 'spawn'; '': everything runs in this one
    """

    out: Path
    device: str
    tiny: bool
    truth: Path
    method: str = ""

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
    _tidy()
    rows = made if isinstance(made, list) else [made]
    took = time.monotonic() - start
    what = ", ".join(str(label) for label in task.labels.values())
    print(f"{took:6.1f} s  {what}  {rows[-1].get('error', '') if rows else ''}", file=sys.stderr, flush=True)
    return [{**row, TOOK: took} for row in rows]


def _tidy() -> None:
    """Give back what the task has left. After a fault of the device even this fails."""
    gc.collect()
    with suppress(RuntimeError):
        torch.cuda.empty_cache()


def describe(error: BaseException) -> str:
    """'OutOfMemoryError: CUDA out of memory. ...', its first lines."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:LONGEST_ERROR]


def isolate(method: str, function: Callable[..., None], *arguments: Any, seconds: float) -> str:
    """Call it in a process of its own, and kill that after so many seconds. Returns how it failed, or ''.

    method: as in Setting. A process that has used CUDA cannot be forked, so then a new one is started.
    """
    if not method:
        function(*arguments)
        return ""
    method = "spawn" if torch.cuda.is_initialized() else method
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join(max(1.0, seconds))
    if process.is_alive():
        process.kill()
        process.join()
        return "killed: it took longer than its share of the time"
    return "" if process.exitcode == 0 else _name_exit(process.exitcode or 0)


def choose_method(device: str) -> str:
    """'fork', where that works: on Linux, and if the child, which has imported everything already, gets the device."""
    if sys.platform != "linux" or isolate("fork", _touch, device, seconds=LONGEST_START):
        return "spawn"
    return "fork"


def _touch(device: str) -> None:
    torch.ones(1, device=device).item()


def _name_exit(code: int) -> str:
    return f"its process ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"
