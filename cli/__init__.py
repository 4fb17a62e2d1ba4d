"""exact-vae: what the nodes do, on the command line.

Results go to stdout, progress and errors to stderr; --json makes a result JSON, -q prints errors only. Exit codes:
0 done; 1 failed, with one sentence on stderr; 2 wrong usage; 130 stopped by Ctrl-C or `kill`.
"""

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ..vae_core import VAEError, __version__
from ..vae_core.errors import is_out_of_memory, shorten
from ..vae_core.files import NO_NAME
from .quiet import hush

# What Python, the loader of libraries and the system say when they have no memory for something of their own.
STARVED = ("error return without exception set", "failed to map segment", "can't start new thread")
STOPPING = ("SIGTERM", "SIGHUP", "SIGBREAK")  # the last is of Windows, SIGHUP of all others


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a console that cannot show a character must not make the command fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        with _stop_on_kill(), hush(options) if options.quiet else nullcontext():
            options.do(options)
        if sys.stdout:  # services have none
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("exact-vae: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the results, as head does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return 1
    except Exception as error:
        print(f"exact-vae: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def _explain(error: Exception) -> str:
    """The sentence of an error that a user can do something about. Any other is a bug, and is raised again."""
    if isinstance(error, VAEError):
        return str(error)
    if is_out_of_memory(error) or any(word in str(error) for word in STARVED):
        return "memory ran out: give it more, or close other programs."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"a result cannot be written: {error.strerror}."
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"'{error.filename}' cannot be used: {error.strerror}."
    raise error


class _Parser(argparse.ArgumentParser):
    """Repeats no argument of a thousand letters, and takes no empty name for this folder."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.register("type", Path, _parse_path)

    def error(self, message: str) -> NoReturn:
        super().error(shorten(message))


def _parse_path(said: str) -> Path:
    if not said:
        raise argparse.ArgumentTypeError(NO_NAME)
    return Path(said)


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
        from . import cache, codec, completion, demo, doctor, env, graph, graph_files, inspect, plan, train
    except ModuleNotFoundError as e:  # only the command line needs these packages
        raise SystemExit(f"exact-vae needs '{e.name}': pip install 'exact-vae[cli]'") from e
    root = _Parser(prog="exact-vae", description="The autoencoders of diffusion models.")
    root.add_argument("--version", action="version", version=f"exact-vae {__version__}")
    root.set_defaults(do=partial(_show_help, root), quiet=False)
    commands = root.add_subparsers(metavar="COMMAND")
    for module in (demo, inspect, plan, codec, cache, doctor, env, graph, graph_files, train):
        module.add(commands)
    completion.add(commands, parser)
    _add_quiet(commands)
    return root


def _add_quiet(commands: argparse._SubParsersAction) -> None:
    """To every command, and to those within it; one that has others shows its help if none is named."""
    for command in commands.choices.values():
        what = "print errors only; with --json also the result"
        command.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help=what)
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                command.set_defaults(do=partial(_show_help, command))
                _add_quiet(action)


def _show_help(root: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    root.print_help()
