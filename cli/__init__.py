"""exact-vae: what the nodes do, on the command line.

stdout has the result, stderr the talk. Exit 0: done; 1: it could not be done, in one sentence; 2: wrong usage.
"""

import argparse
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ..vae_core import VAEError


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show a name must not fail for it
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        with _stop_on_kill():
            options.do(options)
    except VAEError as e:
        print(f"exact-vae: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("exact-vae: stopped.", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _stop_on_kill() -> Iterator[None]:
    """`kill` does what Ctrl-C does, so that no unfinished file is left: it may be a large one."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # only the main thread is told of signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def parser() -> argparse.ArgumentParser:
    try:
        from . import codec, demo, graph, inspect, plan, train
    except ModuleNotFoundError as e:  # the command line is a guest: nodes and library do without its packages
        raise SystemExit(f"exact-vae needs '{e.name}': pip install 'exact-vae[cli]'") from e
    root = argparse.ArgumentParser(prog="exact-vae", description="The autoencoders of diffusion models.")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for module in (demo, inspect, plan, codec, graph, train):
        module.add(commands)
    return root
