"""A CUDA device that is not there: the whole path of a GPU, run on a CPU, and watched.

Tensors of torch's FakeTensorMode say that they are on cuda:0. Every op has the device, the dtype, the shape and the
strides that it would have there, and a mix of devices raises. There are no numbers, so whatever asks for one is a wait
for the GPU, and is counted. What a backend does inside an op is not seen: its workspaces, its hidden copies.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from support.fake_kernels import compute, name_layout, unfold
from support.fake_streams import COPIES, NO_KERNEL, Streams, is_late

LIBRARY = "/vae_core/"
RUNS = ("run", "run_bands")  # functions of vae_core/execution: what they call is inside a run
READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal"}
LAID_OUT = {
    "convolution",
    "native_group_norm",
    "native_batch_norm",
    "cudnn_batch_norm",
    "batch_norm_update_stats",
    "upsample_nearest2d",
}

# A build of torch without CUDA has no device guard for it. Python's hand-written bindings ask for one (contiguous,
# x[...]), and FakeTensorMode puts another in its place but makes none. This makes one that does nothing.
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace {
c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, &guard);
}
"""


def demand_guard() -> None:
    """Make the device guard, once for this process. Skips the test where there is no compiler for it."""
    if _has_guard():
        return
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler: torch without CUDA has no device guard for it")
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as place:
        source, library = Path(place, "guard.cpp"), Path(place, "guard.so")
        source.write_text(GUARD)
        strings = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"  # as in torch: names hold it
        command = [compiler, "-shared", "-fPIC", "-std=c++20", strings, f"-I{root}/include", source, "-o", library]
        done = subprocess.run([*command, f"-L{root}/lib", "-lc10"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the device guard does not compile here: {done.stderr.splitlines()[-1]}")
        ctypes.CDLL(str(library))


def _has_guard() -> bool:
    try:
        with FakeTensorMode():
            return bool(torch.empty(2, device="cuda")[0].device)
    except RuntimeError:
        return False


class Move(NamedTuple):
    """A copy between devices. way: 'cpu -> cuda'."""

    way: str
    blocking: bool
    inside: bool
    where: str


class Layout(NamedTuple):
    """How an op's input lies, and its weight, if that has rows and columns: 'last', 'first', 'both' or 'other'."""

    op: str
    x: str
    weight: str


class Watch(TorchDispatchMode):
    """Sees every op.

    kernels   how often each op ran on the device, but copies to it and from it
    reads     (is it inside a run?, the file and line of the library that asks): how often a value was waited for
    moves     Move: how often
    layouts   Layout: how often
    largest   numbers of the largest tensor on the device
    now, peak bytes of the storages on the device that are alive: now, and at most
    streams   what each of them does, if that is watched
    empty_host_cache  is called to give pinned memory back
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = 0
        self.streams: Streams | None = None
        self.empty_host_cache = mock.Mock()
        self.forget()

    def forget(self) -> None:
        """Begin again: of what was before, only what is alive still counts."""
        self.kernels = Counter[str]()
        self.reads = Counter[tuple[bool, str]]()
        self.moves = Counter[Move]()
        self.layouts = Counter[Layout]()
        self.largest, self.peak = 0, self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = self._run(func, args, kwargs or {})
        if self.streams:
            self.streams.see(func, args, kwargs or {}, made)
        return made

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = str(func.overloadpacket).removeprefix("aten.")
        first = next((a for a in tree_leaves(args) if isinstance(a, Tensor)), None)
        copied = first is not None and self._note_move(name, first, args, kwargs)
        on_device = first is not None and first.device.type == "cuda"
        if on_device and name in READS:
            self.reads[_find_caller()] += 1
        if first is not None and name == "_local_scalar_dense":
            return first.dtype is torch.bool or 0.5
        if first is None or not on_device:
            return self._keep(func(*args, **kwargs))
        if not copied:
            self._note_kernel(func, name, args)
        meanwhile = self._keep(unfold(name, args))
        made = self._keep(compute(func, name, first, args, kwargs))
        del meanwhile
        return made

    def _note_kernel(self, func: Any, name: str, args: Any) -> None:
        if not func.is_view and not name.startswith(NO_KERNEL):
            self.kernels[name] += 1
        if name in LAID_OUT:
            weight = args[1] if len(args) > 1 and isinstance(args[1], Tensor) and args[1].ndim > 3 else None
            self.layouts[Layout(name, name_layout(args[0]), "" if weight is None else name_layout(weight))] += 1

    def _note_move(self, name: str, first: Tensor, args: Any, kwargs: Any) -> bool:
        """Is it a copy between devices? It takes no kernel."""
        if name not in COPIES:
            return False
        to, come = (first, args[1]) if name == "copy_" else (torch.device(kwargs.get("device") or first.device), first)
        ends = [(end.device if isinstance(end, Tensor) else end).type for end in (come, to)]
        if ends[0] == ends[1] or "cuda" not in ends:
            return False
        self.moves[Move(" -> ".join(ends), not is_late(args, kwargs), *_find_caller())] += 1
        return True

    def _keep(self, made: Any) -> Any:
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and one.device.type == "cuda":
                self.largest = max(self.largest, one.numel())
                self._count(one.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._uncount, key).atexit = False

    def _uncount(self, key: int) -> None:
        self.now -= self.alive.pop(key)

    @property
    def waits_inside(self) -> list[str]:
        """Where a run waits for the device: it reads a value, or copies and waits for the copy's end."""
        moves = [move.where for move in self.moves if move.inside and move.blocking]
        return [where for inside, where in self.reads if inside] + moves


def _find_caller() -> tuple[bool, str]:
    """(is it inside a run?, the innermost file and line of the library)"""
    frame: FrameType | None = sys._getframe(1)
    where, inside = "", False
    while frame:
        path = frame.f_code.co_filename
        if LIBRARY in path:
            where = where or f"{path.rpartition(LIBRARY)[2]}:{frame.f_lineno}"
            inside = inside or (f"{LIBRARY}execution/" in path and frame.f_code.co_name in RUNS)
        frame = frame.f_back
    return inside, where


@contextmanager
def fake_cuda(
    free: int = 64 << 30, capability: tuple[int, int] = (9, 0), streams: Streams | None = None
) -> Iterator[Watch]:
    """Within it `device="cuda"` is a device with so many free bytes. Give vae_core real weights or none.

    streams: are told of all that runs, which takes time
    """
    from exact_vae.vae_core import execution, vae

    demand_guard()
    watch = Watch()
    watch.streams = streams
    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        answers = _answer_questions(watch, free, capability) | (streams or Streams()).answer()
        for name, answer in answers.items():
            stack.enter_context(mock.patch(f"torch.cuda.{name}", answer))
        stack.enter_context(mock.patch("torch.accelerator.empty_host_cache", watch.empty_host_cache, create=True))
        # A build for CUDA asks cuDNN how a convolution's output lies. Here `compute` lays it out.
        stack.enter_context(mock.patch("torch._C._select_conv_backend", _choose_nothing))
        stack.enter_context(mock.patch("torch._C._conv_determine_backend_memory_format", _choose_nothing))
        stack.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", _attend))
        stack.enter_context(mock.patch.object(torch.Tensor, "numpy", _make_numbers))
        for module in (vae, execution):  # plans are counted on the meta device, which nobody watches
            for name in ("make_request", "choose_plan", "list_plans"):
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, _call_unwatched(getattr(module, name))))
        stack.enter_context(watch)
        yield watch


def _answer_questions(watch: Watch, free: int, capability: tuple[int, int]) -> dict[str, Any]:
    """What torch.cuda is asked, and what is answered."""

    def forget_peak(*device: Any) -> None:
        watch.peak = watch.now

    def count_now(*device: Any) -> int:
        return watch.now

    def count_most(*device: Any) -> int:
        return watch.peak

    def count_free(*device: Any) -> tuple[int, int]:
        return free - watch.now, free

    known = SimpleNamespace(
        name="a device that is not there",
        major=capability[0],
        minor=capability[1],
        total_memory=free,
        multi_processor_count=1,
    )
    return {
        "mem_get_info": count_free,
        "memory_allocated": count_now,
        "memory_reserved": count_now,
        "max_memory_allocated": count_most,
        "max_memory_reserved": count_most,
        "reset_peak_memory_stats": forget_peak,
        "get_device_capability": mock.Mock(return_value=capability),
        "get_device_name": mock.Mock(return_value=known.name),
        "get_device_properties": mock.Mock(return_value=known),
        "is_bf16_supported": mock.Mock(return_value=capability >= (8, 0)),
        "synchronize": mock.Mock(),
        "Event": _Event,
    }


def _choose_nothing(*args: Any, **kwargs: Any) -> None:
    """Not a Mock, which would keep the tensors that it is called with."""


class _Event:
    """A moment of the host's clock: the device does nothing."""

    def __init__(self, enable_timing: bool = False):
        self.at = 0.0

    def record(self, *stream: Any) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, later: "_Event") -> float:
        return 1000 * (later.at - self.at)


def _attend(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """On CUDA a backend that makes no matrix of scores takes one wide head; a build without it has none such."""
    return torch.empty_like(q)


def _make_numbers(t: Tensor) -> np.ndarray:
    """What is written to a file, or read from one: as many bytes."""
    return np.zeros(t.numel() * t.itemsize, np.uint8)


def _call_unwatched(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)

    return call
