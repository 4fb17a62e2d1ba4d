"""What -q does: no results but JSON, no bars, errors as ever."""

import argparse
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import TextIO


class NoTerminal(io.TextIOBase):
    """A stream that says it is no terminal, so that no bar is drawn on it. What is written goes where it went."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str, /) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def hush(options: argparse.Namespace) -> Iterator[None]:
    """While the block runs nothing is printed on stdout unless it is JSON, and no bar is drawn."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        silence = nullcontext() if vars(options).get("json") else redirect_stdout(nowhere)
        with silence, redirect_stderr(NoTerminal(sys.stderr)):
            yield
