"""Runs sections of measurements: each in a process of its own, in its share of the time, and none at another's cost.

A section is a list of tasks. A task that fails leaves its error as a row, and the next one follows. A fault of the
device poisons all that its process does later, and some end the process; then the rest of the section has a new one.
"""

import ctypes
import gc
import json
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

from gpu.rows import ERROR, SKIPPED, TOOK, Row, add_row, is_measured

GRACE = 0.03  # of all the time: how much later than its end a section is killed
LONGEST_ERROR = 300  # characters
LONGEST_START = 60.0  # seconds until a process has the device
LONGEST_END = 30.0  # seconds until a process that was killed is gone
BEGUN = "begun.json"  # in the folder of the rows: the task that is under way
KILLED = "killed: it took longer than its share of the time"
STUCK = f"{KILLED}; its process has not ended since, as one that waits in the driver"
PR_SET_PDEATHSIG = 1  # man 2 prctl


@dataclass(frozen=True)
class Setting:
    """What all sections know.

    out      the folder of the rows
    device   that is measured, as torch names it
    tiny     small sizes, to try the script itself
    truth    the file of true results, see truth.py
    method   how processes are started, 'fork' or 'spawn'; '': everything runs in this one
    kept     rows of an earlier call, whose tasks are not done again
    """

    out: Path
    device: str
    tiny: bool
    truth: Path
    method: str = ""
    kept: tuple[Row, ...] = ()

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


def measure_section(section: Section, setting: Setting, end: float, kill: float) -> None:
    """Run all its tasks, in a new process after each one that ended the process, or that left the device unusable.

    end, kill: when no task is begun any more, and when the process is ended, in seconds of time.monotonic
    """
    first: int | None = 0
    while first is not None:
        seconds = kill - time.monotonic()
        failed = isolate(setting.method, run_section, section, setting, end, first, seconds=seconds)
        begun = _take_begun(setting.out)
        if failed and not begun.get("kept"):
            add_row(setting.out, section.name, {**begun.get("labels", {}), ERROR: failed})
        first = begun["task"] + 1 if failed and begun and failed not in (KILLED, STUCK) else None


def run_section(section: Section, setting: Setting, end: float, first: int = 0) -> None:
    """Run its tasks from this one on, and keep their rows. end: see `measure_section`.

    Ends this process if a task has left the device unusable.
    """
    kept = [row for row in setting.kept if is_measured(row, section.name)]
    try:
        for number, task in enumerate(section.tasks(setting)):
            if number < first or any(task.labels.items() <= row.items() for row in kept):
                continue
            if time.monotonic() + task.seconds * (not setting.tiny) > end:
                add_row(setting.out, section.name, {**task.labels, SKIPPED: "no time was left"})
                continue
            _note_begun(setting.out, number, task)
            rows = _run_task(task, setting)
            for row in rows:
                add_row(setting.out, section.name, {**task.labels, **row})
            _note_begun(setting.out, number, task, kept=True)
            if setting.method and any(ERROR in row for row in rows) and is_poisoned():
                sys.exit("the device cannot be used any more in this process")
    except Exception as e:  # whatever it is, it costs this section only
        traceback.print_exc()
        add_row(setting.out, section.name, {ERROR: describe(e)})


def _note_begun(folder: Path, number: int, task: Task, kept: bool = False) -> None:
    """kept: it has ended, and its rows are written."""
    noted = {"task": number, "labels": dict(task.labels), "kept": kept}
    (folder / BEGUN).write_text(json.dumps(noted, default=str), encoding="utf-8")


def _take_begun(folder: Path) -> dict[str, Any]:
    """What the last process has noted; nothing if it has begun nothing."""
    path = folder / BEGUN
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    finally:
        path.unlink(missing_ok=True)


def is_poisoned() -> bool:
    """Has a fault of CUDA made it fail in whatever this process asks for next?"""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.zeros(1, device="cuda").item()
    except RuntimeError:
        return True
    return False


def _run_task(task: Task, setting: Setting) -> list[Row]:
    start = time.monotonic()
    try:
        made = task.work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # a fault shows here, and so in this row
    except Exception as e:
        made = {ERROR: describe(e)}
    _tidy()
    rows = made if isinstance(made, list) else [made]
    took = time.monotonic() - start
    what = ", ".join(str(label) for label in task.labels.values())
    print(f"{took:6.1f} s  {what}  {rows[-1].get(ERROR, '') if rows else ''}", file=sys.stderr, flush=True)
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
    process = context.Process(target=_call_while_parent_lives, args=(function, *arguments))
    process.start()
    process.join(max(1.0, seconds))
    if process.is_alive():
        return _kill(process)
    return "" if process.exitcode == 0 else _name_exit(process.exitcode or 0)


def _kill(process: Any) -> str:
    """One that waits in the driver ends when the driver lets go of it, or never: nobody waits longer than this."""
    process.kill()
    process.join(LONGEST_END)
    if not process.is_alive():
        return KILLED
    multiprocessing.process._children.discard(process)  # Python would wait for it when this process ends
    return STUCK


def _call_while_parent_lives(function: Callable[..., None], *arguments: Any) -> None:
    end_with_parent()
    function(*arguments)


def end_with_parent() -> None:
    """A process of a section that is killed would leave its own processes, and these the device busy."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def choose_method(device: str) -> str:
    """'fork', where that works: on Linux, and if the child, which has imported everything already, gets the device."""
    if sys.platform != "linux" or isolate("fork", _touch, device, seconds=LONGEST_START):
        return "spawn"
    return "fork"


def _touch(device: str) -> None:
    torch.ones(1, device=device).item()


def _name_exit(code: int) -> str:
    return f"its process ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"
