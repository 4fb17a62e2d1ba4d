"""Long waits are remarked on: Ray waits for ever for a machine that never comes, and says nothing."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TypeVar

T = TypeVar("T")
LONG = 300.0  # seconds: machines of a cluster that grows take minutes to start

log = logging.getLogger("exact_vae")


@contextmanager
def remark(said: str, after: float = LONG) -> Iterator[Timer]:
    """Warn with this sentence if the block takes longer, and let it go on."""
    timer = Timer(after, log.warning, [said])
    timer.daemon = True
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()


def remark_on_each(rows: Iterable[T], said: str, after: float = LONG) -> Iterator[T]:
    """The same rows; a wait for any of them that takes longer is remarked on."""
    waiting = iter(rows)
    while True:
        with remark(said, after):
            try:
                row = next(waiting)
            except StopIteration:
                return
        yield row
