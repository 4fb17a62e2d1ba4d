"""The same numbers, whatever the process is set to: no autocast, no other default device, no TF32.

A program that calls this library may have set torch up for its own model: `torch.autocast` around everything, TF32
allowed, a default device. Public functions that compute run under `pin_numerics`, so fp32 means fp32, and bf16 means
bf16 with sums in fp32. Afterwards everything is as it was.

Left alone, because they choose among kernels that are all right and differ in the last digits only: `enabled`,
`benchmark` and `deterministic` of cuDNN and MKL-DNN, deterministic algorithms, kernels of attention, the number of
threads. So is the grad mode: runs record gradients only if `grad=True` asks for them; a Posterior, `convert` and
`preview` do if it is on.
"""

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache, partial, wraps
from itertools import islice
from threading import RLock
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch

AUTOCAST = ("cpu", "cuda", "xpu", "mps", "hpu", "xla", "privateuseone")  # devices that have it; it is set by thread
# What `fp32_precision` says if fp32 is meant: the format of the standard; or nothing, here and where it inherits from.
FP32, UNSAID = "ieee", "none"

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def pin_numerics() -> Iterator[None]:
    """While this is entered torch computes as the library means it. Also a decorator, but not for generators."""
    with ExitStack() as stack:
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_PROCESS.hold_exact())
        yield


def pin_each(items: Generator[T, None, None]) -> Iterator[T]:
    """The same items, each made under `pin_numerics`. While the caller has one, all is as the caller has set it."""
    return _make_each(items, pin_numerics)


def without_grad(make: Callable[P, Generator[T, None, None]]) -> Callable[P, Generator[T, None, None]]:
    """A decorator of functions that give items one by one: each is made under `torch.no_grad`.

    As a decorator of such functions, torch's own keeps the last item alive while it makes the next one.
    """

    @wraps(make)
    def call(*args: P.args, **keywords: P.kwargs) -> Generator[T, None, None]:
        return _make_each(make(*args, **keywords), torch.no_grad)

    return call


def _make_each(
    items: Generator[T, None, None], under: Callable[[], AbstractContextManager[Any]]
) -> Generator[T, None, None]:
    try:
        while made := _make_one(items, under):
            yield made.pop()
    finally:
        with under():
            items.close()


def _make_one(items: Iterator[T], under: Callable[[], AbstractContextManager[Any]]) -> list[T]:
    with under():
        return list(islice(items, 1))


class Switch(NamedTuple):
    """A setting of the whole process by which torch may compute in fewer digits.

    read   what it is; None if torch refuses to say, because its old and its new words for it are mixed
    exact  what it is if no digits are left out; the first is what is written
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    exact: tuple[Any, ...]


class _Process:
    """Sets all switches to exact while anybody computes. They are those of all threads, so all threads are counted.

    What another thread has switched meanwhile is left as it wants it.
    """

    def __init__(self) -> None:
        self.lock, self.users = RLock(), 0  # also entered by a generator that is collected meanwhile
        self.before: list[tuple[Switch, Any]] = []

    @contextmanager
    def hold_exact(self) -> Iterator[None]:
        with self.lock:
            self.before = self.before if self.users else _switch_to_exact()
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    _switch_back(self.before)


_PROCESS = _Process()  # the only state that a module keeps: what it counts for is the process's, too


def _switch_to_exact() -> list[tuple[Switch, Any]]:
    """Returns what all switches were."""
    before = [(switch, switch.read()) for switch in list_switches()]
    for switch, was in before:
        if was not in (*switch.exact, None):
            switch.write(switch.exact[0])
    return before


def _switch_back(before: list[tuple[Switch, Any]]) -> None:
    untouched = [(switch, was) for switch, was in before if was is not None and switch.read() in (*switch.exact, None)]
    for switch, was in untouched:
        if switch.read() != was:  # to write one may have changed another
            switch.write(was)


@lru_cache(maxsize=1)
def list_switches() -> tuple[Switch, ...]:
    """All that this torch has. The old ones come first, because they write what the new ones read."""
    return (*_old_switches(), *_sums(), *_fp32_precisions())


def _old_switches() -> list[Switch]:
    switches = [
        Switch(partial(_ask, torch._C._get_cudnn_allow_tf32), torch._C._set_cudnn_allow_tf32, (False,)),
        Switch(partial(_ask, torch.get_float32_matmul_precision), torch.set_float32_matmul_precision, ("highest",)),
    ]
    # Torch 2.9 and 2.10 warn, once for each of these functions, that there are new ones. Not on our account.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for switch in switches:
            before = switch.read()
            if before is not None:
                switch.write(before)
    return switches


def _ask(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except RuntimeError:
        return None


def _sums() -> list[Switch]:
    """Sums of products in half precision: torch allows them for parts of a sum, and some programs for all of it."""
    cuda = torch.backends.cuda
    of_parts = [f"allow_{dtype}_reduced_precision_reduction" for dtype in ("fp16", "bf16")]
    names = [name for name in (*of_parts, "allow_fp16_accumulation") if hasattr(cuda.matmul, name)]
    attention = Switch(cuda.fp16_bf16_reduction_math_sdp_allowed, cuda.allow_fp16_bf16_reduction_math_sdp, (False,))
    return [attention, *(_attribute(cuda.matmul, name) for name in names)]


def _attribute(holder: Any, name: str) -> Switch:
    """Of newer torch a switch may be two: may parts of a sum be less exact, and may there be parts at all."""
    split = f"{name}_split_k"
    if not hasattr(holder, split):
        return Switch(partial(getattr, holder, name), partial(setattr, holder, name), (False,))

    def read() -> tuple[bool, bool]:
        return getattr(holder, name), getattr(holder, split)

    return Switch(read, partial(setattr, holder, name), ((False, True), (False, False)))


def _fp32_precisions() -> list[Switch]:
    """What torch has had since 2.9: a word for each kind of op, or for all of a backend, or for all."""
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    if not hasattr(cuda.matmul, "fp32_precision"):
        return []
    on_cuda = [_fp32_precision(op, cudnn) for op in (cuda.matmul, cudnn.conv, cudnn.rnn)]
    return on_cuda + [_fp32_precision(op, mkldnn) for op in (mkldnn.matmul, mkldnn.conv, mkldnn.rnn)]


def _fp32_precision(op: Any, backend: Any) -> Switch:
    """An op that says what its backend says is taken to inherit it."""

    def write(word: str) -> None:
        op.fp32_precision = UNSAID if word == backend.fp32_precision else word

    return Switch(partial(getattr, op, "fp32_precision"), write, (FP32, UNSAID))
