"""Who does the work of `exact-vae cache build`: this machine, or a cluster of Ray."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..batch.backends import Backend, Local
from ..batch.cluster import RayBackend, connect
from ..batch.places import make_absolute, parse_place
from ..nodes import host
from ..vae_core import BadRequest
from .options import read_digits

AUTOMATIC = "auto"
MOST_WORKERS = 256  # processes of one machine
MOST_ENCODERS = 2**16  # of a cluster
WORKERS = (
    "who encodes: auto, cuda:0,cuda:1 or cpu:N for N processes (default: --device); with --ray auto, gpu:N or cpu:N: "
    "N encoders at most"
)


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", default=AUTOMATIC, metavar="WHO", help=WORKERS)
    ray = "on a cluster of Ray: its address, auto for the one here; without, RAY_ADDRESS or this machine alone"
    command.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help=ray)


@contextmanager
def open_backend(options: argparse.Namespace) -> Iterator[Backend]:
    """Who the options say. Raises BadRequest if they name nobody, or the cluster cannot be reached."""
    if options.ray is None:
        yield Local(list_devices(options))
        return
    device, encoders = parse_encoders(options.workers.strip())
    with connect(options.ray) as ray:
        found = device or choose_device(options.device, ray.cluster_resources())
        yield RayBackend(ray, found, (make_absolute(options.source),), encoders)


def choose_device(said: str, resources: Mapping[str, float]) -> str:
    """'cuda' or 'cpu', of each encoder: what --device says, or GPUs where the cluster has any."""
    if said == AUTOMATIC:
        return "cuda" if resources.get("GPU") else "cpu"
    return said.partition(":")[0]


def parse_folder(said: str) -> Path:
    """A path or a URL of a store. For argparse."""
    try:
        return parse_place(said)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_encoders(said: str) -> tuple[str | None, int | None]:
    """'gpu:64' -> ('cuda', 64); 'auto' -> (None, None): what the cluster has. Raises BadRequest for anything else."""
    if said == AUTOMATIC:
        return None, None
    name, _, count = said.partition(":")
    number = read_digits(count) if count.isascii() and count.isdigit() else 0
    if name not in ("gpu", "cpu") or not 1 <= number <= MOST_ENCODERS:
        raise BadRequest(f"'{said}' names no encoders of a cluster: with --ray write auto, gpu:N or cpu:N.")
    return {"gpu": "cuda", "cpu": "cpu"}[name], number


def list_devices(options: argparse.Namespace) -> tuple[str, ...]:
    """'cpu:2' -> ('cpu', 'cpu'); 'cuda:0,cuda:1' -> both. Raises BadRequest for anything else."""
    said = options.workers.strip()
    if said == AUTOMATIC:
        return (str(host.device(options.device)),)
    name, _, count = said.partition(":")
    if name == "cpu":
        number = read_digits(count) if count.isascii() and count.isdigit() else 0 if count else 1
        if not 1 <= number <= MOST_WORKERS:
            raise BadRequest(f"'{said}' names no workers: write cpu:N, with N from 1 to {MOST_WORKERS}.")
        return ("cpu",) * number
    return tuple(str(host.device(one.strip())) for one in said.split(","))
