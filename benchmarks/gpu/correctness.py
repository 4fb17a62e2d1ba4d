"""Is it right? Every family in every dtype and every way of running, against true results in float64."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpu.cases import SD, TINY_CASES, Case, draw_latent, draw_pixels, list_cases
from gpu.drawn import Drawn
from gpu.flags import set_tf32
from gpu.ours import find_frames_budget
from gpu.rows import Row
from gpu.tasks import Setting, Task, describe, explain
from gpu.truth import compare, load_case, name_result, read_truth, run_part

BANDS = (16, 64, 256)  # rows
MIDDLE = BANDS[1]

Around = Callable[[Setting], AbstractContextManager[Any]]


class Precision(NamedTuple):
    """A dtype, and what the caller has set around the call: it must not show in the result.

    only  titles of the cases that are enough to see it; none: all
    """

    title: str
    dtype: torch.dtype
    around: Around
    only: tuple[str, ...] = ()


class Loaded:
    """Takes the weights of a case, and makes its VAE, when a task needs them; the one before is let go first."""

    def __init__(self, setting: Setting, fingerprints: Mapping[str, str]):
        self.setting, self.fingerprints = setting, fingerprints
        self.drawn = Drawn(list_cases(setting.tiny))
        self.title, self.weights = "", dict[str, Tensor]()
        self.right: dict[str, bool] = {}  # by the titles of cases: are their weights those of the true results?
        self.dtype: torch.dtype | None = None
        self.vae: Any = None

    def load(self, case: Case, dtype: torch.dtype) -> Any:
        """Raises ValueError if the weights drawn here are not those of the true results."""
        if self.title != case.title:
            self.vae, self.dtype, self.title, self.weights = None, None, case.title, self.drawn.take(case)
        if not self._are_right(case):
            raise ValueError("the weights drawn here are not those of the true results")
        if self.dtype is not dtype:
            self.vae, self.dtype = None, None
            self.vae = load_case(case, dtype, self.setting.device, self.weights)
            self.dtype = dtype
        return self.vae

    def _are_right(self, case: Case) -> bool:
        if case.title not in self.right:
            drawn = load_case(case, torch.float32, weights=self.weights).fingerprint
            self.right[case.title] = drawn == self.fingerprints[case.title]
        return self.right[case.title]


def list_tasks(setting: Setting) -> Iterator[Task]:
    """Every family in bf16 and fp32 first: if time runs out, none is without."""
    truths, fingerprints = read_truth(setting.truth)
    loaded = Loaded(setting, fingerprints)
    for precisions in (PRECISIONS[:FIRST], PRECISIONS[FIRST:]):
        for case in list_cases(setting.tiny):
            if case.title not in fingerprints:
                yield explain({"VAE": case.title}, "the file of true results has none of this VAE: make it again")
                continue
            for precision in precisions:
                if not precision.only or case.title in precision.only:
                    yield from _list_tasks_of(case, precision, truths, loaded)


def _list_tasks_of(case: Case, precision: Precision, truths: dict[str, Tensor], loaded: Loaded) -> Iterator[Task]:
    labels = {"VAE": case.title, "dtype": precision.title}
    if case.frames > 1 and precision.dtype.itemsize < 4 and not loaded.setting.on_cuda:
        yield explain(labels, "takes minutes on a CPU")
        return
    latent = truths[name_result(case, "encode")]
    for part in ("decode", "encode"):
        draw = partial(draw_latent, tuple(latent.shape)) if part == "decode" else partial(draw_pixels, case)
        work = partial(_compare_case, case, precision, part, draw, truths[name_result(case, part)], loaded)
        yield Task({**labels, "part": part}, work)


def _compare_case(
    case: Case, precision: Precision, part: str, draw: Callable[[], Tensor], true: Tensor, loaded: Loaded
) -> Row:
    vae = loaded.load(case, precision.dtype)
    with precision.around(loaded.setting):
        return compare_ways(vae, part, draw(), true, case)


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


FLAGGED = (SD.title, TINY_CASES[1].title)  # an image and a clip: flags are set around a call, whoever's it is
PRECISIONS = (
    Precision("bf16", torch.bfloat16, _leave_alone),
    Precision("fp32", torch.float32, _leave_alone),
    Precision("fp16", torch.float16, _leave_alone),
    Precision("fp32, TF32 on around", torch.float32, _allow_tf32, FLAGGED),
    Precision("fp32, autocast around", torch.float32, _autocast, FLAGGED),
)
FIRST = 2
