"""Compiles the pack's kernels before anything is measured, in many processes; Triton keeps them on the disk.

Each would be compiled where it is first used, one after the other, a second each: a minute and more of the time in
which errors and calls are measured.
"""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import nn

from gpu.cases import BUILT_IN, Case, list_cases
from gpu.peers import OTHERS, SD_CLASS, WAN
from gpu.rows import Row
from gpu.tasks import LONGEST_ERROR, Setting, Task, describe, end_with_parent, explain

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp16": torch.float16}
MOST = 12  # processes: each takes half a GiB of the card
START, ALL = 4.0, 90.0  # seconds until processes have the device, and of one of them for all kernels, about

Kernel = tuple[str, int]  # its name, and of how many channels


def list_tasks(setting: Setting) -> Iterator[Task]:
    """Nothing here may start CUDA in this process."""
    if why := find_obstacle(setting):
        yield explain({"what": "kernels"}, why)
        return
    for dtype in DTYPES:
        work = partial(compile_kernels, dtype, setting)
        yield Task({"what": "kernels", "dtype": dtype}, work, START + ALL / count_processes())


def find_obstacle(setting: Setting) -> str:
    """Why there is nothing to compile, or ''."""
    from exact_vae.vae_core.kernels import choose

    if not setting.on_cuda:
        return "kernels run on CUDA only"
    if not setting.method:
        return "all is to be in one process: they are compiled where they are first used"
    return "" if choose.read_kernels() else "there is no Triton: torch's own operations run in place of the kernels"


def compile_kernels(dtype: str, setting: Setting) -> Row:
    """Seconds for all kernels that the cases and models need in this dtype, and how many are right on this device."""
    kernels = list_kernels(setting.tiny)
    processes = count_processes()
    start = time.monotonic()
    context: Any = multiprocessing.get_context(setting.method)
    with ProcessPoolExecutor(processes, context, _prepare_process) as pool:
        found = list(pool.map(partial(_compile, dtype=dtype, device=setting.device), kernels))
    failed = [why for why in found if why]
    seconds = time.monotonic() - start
    row: Row = {"kernels": len(kernels), "right": len(kernels) - len(failed), "processes": processes, "s": seconds}
    return row | ({"not used": "; ".join(dict.fromkeys(failed))[:LONGEST_ERROR]} if failed else {})


def count_processes() -> int:
    return min(MOST, os.cpu_count() or 1)


def _prepare_process() -> None:
    end_with_parent()
    torch.set_num_threads(1)


def _compile(kernel: Kernel, dtype: str, device: str) -> str:
    """By the check before its first use, which compiles what is used. Why it is not used, or ''."""
    from exact_vae.vae_core.kernels import choose

    name, channels = kernel
    said, listener = list[str](), logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    choose.log.addHandler(listener)
    try:
        where = torch.empty(0, device=device).device  # 'cuda:0', as tensors name it
        right = choose.is_right(name, channels, DTYPES[dtype], where)
        return "" if right else " ".join(said) or "none can be"  # why is said once in each process
    except Exception as e:  # no memory is left on the card: they are compiled later, then
        return describe(e)
    finally:
        choose.log.removeHandler(listener)


def list_kernels(tiny: bool) -> list[Kernel]:
    """By the norms of all networks; sums with a bias are of as many channels as what is normalized."""
    models = () if tiny else (SD_CLASS, WAN, *OTHERS)
    grouped, pixels = set[int](), set[int]()
    for case in (*list_cases(tiny), *(model.case for model in models)):
        for module in _build(case).modules():
            if isinstance(module, nn.GroupNorm):
                grouped.add(module.num_channels)
            if isinstance(gamma := getattr(module, "gamma", None), torch.Tensor):
                pixels.add(gamma.numel())
    of_groups = [(name, n) for n in grouped for name in ("find_moments", "normalize", "add_bias")]
    return [*of_groups, *(("normalize_pixels", n) for n in pixels), *(("add_bias", n) for n in pixels - grouped)]


def _build(case: Case) -> nn.Module:
    """Its network without numbers."""
    from exact_vae.vae_core import load
    from exact_vae.vae_core.families import build

    return load().network if case.family == BUILT_IN else build(case.family, case.config)
