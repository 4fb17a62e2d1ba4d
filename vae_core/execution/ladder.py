"""A run that runs out of memory is done again in less of it, until there is no way left. Never approximately."""

import gc
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple, NoReturn, TypeVar

import torch

from ..errors import BadRequest, DoesNotFit, forget_frames, is_out_of_memory, may_be_out_of_memory, shorten
from .plans import scratch
from .plans.places import SYSTEM
from .plans.plan import Plan
from .progress import ProgressObserver

log = logging.getLogger("exact_vae")

LESS = "use a smaller image or batch, or bf16"  # what to do, if no way is left

T = TypeVar("T")


class Ladder(NamedTuple):
    """The ways to do a run: the fastest, and if memory runs out those that take less of it, one after the other.

    plans   that should fit, the fastest first
    start   tells of a plan, and gives who is told of its run
    what    is run, for sentences: "decoding 1 x 512x512 with 'ae.safetensors'"
    device  that it runs on
    """

    plans: Iterator[Plan]
    start: Callable[[Plan], ProgressObserver]
    what: str
    device: torch.device

    def run(self, attempt: Callable[[Plan, ProgressObserver], T]) -> T:
        """What `attempt` gives for the first plan with which memory does not run out.

        Before another attempt all that the last one has made is given back. Raises DoesNotFit if no way is left, caused
        by the last error. What may or may not come of memory is tried again too; if nothing but that was said, the
        first of it is raised. Whatever else an attempt raises passes.
        """
        result, observer, plan = self._climb(attempt)
        try:
            observer.end_run()
        finally:
            unpin(plan, self.device)
        return result

    def stream(self, attempt: Callable[[Plan, ProgressObserver], Generator[T, None, None]]) -> Generator[T, None, None]:
        """As `run`, for an attempt that gives one item after the other: it starts again only before the first."""

        def begin(plan: Plan, observer: ProgressObserver) -> tuple[list[T], Generator[T, None, None]]:
            items = attempt(plan, observer)
            return [next(items)], items

        (first, others), observer, plan = self._climb(begin)
        try:
            with closing(others), self._naming_memory(observer), self._naming_scratch():
                yield first.pop()
                yield from others
        finally:
            unpin(plan, self.device)
        observer.end_run()

    def _climb(self, attempt: Callable[[Plan, ProgressObserver], T]) -> tuple[T, ProgressObserver, Plan]:
        plan = next(self.plans)
        lower: Iterator[Plan] | None = None
        failures: list[BaseException] = []
        while True:
            observer = self.start(plan)
            try:
                with self._naming_scratch():
                    return attempt(plan, observer), observer, plan
            except BaseException as e:  # mapped memory and libraries of devices have errors of their own for it
                if not may_be_out_of_memory(e):
                    unpin(plan, self.device)
                    raise
                failures.append(forget_frames(e))
                where, sure = observer.where, is_out_of_memory(e)
            del observer  # it knows the op that failed, which may have weights of its own
            give_back(self.device)
            lower = lower or self._list_lower(plan)
            failed, plan = plan, next(lower, None)
            if plan is None:
                self._give_up(failures, where)
            plan = replace(plan, note=failed.failure if sure else failed.unsure_failure)
            how = "ran out of memory" if sure else f"failed, maybe for want of memory ({shorten(str(failures[-1]))}),"
            log.warning("%s %s%s: it starts again in %s", self.what, how, where, plan)

    def _give_up(self, failures: list[BaseException], where: str) -> NoReturn:
        """An error that is not of memory for sure is raised as it came: whoever looks it up finds it."""
        if not any(map(is_out_of_memory, failures)):
            raise failures.pop(0)  # held by the list, it would hold itself by its frames
        raise self._misfit(where) from failures[-1]

    def _list_lower(self, plan: Plan) -> Iterator[Plan]:
        """The other plans that take less memory, the one that takes most first; the faster of two that take as much.

        What the backend keeps of compiled convolutions does not count: it comes little by little, and more for bands.
        """
        by_peak = {other.tensors: other for other in reversed(list(self.plans))}
        lower = sorted((peak for peak in by_peak if peak < plan.tensors), reverse=True)
        return iter([by_peak[peak] for peak in lower])

    @contextmanager
    def _naming_memory(self, observer: ProgressObserver) -> Iterator[None]:
        try:
            yield
        except Exception as e:
            if not is_out_of_memory(e):
                raise
            raise self._misfit(observer.where) from e

    @contextmanager
    def _naming_scratch(self) -> Iterator[None]:
        try:
            yield
        except scratch.ScratchError as e:
            raise BadRequest(
                f"{self.what} stopped: {e}; make room there, name a folder with more of it in {scratch.VARIABLE}, "
                "or use a smaller image."
            ) from e

    def _misfit(self, where: str) -> DoesNotFit:
        return DoesNotFit(f"{self.what} ran out of memory{where}: {LESS}.")


def give_back(device: torch.device) -> None:
    """Free what a run has left behind: tensors in circles of references, and memory that torch keeps for later.

    With cudaMallocAsync the error of an allocation may come a second time: to what next waits.
    """
    gc.collect()
    if device.type == "cuda":
        with suppress(RuntimeError):
            torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        _empty_host_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def unpin(plan: Plan, device: torch.device) -> None:
    """Give memory of the host that a run has pinned back to the system. The run is waited for.

    An error of the device that is found here is one of the run: it is raised there, or by what next asks for a number.
    """
    if plan.keep == SYSTEM and device.type == "cuda":
        with suppress(RuntimeError):
            torch.cuda.current_stream(device).synchronize()
            _empty_host_cache()


def _empty_host_cache() -> None:
    """Torch keeps what is pinned until the process ends. Before 2.10 it has no public way to change that."""
    public = getattr(getattr(torch, "accelerator", None), "empty_host_cache", None)
    if empty := public or getattr(torch._C, "_host_emptyCache", None):
        empty()
