"""What benchmarks/gpu_facts.py measures: the same numbers in every dtype, beside the truth, and beside diffusers."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from support.gpu_facts import needs_fork


def test_numbers_of_cases_are_the_same_in_every_dtype(facts):
    """So one true result serves all: weights and inputs have 8 bits."""
    from gpu.cases import TINY_CASES, draw_latent, draw_pixels, make_weights

    drawn = [*make_weights(TINY_CASES[0]).values(), draw_latent((1, 4, 8, 8)), draw_pixels(TINY_CASES[0])]
    for dtype in (torch.bfloat16, torch.float16):
        assert all(torch.equal(x, x.to(dtype).float()) for x in drawn)
    assert drawn[-1].abs().max() <= 1


@pytest.mark.parametrize("left", [0, 2**60])
def test_weights_are_drawn_once(facts, monkeypatch, left):
    """For every dtype; without the memory to keep them, again. The next case's are drawn ahead."""
    from gpu import cases, drawn

    made = []
    monkeypatch.setattr(drawn, "make_weights", lambda case: made.append(case.title) or cases.make_weights(case))
    monkeypatch.setattr(drawn, "LEFT", left)
    first, second = cases.TINY_CASES
    weights = drawn.Drawn(cases.TINY_CASES)
    for case in (first, second, first, second):
        want = cases.make_weights(case)
        assert all(torch.equal(t, want[name]) for name, t in weights.take(case).items())
    weights.thread.shutdown()
    assert made == [first.title, second.title] * (1 if not left else 2)


@needs_fork
def test_kernels_are_compiled_beforehand(facts, setting, monkeypatch):
    """In processes of their own. Where none can be used the rows say so, and nothing fails."""
    from gpu import compiling

    kernels = compiling.list_kernels(tiny=True)
    assert ("normalize_pixels", 32) in kernels and ("find_moments", 128) in kernels
    row = compiling.compile_kernels("fp32", replace(setting, method="fork"))
    assert row["kernels"] == len(kernels) == len(set(kernels)) and row["right"] == 0
    for task in compiling.list_tasks(setting):
        assert task.work() == {"skipped": "kernels run on CUDA only"}
    monkeypatch.setattr(compiling, "_compile", out_of_memory)
    row = compiling.compile_kernels("fp32", replace(setting, method="fork"))
    assert row["right"] == 0 and row["not used"] == "no memory"


def out_of_memory(kernel, dtype, device) -> str:
    return "no memory"


def test_cases_are_every_family_s(facts):
    """As detection knows them, and with the channels that are left."""
    from exact_vae.vae_core import detect
    from exact_vae.vae_core.families import FAMILIES, build
    from gpu.cases import BUILT_IN, CASES, TINY_CASES

    for case in (*CASES, *TINY_CASES):
        if case.family != BUILT_IN:
            shapes = {name: tuple(t.shape) for name, t in build(case.family, case.config).state_dict().items()}
            found = detect(shapes)
            assert (found.family, found.config) == (case.family, case.config), case.title
    assert {case.family for case in CASES} == {family.name for family in FAMILIES} | {BUILT_IN}


def test_results_are_compared_with_the_truth(facts, setting, monkeypatch):
    """In fp32 every way to run is right to six digits; a file without a case, or of other weights, is named."""
    from gpu import correctness, truth
    from gpu.cases import TINY_CASES

    monkeypatch.setattr(truth, "list_cases", lambda tiny: TINY_CASES[:1])
    monkeypatch.setattr(correctness, "PRECISIONS", [p for p in correctness.PRECISIONS if p.title == "fp32"])
    truth.make_truth(setting.truth, tiny=True)
    tasks = {tuple(task.labels.values()): task.work() for task in correctness.list_tasks(setting)}
    ways = ("whole", "rows 16", "system memory", "disk")
    for part in ("encode", "decode"):
        row = tasks[TINY_CASES[0].title, "fp32", part]
        assert row["twice"] == "same bits" and all(0 < row[way] < 1e-5 for way in ways)
    assert "make it again" in tasks[TINY_CASES[1].title,]["skipped"]


def test_a_vae_that_cannot_be_loaded_costs_only_itself(facts, setting, monkeypatch):
    from gpu import correctness, truth
    from gpu.cases import TINY_CASES

    monkeypatch.setattr(correctness, "PRECISIONS", [p for p in correctness.PRECISIONS if p.title == "fp32"])
    tensors = {f"{case.title}/{part}": torch.zeros(1, 4, 4, 4) for case in TINY_CASES for part in ("encode", "decode")}
    truth._write(setting.truth, tensors, {case.title: "of others" for case in TINY_CASES})
    tasks = list(correctness.list_tasks(setting))
    assert {task.labels["VAE"] for task in tasks} == {case.title for case in TINY_CASES}
    for task in tasks[:2]:
        with pytest.raises(ValueError, match="not those of the true results"):
            task.work()


def test_without_diffusers_ours_are_measured_alone(facts, setting, monkeypatch):
    from gpu import peers, speed

    monkeypatch.setattr(peers, "import_diffusers", partial(__import__, "no_such_package"))
    call = speed.Call(peers.TINY_SD, "decode", 32, "fp32", speed.OURS, {})
    pairs = speed.Pairs(setting)
    assert speed.measure_call(call, pairs)["ms"] > 0
    with pytest.raises(ImportError, match="no_such_package"):
        speed.measure_call(call._replace(who=peers.EAGER), pairs)


def test_in_fp32_diffusers_computes_with_as_many_digits_as_ours(facts, setting, monkeypatch):
    """Torch allows TF32 to convolutions; a row of its own says what that brings, and none is compared with it."""
    from gpu import speed, summary

    on_card = replace(setting, device="cuda", tiny=False)
    seen = []
    monkeypatch.setattr(speed, "_measure_call", lambda call, pairs: seen.append(torch.backends.cudnn.allow_tf32) or {})
    calls = [call for call in speed._list_sd_calls(on_card) if call.dtype == "fp32"]
    for call in calls:
        speed.measure_call(call, speed.Pairs(on_card))
    assert [(call.who, tf32) for call, tf32 in zip(calls[::2], seen[::2], strict=True)] == [
        (speed.EAGER, False), (speed.OURS, False), (speed.TF32, True)
    ]  # fmt: skip
    times = {speed.EAGER: 3.0, speed.OURS: 2.0, speed.TF32: 1.0}
    rows = [{**call.labels, "ms": times[call.who], "allocated": 1.0} for call in calls]
    assert all("0.67 of diffusers' 3.0 ms" in line for line in summary.compare_with_diffusers(rows))
