"""Runs attacks and counts what came of them.

An attack makes a case from random numbers and tries it. What is asked for is done, or refused by a VAEError, which is a
sentence. Anything else that is raised, or a folder that is not as it should be, is bad.
"""

import json
import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact_vae.vae_core import VAEError

DONE, REFUSED, BAD = "done", "refused", "bad"
LONGEST = 60  # seconds of a case at full size; a small input that takes so long is a hang
LONGEST_SENTENCE = 4000  # letters, with what the command line puts before it


@dataclass(frozen=True)
class Attack:
    """make: a case from random numbers. attempt: tries it in an empty folder, and raises if something is wrong."""

    name: str
    make: Callable[[random.Random], Any]
    attempt: Callable[[Any, Path], None]
    full: int  # cases at full size
    share: float = 0.02  # of these that the suite tries


@dataclass
class Count:
    outcomes: Counter = field(default_factory=Counter)
    bad: list[tuple[int, Any, str]] = field(default_factory=list)  # (seed, case, what went wrong)

    def format_row(self, name: str) -> str:
        cells = [sum(self.outcomes.values()), *(self.outcomes[kind] for kind in (DONE, REFUSED, BAD))]
        return f"| {name} | " + " | ".join(map(str, cells)) + " |"


HEADER = "| attack | cases | done | refused | bad |\n|---|---|---|---|---|"


def run(attack: Attack, cases: int, first: int = 0, longest: int | None = None) -> Count:
    """Try cases first, first + 1 ... of an attack. longest: seconds of each, where the system can tell."""
    count = Count()
    for seed in range(first, first + cases):
        case = attack.make(random.Random(f"{attack.name} {seed}"))
        with tempfile.TemporaryDirectory() as folder:
            outcome, why = judge(attack, case, Path(folder), longest)
        count.outcomes[outcome] += 1
        if outcome == BAD:
            count.bad.append((seed, case, why))
    return count


def judge(attack: Attack, case: Any, folder: Path, longest: int | None) -> tuple[str, str]:
    try:
        with limit_time(longest):
            attack.attempt(case, folder)
    except VAEError as e:
        said = str(e)
        is_sentence = said and len(said) < LONGEST_SENTENCE and "Traceback" not in said
        return (REFUSED, said) if is_sentence else (BAD, f"no sentence: {said[:200]!r}")
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        return BAD, "".join(traceback.format_exception(e))[-2000:]
    return DONE, ""


@contextmanager
def limit_time(seconds: int | None) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"it took more than {seconds} seconds")

    if not seconds or not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def describe(name: str, seed: int, case: Any, why: str) -> str:
    shown = json.dumps(case, default=repr)
    return f"{name}, seed {seed}: {shown[:500]}\n{why}"
