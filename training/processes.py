"""Several processes that train one network, started by torchrun: each takes its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..vae_core import BadRequest

MOST_THREADS = 1024  # torch crashes on a hundred thousand


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Is this the process that writes files and prints?"""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The part of so many crops that this process takes."""
        return slice(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def share_gradients(self, module: nn.Module) -> nn.Module:
        """Wrap the module so that its gradients are averaged over all processes."""
        # Buffers are constant statistics: there is nothing to send.
        return DistributedDataParallel(module, broadcast_buffers=False) if self.count > 1 else module

    def mean(self, x: Tensor) -> Tensor:
        if self.count > 1:
            dist.all_reduce(x)
            x = x / self.count
        return x


def use_threads(count: int | None) -> None:
    """Compute with so many CPU threads. Raises BadRequest for more than a machine can start."""
    if count and count > MOST_THREADS:
        raise BadRequest(f"{count} threads are more than any processor has: use {MOST_THREADS} at most.")
    if count:
        torch.set_num_threads(count)


def local_device(device: torch.device) -> torch.device:
    """The device of this process: `cuda` becomes the GPU that torchrun means for it."""
    number = os.environ.get("LOCAL_RANK")
    return torch.device("cuda", int(number)) if number and device == torch.device("cuda") else device


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()
