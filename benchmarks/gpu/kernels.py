"""Which kernels take the time? The longest ones of a call, by torch's profiler."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from gpu.clock import synchronize, time_once
from gpu.peers import EAGER, SD_CLASS, TINY_SD, make_input
from gpu.rows import Row
from gpu.speed import OURS, Call, Pairs, prepare
from gpu.tasks import Setting, Task

TOP = 15
LONGEST_NAME = 100  # characters
WAYS = ((OURS, {}), (EAGER, {}), (OURS, {"rows": 128}))


def list_tasks(setting: Setting) -> Iterator[Task]:
    pairs, model, size = Pairs(setting), (TINY_SD if setting.tiny else SD_CLASS), (64 if setting.tiny else 1024)
    for part in ("decode", "encode"):
        for who, how in WAYS:
            call = Call(model, part, size, setting.half, who, how)
            yield Task(call.labels, partial(_profile_call, call, pairs), 4)


def _profile_call(call: Call, pairs: Pairs) -> list[Row]:
    pair = pairs.load(call.model, call.dtype)
    work = prepare(call, pair, make_input(pair.ours, call.part, call.height))
    for _ in range(2):
        work()
    plain = time_once(work, pairs.device)
    found = sorted(profile(work, pairs.device), key=lambda row: -row["ms"])
    total = {"kernel": "all", "calls": sum(row["calls"] for row in found), "ms": sum(row["ms"] for row in found)}
    return [{**total, "call, ms": plain}, *found[:TOP]]


def profile(work: Callable[[], Any], device: str) -> list[Row]:
    """Every kernel of the device, on a CPU every op: how often, and milliseconds in all."""
    kinds = torch.profiler.ProfilerActivity
    on_cuda = device.startswith("cuda")
    with torch.profiler.profile(activities=[kinds.CUDA] if on_cuda else [kinds.CPU]) as profiler:
        work()
        synchronize(device)
    rows = (_describe(event, on_cuda) for event in profiler.key_averages())
    return [row for row in rows if row["ms"]]  # on CUDA, not the calls that start them


def _describe(event: Any, on_cuda: bool) -> Row:
    microseconds = event.self_device_time_total if on_cuda else event.self_cpu_time_total
    return {"kernel": event.key[:LONGEST_NAME], "calls": event.count, "ms": microseconds / 1000}
