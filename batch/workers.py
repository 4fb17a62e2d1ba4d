"""Who encodes: this process, or one process for each device. Results come in the order of the batches."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import cycle
from multiprocessing import get_context, parent_process
from multiprocessing.process import current_process
from threading import Thread

import torch

from ..vae_core import VAE, VAEError
from .encoding import Agreed, Batch, Encoder, Loading, Result
from .limits import AHEAD
from .recipe import Recipe
from .records import Shape

MOST_DEATHS = 3  # of a worker at one batch: then it is no accident


def encode_here(
    vae: VAE, recipe: Recipe, plans: Mapping[Shape, Agreed], batches: Iterable[Batch]
) -> Iterator[list[Result]]:
    """Results of all batches, encoded in this process while the next images are read."""
    encoder, threads = Encoder(vae, recipe, plans), torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        yield from encode_all(encoder, batches)
    finally:
        encoder.close()
        torch.set_num_threads(threads)


def encode_all(encoder: Encoder, batches: Iterable[Batch]) -> Iterator[list[Result]]:
    """Results of all batches; while one is encoded, the images of the next are read."""
    waiting: deque[Batch] = deque()
    for batch in batches:
        waiting.append(batch)
        if len(waiting) > encoder.ahead:
            yield encoder.encode(waiting.popleft(), waiting)
    while waiting:
        yield encoder.encode(waiting.popleft(), waiting)


class Worker:
    """A process with a VAE on a device. If it dies, another takes its place and its batch."""

    def __init__(self, loading: Loading, device: str, recipe: Recipe, plans: Mapping[Shape, Agreed]):
        self._setup = (loading, device, recipe, plans)
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context("spawn"), _set_up, self._setup)

    def submit(self, batch: Batch, ahead: Batch = ()) -> Future[list[Result]]:
        """ahead: the batch that this worker gets next; its images are read meanwhile."""
        try:
            return self._pool.submit(_encode, batch, ahead)
        except BrokenProcessPool:
            self.restart()
            return self._pool.submit(_encode, batch, ahead)

    def restart(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def encode_in_processes(workers: Sequence[Worker], batches: Iterable[Batch]) -> Iterator[list[Result]]:
    """Results of all batches. Each worker has one batch in hand and one waiting."""
    waiting: deque[tuple[Worker, Batch, Future[list[Result]]]] = deque()
    try:
        for worker, batch, ahead in _assign(workers, batches):
            waiting.append((worker, batch, worker.submit(batch, ahead)))
            if len(waiting) >= AHEAD * len(workers):
                yield _wait(*waiting.popleft())
        while waiting:
            yield _wait(*waiting.popleft())
    finally:
        for worker in workers:
            worker.close()


def _assign(workers: Sequence[Worker], batches: Iterable[Batch]) -> Iterator[tuple[Worker, Batch, Batch]]:
    """Each batch with its worker, and the batch that this worker gets next, which is empty in the end."""
    known: deque[Batch] = deque()
    turns = cycle(workers)
    for batch in batches:
        known.append(batch)
        if len(known) > len(workers):
            yield next(turns), known.popleft(), batch
    for batch in known:
        yield next(turns), batch, ()


def _wait(worker: Worker, batch: Batch, result: Future[list[Result]]) -> list[Result]:
    for _ in range(MOST_DEATHS):
        try:
            return result.result()
        except BrokenProcessPool:
            result = worker.submit(batch)
    try:
        return result.result()
    except BrokenProcessPool as error:
        path = batch[0].record.path
        raise VAEError(f"a worker ended {MOST_DEATHS + 1} times at '{path}': is memory too small for it?") from error


def _set_up(loading: Loading, device: str, recipe: Recipe, plans: Mapping[Shape, Agreed]) -> None:
    """In the worker's process: loads the VAE, which stays with the process."""
    watch_parent()
    torch.set_num_threads(recipe.threads)
    process: object = current_process()
    vars(process)["encoder"] = Encoder(loading.load(device), recipe, plans)


def _encode(batch: Batch, ahead: Batch) -> list[Result]:
    process: object = current_process()
    return vars(process)["encoder"].encode(batch, (ahead,))


def watch_parent() -> None:
    """Let this process end when the one that started it was killed, which cannot say so: it would wait for ever."""
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
