"""A progress bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from ..vae_core.vae import Progress


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """progress(done, total) -> the bar; a new total starts it again."""
    with tqdm(desc=what, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False) as drawn:

        def tell(done: int, total: int) -> None:
            if total != drawn.total or done < drawn.n:
                drawn.reset(total)
            drawn.update(done - drawn.n)

        yield tell
