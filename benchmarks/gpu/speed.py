"""How fast is it, and how much memory does it take? Whole calls, at the very shape that is timed, beside diffusers."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch

from gpu.clock import measure, median_ms, time_return
from gpu.flags import set_tf32
from gpu.ours import describe_plan, find_frames_budget
from gpu.peers import (
    CHANNELS_LAST,
    COMPILED,
    EAGER,
    OTHERS,
    SD_CLASS,
    TF32,
    TINY_OTHERS,
    TINY_SD,
    TINY_WAN,
    WAN,
    Model,
    Pair,
    load_pair,
    make_input,
    prepare_ours,
    prepare_peer,
)
from gpu.rows import Row
from gpu.tasks import Setting, Task, explain

OURS = "Exact VAE"
NARROW = 64  # pixels: so little work that the time is Python's own, and the driver's
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
ROWS = (512, 256, 128, 64)
GIB = 2**30


class Pairs:
    """Loads each pair once; the one before is let go first."""

    def __init__(self, setting: Setting):
        self.setting, self.device = setting, setting.device
        self.key: tuple[str, str] | None = None
        self.pair: Pair | None = None

    def load(self, model: Model, dtype: str) -> Pair:
        if self.key != (model.title, dtype):
            self.pair = None
            self.pair = load_pair(model, DTYPES[dtype], self.device)
            self.key = (model.title, dtype)
        assert self.pair is not None
        return self.pair


class Call(NamedTuple):
    """A call that is measured: whose, of which half, on an image of so many pixels on a side.

    how     options of ours
    frames  of a clip; 0: an image
    """

    model: Model
    part: str
    height: int
    dtype: str
    who: str
    how: dict[str, Any]
    width: int | None = None
    frames: int = 0

    @property
    def labels(self) -> Row:
        size = f"{self.width or self.height}x{self.height}" + (f"x{self.frames}" if self.frames else "")
        how = ", ".join(f"{name} {value}" for name, value in self.how.items())
        labels = {"VAE": self.model.title, "part": self.part, "px": size, "dtype": self.dtype, "who": self.who}
        return {**labels, "how": how}


def measure_call(call: Call, pairs: Pairs, **repeats: int) -> Row:
    """See `measure`; and `Python ms`, the same call for a narrow image of the same height.

    Without TF32, unless it is asked for: torch allows it to convolutions, so diffusers would win time by fewer digits.
    """
    with set_tf32(call.who == TF32) if pairs.setting.on_cuda else nullcontext():
        return _measure_call(call, pairs, **repeats)


def _measure_call(call: Call, pairs: Pairs, **repeats: int) -> Row:
    pair = pairs.load(call.model, call.dtype)
    x = make_input(pair.ours, call.part, call.height, call.width, call.frames)
    repeats = {"warm": 0, "runs": 1} if pairs.setting.tiny else repeats
    work = prepare(call, pair, x)
    row = measure(work, pairs.device, **repeats)
    if call.who != OURS:  # which ends by looking at its result, and so returns when all is done
        row["returns ms"] = time_return(work, pairs.device)
    if COMPILED not in call.who and not call.frames:
        narrow = make_input(pair.ours, call.part, call.height, NARROW)
        row["Python ms"] = median_ms(
            prepare(call, pair, narrow), pairs.device, warm=1, runs=1 if pairs.setting.tiny else 3
        )
    if call.who == OURS:
        row |= describe_plan(pair.ours, call.part, tuple(x.shape), **call.how)
    return row


def prepare(call: Call, pair: Pair, x: torch.Tensor) -> Callable[[], Any]:
    if call.who == OURS:
        return prepare_ours(pair, call.part, x, **call.how)
    return prepare_peer(pair, call.part, x, call.who)


def list_end_to_end(setting: Setting) -> Iterator[Task]:
    """SD-class: the sizes and dtypes that matter most come first."""
    pairs = Pairs(setting)
    for call in _list_sd_calls(setting):
        seconds = 2 + 3 * (call.height / 1024) ** 2
        yield Task(call.labels, partial(measure_call, call, pairs), seconds)


def _list_sd_calls(setting: Setting) -> Iterator[Call]:
    model = TINY_SD if setting.tiny else SD_CLASS
    sizes = (64,) if setting.tiny else (1024, 512, 2048)
    ways = _list_ways((16,) if setting.tiny else ROWS)
    for size in sizes:
        for part in ("decode", "encode"):
            yield from (Call(model, part, size, setting.half, who, how) for who, how in ways)
        if size == sizes[0] and setting.on_cuda:
            pairs = [("fp16", EAGER), ("fp16", OURS), ("fp32", EAGER), ("fp32", OURS), ("fp32", TF32)]
            calls = product(pairs, ("decode", "encode"))
            yield from (Call(model, part, size, dtype, who, {}) for (dtype, who), part in calls)


def _list_ways(rows: tuple[int, ...]) -> list[tuple[str, dict[str, Any]]]:
    ours = [(OURS, {}), *((OURS, {"rows": n}) for n in rows)]
    moved = (OURS, {"rows": rows[len(rows) // 2], "keep": "system memory"})
    return [(EAGER, {}), ours[0], (CHANNELS_LAST, {}), *ours[1:], moved]


def list_compiled(setting: Setting) -> Iterator[Task]:
    pairs, model, size = Pairs(setting), (TINY_SD if setting.tiny else SD_CLASS), (64 if setting.tiny else 1024)
    if not setting.on_cuda:
        yield explain({"VAE": model.title, "who": COMPILED}, "it is compiled on CUDA only")
        return
    for who in (COMPILED, f"{COMPILED}, {CHANNELS_LAST}"):
        for part in ("decode", "encode"):
            call = Call(model, part, size, setting.half, who, {})
            yield Task(call.labels, partial(measure_call, call, pairs), 20)


def list_large(setting: Setting) -> Iterator[Task]:
    """Images that others cannot decode whole, in less memory than they have; one of a usual size to compare with."""
    pairs, model = Pairs(setting), (TINY_SD if setting.tiny else SD_CLASS)
    sizes = _TINY_LARGE if setting.tiny else _LARGE
    for size, budget in sizes:
        for part in ("decode", "encode"):
            call = Call(model, part, size, setting.half, OURS, {"budget": budget} if budget else {})
            yield Task(call.labels, partial(_measure_large, call, pairs), 3 + 12 * (size / 4096) ** 2)


_TINY_LARGE = ((32, None), (64, "8MiB"))
_LARGE = ((1024, None), (4096, "24GiB"), (4096, "10GiB"), (8192, "10GiB"))


def _measure_large(call: Call, pairs: Pairs) -> Row:
    row = measure_call(call, pairs, warm=0, runs=1)
    return {**row, "ns for a pixel": 1e6 * row["ms"] / call.height**2}


def list_clips(setting: Setting) -> Iterator[Task]:
    """Wan 2.1: all latent frames at once or a few at a time, as the plan chooses and as it is told; and diffusers."""
    pairs = Pairs(setting)
    model, height, width, frames = (TINY_WAN, 32, 48, 9) if setting.tiny else (WAN, 480, 832, 81)
    for part in ("decode", "encode"):
        call = Call(model, part, height, setting.half, OURS, {}, width, frames)
        repeats = {"warm": 1, "runs": 2}
        yield Task(call.labels, partial(measure_call, call, pairs, **repeats), 12)
        for who in (EAGER, CHANNELS_LAST):
            peer = call._replace(who=who)
            yield Task(peer.labels, partial(measure_call, peer, pairs, **repeats), 12)
        for n in (4, 2, 1, 8):
            labels = {**call.labels, "how": f"latent frames at a time: {n}"}
            yield Task(labels, partial(_measure_frames, call, n, pairs, repeats), 10)


def _measure_frames(call: Call, n: int, pairs: Pairs, repeats: dict[str, int]) -> Row:
    vae = pairs.load(call.model, call.dtype).ours
    shape = tuple(make_input(vae, call.part, call.height, call.width, call.frames).shape)
    budget = find_frames_budget(vae, call.part, shape, n)
    if budget is None:
        return {"skipped": "no plan runs so many frames at a time"}
    return measure_call(call._replace(how={"budget": budget}), pairs, **repeats)


def list_others(setting: Setting) -> Iterator[Task]:
    """Other published VAEs, an image each."""
    pairs, size = Pairs(setting), (64 if setting.tiny else 1024)
    for model in TINY_OTHERS if setting.tiny else OTHERS:
        for part in ("decode", "encode"):
            for who in (EAGER, OURS):
                call = Call(model, part, size, setting.half, who, {})
                yield Task(call.labels, partial(measure_call, call, pairs, warm=1, runs=5), 5)
