"""exact-vae: what the nodes do, on the command line.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 failed, with one sentence on stderr; 2 wrong
usage; 130 stopped by Ctrl-C or `kill`.
"""

import argparse
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ..vae_core import VAEError

STOPPING = ("SIGTERM", "SIGHUP", "SIGBREAK")  # the last is of Windows, SIGHUP of all others


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show a character must not make the command fail
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
    """Makes `kill`, and the end of a terminal, do what Ctrl-C does: unfinished files, which may be large, are removed.

    A signal that is ignored, as nohup has SIGHUP ignored, stays so.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    caught = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in caught}
    try:
        for one in caught:
            if before[one] is not signal.SIG_IGN:
                signal.signal(one, stop)
    except ValueError:  # signal handlers can be set in the main thread only
        yield
        return
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def parser() -> argparse.ArgumentParser:
    try:
        from . import codec, demo, doctor, env, graph, inspect, plan, train
    except ModuleNotFoundError as e:  # only the command line needs these packages
        raise SystemExit(f"exact-vae needs '{e.name}': pip install 'exact-vae[cli]'") from e
    root = argparse.ArgumentParser(prog="exact-vae", description="The autoencoders of diffusion models.")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for module in (demo, inspect, plan, codec, doctor, env, graph, train):
        module.add(commands)
    return root
