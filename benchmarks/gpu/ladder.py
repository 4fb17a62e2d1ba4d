"""A card that is nearly full: is the image still exact, by a smaller plan, or is there a sentence?"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from memory import MIB
from torch import Tensor

from gpu.clock import watch_peaks
from gpu.peers import SD_CLASS, TINY_SD, load_pair, make_input
from gpu.rows import Row
from gpu.speed import DTYPES
from gpu.tasks import Setting, Task, explain
from gpu.truth import compare

LEFT = 2**30  # bytes that are left free
LIE = "1000GiB"  # a budget that the device does not have
FULL = {"1 GiB left": None, f"1 GiB left, a budget of {LIE} given": LIE}


def list_tasks(setting: Setting) -> Iterator[Task]:
    model, size = (TINY_SD, 64) if setting.tiny else (SD_CLASS, 2048)
    vae = load_pair(model, DTYPES[setting.half], setting.device).ours
    x = make_input(vae, "decode", size)
    true = vae.decode(x).cpu()
    labels = {"VAE": model.title, "part": "decode", "px": size}
    budgets = ("8MiB", "2MiB") if setting.tiny else ("4GiB", "2GiB", "1GiB", "512MiB")
    for budget in budgets:
        yield Task({**labels, "memory": f"budget {budget}"}, partial(_decode_within, vae, x, true, budget, setting))
    if not setting.on_cuda:
        yield explain({**labels, "memory": "1 GiB left"}, "only a device with memory of its own is filled")
        return
    for title, budget in FULL.items():
        yield Task({**labels, "memory": title}, partial(_decode_when_full, vae, x, true, budget, setting), 5)


def _decode_when_full(vae: Any, x: Tensor, true: Tensor, budget: str | None, setting: Setting) -> Row:
    torch.cuda.empty_cache()
    filled = max(0, torch.cuda.mem_get_info()[0] - LEFT)
    rest = torch.empty(filled, dtype=torch.uint8, device=setting.device)
    row = _decode_within(vae, x, true, budget, setting)
    del rest
    return row


def _decode_within(vae: Any, x: Tensor, true: Tensor, budget: str | None, setting: Setting) -> Row:
    """The errors of the image that is decoded beside the whole one, or the sentence; and whether all is given back."""
    from exact_vae.vae_core import VAEError

    plans: list[Any] = []
    before = torch.cuda.memory_allocated() if setting.on_cuda else 0
    with watch_peaks(setting.device) as peaks:
        row = _decode(vae, x, true, VAEError, budget=budget, on_plan=plans.append)
    row |= peaks | {"plans": "; then ".join(str(plan) for plan in plans)}
    if setting.on_cuda:
        row["left behind, MiB"] = (torch.cuda.memory_allocated() - before) / MIB
    return row


def _decode(vae: Any, x: Tensor, true: Tensor, sentence: type[Exception], **how: Any) -> Row:
    try:
        return {"image": "exact", **compare(vae.decode(x, **how), true)}
    except sentence as e:
        return {"image": f"none, and a sentence: {e}"}
