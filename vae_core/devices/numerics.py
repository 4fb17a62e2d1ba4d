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
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import lru_cache, partial, wraps
from itertools import islice
from threading import RLock
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

AUTOCAST = ("cpu", "cuda", "xpu", "mps", "hpu", "xla", "privateuseone")  # devices that have it; it is set by thread
# What `fp32_precision` says if fp32 is meant: the format of the standard; or nothing, here and where it inherits from.
FP32, UNSAID = "ieee", "none"
# Where it is said: for all, for all of a backend, for each kind of op. Who says nothing inherits from those before it.
PLACES = (("generic", "all"), *((backend, "all") for backend in ("cuda", "mkldnn")),
          *((backend, op) for backend in ("cuda", "mkldnn") for op in ("matmul", "conv", "rnn")))  # fmt: skip

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
    tells  the op whose new words are written with it; "": it has no word of its own to put back
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    exact: tuple[Any, ...]
    tells: str = ""


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
    """Returns what was switched, and what it was, in the order in which it is to be switched back.

    To write an old switch writes new words too: those are read before, and written after it. While the new words are
    exact, an old switch that refused to say what it is, because they said something else, can be asked.
    """
    said = {place: word.read() for place, word in _words().items()}
    refused = [(switch, switch.read()) for switch in _old_switches()]
    words = [pair for word in _words().values() for pair in _make_exact(word, word.read())]
    old = [pair for one, was in refused for pair in _make_exact(one, one.read() if was is None else was)]
    others = [pair for switch in (*_sums(), *_on_intel()) for pair in _make_exact(switch, switch.read())]
    return [*others, *old, *_own_words(said, {switch.tells for switch, _ in old}), *words]


def _make_exact(switch: Switch, was: Any) -> list[tuple[Switch, Any]]:
    if was in (*switch.exact, None):
        return []
    switch.write(switch.exact[0])
    return [(switch, was)]


def _own_words(said: Mapping[tuple[str, str], str], ops: Container[str]) -> list[tuple[Switch, str]]:
    """The exact words of these ops, as they were: one that said what its backend said is taken to inherit it."""
    own = {
        (backend, op): FP32 if word == FP32 != said[backend, "all"] else UNSAID
        for (backend, op), word in said.items()
        if op in ops
    }
    return [(_words()[place], word) for place, word in own.items()]


def _switch_back(before: list[tuple[Switch, Any]]) -> None:
    untouched = [(switch, was) for switch, was in before if switch.read() in (*switch.exact, None)]
    for switch, was in untouched:
        switch.write(was)


def list_switches() -> tuple[Switch, ...]:
    """All that this torch has."""
    return (*_old_switches(), *_sums(), *_on_intel(), *_words().values())


@lru_cache(maxsize=1)
def _old_switches() -> tuple[Switch, ...]:
    get, set_ = _hush_first(torch._C._get_cudnn_allow_tf32), _hush_first(torch._C._set_cudnn_allow_tf32)
    ask, tell = _hush_first(torch.get_float32_matmul_precision), _hush_first(torch.set_float32_matmul_precision)
    return (
        Switch(partial(_ask, get), set_, (False,)),
        Switch(partial(_ask, ask), tell, ("highest",), "matmul"),
    )


def _hush_first(call: Callable[..., Any]) -> Callable[..., Any]:
    """Torch 2.9 and 2.10 warn, once for each of these functions, that there are new ones. Not on our account."""
    hushed = False

    def hush(*given: Any) -> Any:
        nonlocal hushed
        if hushed:
            return call(*given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = call(*given)
        hushed = True
        return answer

    return hush


def _ask(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except RuntimeError:
        return None


@lru_cache(maxsize=1)
def _sums() -> list[Switch]:
    """Sums of products in half precision: torch allows them for parts of a sum, and some programs for all of it."""
    cuda = torch.backends.cuda
    of_parts = [f"allow_{dtype}_reduced_precision_reduction" for dtype in ("fp16", "bf16")]
    names = [name for name in (*of_parts, "allow_fp16_accumulation") if hasattr(cuda.matmul, name)]
    attention = Switch(cuda.fp16_bf16_reduction_math_sdp_allowed, cuda.allow_fp16_bf16_reduction_math_sdp, (False,))
    return [attention, *(_attribute(cuda.matmul, name) for name in names)]


def _on_intel() -> list[Switch]:
    """TF32 in what oneDNN computes on Intel's GPUs. Torch that is built without them says None."""
    ask, tell = (getattr(torch._C, f"_{does}_onednn_allow_tf32", None) for does in ("get", "set"))
    return [Switch(ask, tell, (False,))] if ask and tell and ask() is not None else []


def _attribute(holder: Any, name: str) -> Switch:
    """Of newer torch a switch may be two: may parts of a sum be less exact, and may there be parts at all."""
    split = f"{name}_split_k"
    if not hasattr(holder, split):
        return Switch(partial(getattr, holder, name), partial(setattr, holder, name), (False,))

    def read() -> tuple[bool, bool]:
        return getattr(holder, name), getattr(holder, split)

    return Switch(read, partial(setattr, holder, name), ((False, True), (False, False)))


@lru_cache(maxsize=1)
def _words() -> Mapping[tuple[str, str], Switch]:
    """What torch has had since 2.9, by place.

    Written from the first to the last, so that one that is still not exact says so itself, and does not inherit it. By
    torch's own functions: in its modules to set what all of MKL-DNN does sets what all backends do.
    """
    ask, tell = (getattr(torch._C, name, None) for name in ("_get_fp32_precision_getter", "_set_fp32_precision_setter"))
    if not ask or not tell:
        return {}
    return {place: Switch(partial(ask, *place), partial(tell, *place), (FP32, UNSAID)) for place in PLACES}


def pad(x: Tensor, sides: Sequence[int], mode: str) -> Tensor:
    """`F.pad` with numbers of x, not zeros: torch 2.5 has no such pads in fp16 on a CPU."""
    if x.dtype is torch.float16 and x.device.type == "cpu" and torch.__version__ < "2.6":
        return F.pad(x.float(), sides, mode=mode).half()
    return F.pad(x, sides, mode=mode)
