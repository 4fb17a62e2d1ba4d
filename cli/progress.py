"""A progress bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Bar:
    """Call it with (done, total). A new total, or a smaller `done`, starts the bar again. `name` changes its label."""

    def __init__(self, drawn: tqdm | None):
        self._drawn = drawn

    def __call__(self, done: int, total: int) -> None:
        if self._drawn is None:
            return
        if total != self._drawn.total or done < self._drawn.n:
            self._drawn.reset(total)
        self._drawn.update(done - self._drawn.n)

    def name(self, what: str) -> None:
        if self._drawn is not None:
            self._drawn.set_description(what)


@contextmanager
def bar(what: str) -> Iterator[Bar]:
    if not sys.stderr or not sys.stderr.isatty():  # services have none
        yield Bar(None)  # also a bar that is not drawn would start a thread
        return
    with tqdm(desc=what, file=sys.stderr, leave=False) as drawn:
        yield Bar(drawn)
