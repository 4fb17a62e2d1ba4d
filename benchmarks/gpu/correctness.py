"""Is it right? Every family in every dtype and every way of running, against true results in float64."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu.cases import SD, Case, draw_latent, draw_pixels, list_cases, make_weights
from gpu.flags import set_tf32
from gpu.ours import find_frames_budget
from gpu.rows import Row
from gpu.tasks import Setting, Task, describe, explain
from gpu.truth import compare, load_case, name_result, read_truth, run_part

BANDS = (16, 64, 256)  # rows
MIDDLE = BANDS[1]


Around = Callable[[Setting], AbstractContextManager[Any]]


class Precision(NamedTuple):
    """A dtype, and what the caller has set around the call: it must not show in the result."""

    title: str
    dtype: torch.dtype
    around: Around
    only_sd: bool = False


def list_tasks(setting: Setting) -> Iterator[Task]:
    truths, fingerprints = read_truth(setting.truth)
    for case in list_cases(setting.tiny):
        if case.title not in fingerprints:
            yield explain({"VAE": case.title}, "the file of true results has none of this VAE: make it again")
            continue
        weights = make_weights(case)
        if load_case(case, torch.float32, weights=weights).fingerprint != fingerprints[case.title]:
            yield explain({"VAE": case.title}, "the weights drawn here are not those of the true results")
            continue
        yield from _list_tasks_of(case, weights, truths, setting)


def _list_tasks_of(
    case: Case, weights: dict[str, Tensor], truths: dict[str, Tensor], setting: Setting
) -> Iterator[Task]:
    latent = truths[name_result(case, "encode")]
    given = {"decode": draw_latent(tuple(latent.shape)), "encode": draw_pixels(case)}
    for precision in PRECISIONS:
        if precision.only_sd and case.title != SD.title:
            continue
        if case.frames > 1 and precision.dtype.itemsize < 4 and not setting.on_cuda:
            yield explain({"VAE": case.title, "dtype": precision.title}, "takes minutes on a CPU")
            continue
        vae = load_case(case, precision.dtype, setting.device, weights)
        for part, x in given.items():
            true = truths[name_result(case, part)]
            work = partial(compare_ways, vae, part, x, true, case)
            labels = {"VAE": case.title, "part": part, "dtype": precision.title}
            yield Task(labels, partial(_call_within, precision.around, setting, work))


def _call_within(around: Around, setting: Setting, work: Callable[[], Row]) -> Row:
    with around(setting):
        return work()


def compare_ways(vae: Any, part: str, x: Tensor, true: Tensor, case: Case) -> Row:
    """Errors of each way to run, see `compare`; or why it could not."""
    plans: list[str] = []

    def run(**how: Any) -> Tensor:
        return run_part(vae, part, x.to(vae.device), on_plan=lambda plan: plans.append(str(plan)), **how).cpu()

    whole = run(rows=10**6)  # rows of the image at most: all of it
    errors = compare(whole, true)
    row: Row = {"whole": errors["rms"], "largest": errors["largest"]}
    row["twice"] = "same bits" if torch.equal(run(rows=10**6), whole) else "other bits"
    for title, how in _list_ways(vae, part, x, case).items():
        row[title] = _attempt(run, how, true)
    return {**row, "plan": plans[0]}


def _list_ways(vae: Any, part: str, x: Tensor, case: Case) -> dict[str, dict[str, Any]]:
    """All but the whole run."""
    ways: dict[str, dict[str, Any]] = {f"rows {n}": {"rows": n} for n in BANDS if n < case.size[0]}
    ways["system memory"] = {"rows": MIDDLE, "keep": "system memory"}
    ways["disk"] = {"rows": MIDDLE, "keep": "disk"}
    if budget := find_frames_budget(vae, part, tuple(x.shape), 1):
        ways["1 latent frame"] = {"budget": budget}
    return ways


def _attempt(run: Callable[..., Tensor], how: dict[str, Any], true: Tensor) -> float | str:
    try:
        return compare(run(**how), true)["rms"]
    except Exception as e:
        return describe(e)


def _leave_alone(setting: Setting) -> AbstractContextManager[None]:
    return set_tf32(False) if setting.on_cuda else nullcontext()


def _allow_tf32(setting: Setting) -> AbstractContextManager[None]:
    return set_tf32(True) if setting.on_cuda else nullcontext()


def _autocast(setting: Setting) -> AbstractContextManager[Any]:
    return torch.autocast(setting.device.partition(":")[0], torch.bfloat16)


PRECISIONS = (
    Precision("bf16", torch.bfloat16, _leave_alone),
    Precision("fp32", torch.float32, _leave_alone),
    Precision("fp32, TF32 on around", torch.float32, _allow_tf32),
    Precision("fp32, autocast around", torch.float32, _autocast, only_sd=True),
    Precision("fp16", torch.float16, _leave_alone),
)
