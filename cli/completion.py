"""exact-vae completion: a script by which a shell completes commands, options and files."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from ..vae_core import BadRequest
from ..vae_core.latents import SPACES

SHELLS = ("bash", "zsh", "tcsh")  # that shtab writes for

Parser = argparse.ArgumentParser


def add(commands: argparse._SubParsersAction, make_parser: Callable[[], Parser]) -> None:
    """make_parser: makes the parser of all commands."""
    command = commands.add_parser("completion", help="print a script that completes commands and options in a shell")
    command.add_argument("shell", choices=SHELLS, help="put what is printed where it reads completions")
    command.set_defaults(do=partial(run, make_parser))


def run(make_parser: Callable[[], Parser], options: argparse.Namespace) -> None:
    try:
        shtab = import_module("shtab")
    except ModuleNotFoundError:
        raise BadRequest("completion needs 'shtab': pip install 'exact-vae[cli]'.") from None
    root = make_parser()
    for action in _list_actions(root):
        if action.type is Path:
            vars(action)["complete"] = shtab.FILE
        elif action.dest == "latent_space":
            action.choices = list(SPACES)
    print(shtab.complete(root, shell=options.shell))


def _list_actions(parser: Parser) -> Iterator[argparse.Action]:
    """Of the parser and of all commands within it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _list_actions(command)
