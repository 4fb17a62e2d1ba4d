"""benchmarks/gpu_facts.py, which runs unattended and once: what fails in it costs only itself, and no row is lost."""

import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
from support.fake_cuda import demand_guard, fake_cuda

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_facts.py"
needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture
def facts(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_facts

    return gpu_facts


@pytest.fixture
def setting(facts, tmp_path):
    return facts.Setting(tmp_path, "cpu", True, tmp_path / "truth.safetensors")


def read_rows(folder: Path) -> list[dict]:
    path = folder / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def start(folder: Path, *sections: str) -> subprocess.Popen:
    command = [sys.executable, SCRIPT, "--device", "cpu", "--tiny", "--out", folder, "--sections", *sections]
    (folder / "truth.safetensors").touch()  # of sections that read none
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def test_sections_give_rows_and_a_report(tmp_path):
    """Those that take seconds; `--device cpu --tiny` runs all in a minute."""
    run = start(tmp_path, "machine", "compiling", "micro", "compiled")
    said, errors = run.communicate(timeout=300)
    rows = read_rows(tmp_path)
    assert run.returncode == 0, errors
    assert {row["section"] for row in rows} == {"machine", "compiling", "micro", "compiled"}
    assert not [row for row in rows if "error" in row]
    assert {"convolution", "norm", "upsampling", "attention"} <= {row.get("op") for row in rows}
    assert [row["skipped"] for row in rows if row["section"] == "compiled"]
    report = (tmp_path / "report.md").read_text()
    assert "## Single ops" in report and f"{len(rows)} rows, 0 of them errors." in report and said in report


@needs_fork
def test_a_kill_loses_nothing(tmp_path):
    run = start(tmp_path, "micro", "limits")
    end = time.monotonic() + 300
    while len((tmp_path / "rows.jsonl").read_text().splitlines() if (tmp_path / "rows.jsonl").is_file() else []) < 5:
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert len(read_rows(tmp_path)) >= 5  # every line is whole


def test_a_line_that_was_cut_short_is_left_out(facts, tmp_path):
    facts.add_row(tmp_path, "micro", {"ms": 1.5})
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"section": "micro", "ms": 2')
    assert facts.read_rows(tmp_path) == [{"section": "micro", "ms": 1.5}]


def make_task(labels: dict, work: Any) -> Any:
    from gpu.tasks import Task

    return Task(labels, work)


def raise_at_once(setting) -> Iterator:
    raise RuntimeError("no such section")
    yield


def fail_in_the_middle(setting) -> Iterator:
    yield make_task({"op": "before"}, partial(dict, ms=1.0))
    yield make_task({"op": "fails"}, partial(torch.ones(2).view, 3))
    yield make_task({"op": "after"}, partial(dict, ms=2.0))


def die(setting) -> Iterator:
    yield make_task({"op": "before"}, partial(dict, ms=1.0))
    yield make_task({"op": "dies"}, partial(os.kill, os.getpid(), signal.SIGKILL))
    yield make_task({"op": "after"}, partial(dict, ms=2.0))


def die_at_once(setting) -> Iterator:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def hang(setting) -> Iterator:
    yield make_task({"op": "before"}, partial(dict, ms=1.0))
    yield make_task({"op": "hangs"}, partial(time.sleep, 600))


def run_sections(facts: ModuleType, setting, *lists, seconds: float = 600.0, first: float = 1.0) -> list[dict]:
    """first: the share of the first section; that of each other one is 1."""
    shares = (first, *[1.0] * len(lists))
    sections = [
        facts.Section(one.__name__, one.__name__, share, one) for one, share in zip(lists, shares, strict=False)
    ]
    facts.run_sections(sections, setting, seconds)
    return read_rows(setting.out)


def test_what_fails_costs_only_itself(facts, setting):
    rows = run_sections(facts, setting, raise_at_once, fail_in_the_middle)
    assert rows[0] == {"section": "raise_at_once", "error": "RuntimeError: no such section"}
    assert [row.get("ms") for row in rows if row["section"] == "fail_in_the_middle"] == [1.0, None, 2.0]
    assert rows[2]["op"] == "fails" and "error" in rows[2]


@needs_fork
def test_a_process_that_dies_costs_only_itself(facts, setting):
    """As one does after a fault of the device: what comes next has a new one."""
    rows = run_sections(facts, replace(setting, method="fork"), die, die_at_once, fail_in_the_middle)
    assert [row.get("op") for row in rows] == ["before", "dies", "after", None, "before", "fails", "after"]
    assert [row.get("error") for row in rows[:4]] == [None, "its process ended with SIGKILL"] * 2
    assert not (setting.out / "begun.json").exists()


@needs_fork
def test_after_a_fault_of_the_device_another_process_goes_on(facts, setting, monkeypatch):
    """All that a process does after an illegal access fails, too; here it is said of any task that fails."""
    from gpu import tasks

    def tell_process(one) -> Iterator:
        yield make_task({"op": "before"}, lambda: {"process": os.getpid()})
        yield make_task({"op": "fails"}, partial(torch.ones(2).view, 3))
        yield make_task({"op": "after"}, lambda: {"process": os.getpid()})

    monkeypatch.setattr(tasks, "is_poisoned", lambda: True)
    rows = run_sections(facts, replace(setting, method="fork"), tell_process)
    assert [row["op"] for row in rows] == ["before", "fails", "after"] and "error" in rows[1]
    assert rows[0]["process"] != rows[2]["process"]


@needs_fork
def test_a_process_that_is_killed_takes_its_own_along(facts, tmp_path):
    """Else what a section has started would keep the device busy while the next one is measured."""
    from gpu.tasks import isolate

    noted = tmp_path / "process"
    assert isolate("fork", start_another_and_die, noted, seconds=120) == "its process ended with SIGKILL"
    end = time.monotonic() + 60
    while is_running(int(noted.read_text())) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(int(noted.read_text()))


def start_another_and_die(noted: Path) -> None:
    from gpu.tasks import isolate

    threading.Thread(target=die_when_noted, args=(noted,), daemon=True).start()
    isolate("fork", note_process_and_sleep, noted, seconds=600)


def die_when_noted(noted: Path) -> None:
    while not noted.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


def note_process_and_sleep(noted: Path) -> None:
    part = noted.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.replace(noted)
    time.sleep(600)


def is_running(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@needs_fork
def test_a_section_that_hangs_is_ended_in_time(facts, setting):
    """The second has minutes, so that it is done however slow the machine is."""
    began = time.monotonic()
    rows = run_sections(facts, replace(setting, method="fork"), hang, fail_in_the_middle, seconds=200.0, first=0.02)
    assert time.monotonic() - began < 300
    assert rows[1]["error"].startswith("killed") and rows[-1]["op"] == "after"


@needs_fork
def test_a_process_that_cannot_be_killed_is_left_behind(facts, setting, monkeypatch):
    """As one that waits in the driver for good: a row says so, the next section follows, and the script ends."""
    from gpu import tasks

    started = []
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "kill", lambda process: started.append(process))
    monkeypatch.setattr(tasks, "LONGEST_END", 0.1)
    try:
        rows = run_sections(facts, replace(setting, method="fork"), hang, fail_in_the_middle, seconds=200.0, first=0.02)
        assert started and not set(started) & set(multiprocessing.active_children())
    finally:
        for process in started:
            os.kill(process.pid, signal.SIGKILL)
    assert rows[1]["op"] == "hangs" and rows[1]["error"] == tasks.STUCK and rows[-1]["op"] == "after"


def test_what_would_end_too_late_is_not_begun(facts, tmp_path):
    setting = facts.Setting(tmp_path, "cpu", False, tmp_path / "truth.safetensors")
    rows = run_sections(facts, setting, fail_in_the_middle, seconds=1.0)
    assert [row["skipped"] for row in rows] == ["no time was left"] * 3


def test_what_is_missing_is_measured_by_another_call(facts, setting, tmp_path):
    """What was measured is kept, an error too; and what was skipped is no longer told of."""

    def measure(one) -> Iterator:
        yield make_task({"op": "measured"}, partial(dict, ms=1.0))
        yield make_task({"op": "wrong"}, partial(torch.ones(2).view, 3))

    def measure_more(one) -> Iterator:
        yield from measure(one)
        yield make_task({"op": "skipped"}, partial(dict, ms=2.0))
        yield make_task({"op": "killed"}, partial(dict, ms=3.0))

    measure_more.__name__ = "measure"
    run_sections(facts, setting, measure)
    facts.add_row(tmp_path, "measure", {"op": "skipped", "skipped": "no time was left"})
    facts.add_row(tmp_path, "measure", {"op": "killed", "error": "killed: it took longer than its share of the time"})
    first = read_rows(tmp_path)
    rows = run_sections(facts, replace(setting, kept=tuple(facts.read_rows(tmp_path))), measure_more)
    assert rows[:4] == first and [(row["op"], row["ms"]) for row in rows[4:]] == [("skipped", 2.0), ("killed", 3.0)]
    assert [row["op"] for row in facts.drop_made_up_for(rows)] == ["measured", "wrong", "killed", "skipped", "killed"]


def test_another_card_is_the_only_one(facts, monkeypatch):
    """Torch counts time and memory of the first card that it sees, where nobody names another."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [facts.show_one_card(device) for device in ("cpu", "cuda")] == ["cpu", "cuda"]
    assert facts.show_one_card("cuda:1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5e1f")
    assert facts.show_one_card("cuda:1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5e1f"


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


def test_the_pack_is_found_where_it_is_not_installed(facts, tmp_path, monkeypatch):
    """By processes that are started, too; without a link, which Windows refuses to most users."""
    from gpu import surroundings

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "symlink_to", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    surroundings.find_pack()
    code = "import exact_vae.vae_core as core; from exact_vae.vae_core import load; print(core.__file__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert Path(found.stdout.strip()) == ROOT / "vae_core" / "__init__.py", found.stderr


def test_a_wheel_is_unpacked(facts, tmp_path, monkeypatch):
    from gpu.surroundings import unpack_wheels

    with zipfile.ZipFile(tmp_path / "packed_alone-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("packed_alone/__init__.py", "answer = 42")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    unpack_wheels([tmp_path])
    assert __import__("packed_alone").answer == 42
    found = subprocess.run([sys.executable, "-c", "import packed_alone"], capture_output=True)
    assert found.returncode == 0, found.stderr


def test_on_a_device_that_is_not_there(facts, tmp_path, monkeypatch):
    """As far as a device without numbers goes: no section fails for a reason of its own."""
    (tmp_path / "truth.safetensors").touch()
    sections = ("compiling", "micro", "limits", "compiled")
    options = ("--device", "cuda", "--tiny", "--in-process", "--out", str(tmp_path), "--sections", *sections)
    monkeypatch.setattr(sys, "argv", ["gpu_facts.py", *options])
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    demand_guard()
    with fake_cuda():
        facts.main()
    rows = read_rows(tmp_path)
    assert {row["section"] for row in rows} == set(sections)
    assert not [row for row in rows if "error" in row]
