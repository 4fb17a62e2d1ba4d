"""exact-vae env: what a bug report needs."""

import argparse

from ..nodes import host
from ..vae_core.doctor import format_environment, read_environment
from .as_json import write_json


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("env", help="print versions, devices, dtypes and flags for a bug report")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    version = host.find_version()
    facts = read_environment({"ComfyUI": version} if version else {})
    print(write_json(facts) if options.json else format_environment(facts))
