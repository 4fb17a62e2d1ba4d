"""benchmarks/gpu_facts.py, which runs unattended and once: what fails in it costs only itself, and no row is lost."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

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
    run = start(tmp_path, "machine", "micro", "compiled")
    said, errors = run.communicate(timeout=300)
    rows = read_rows(tmp_path)
    assert run.returncode == 0, errors
    assert {row["section"] for row in rows} == {"machine", "micro", "compiled"}
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
    """As one does after a fault of the device."""
    rows = run_sections(facts, replace(setting, method="fork"), die, fail_in_the_middle)
    assert [row.get("op") for row in rows] == ["before", None, "before", "fails", "after"]
    assert rows[1]["error"] == "its process ended with SIGKILL"


@needs_fork
def test_a_section_that_hangs_is_ended_in_time(facts, setting):
    """The second has minutes, so that it is done however slow the machine is."""
    began = time.monotonic()
    rows = run_sections(facts, replace(setting, method="fork"), hang, fail_in_the_middle, seconds=200.0, first=0.02)
    assert time.monotonic() - began < 300
    assert rows[1]["error"].startswith("killed") and rows[-1]["op"] == "after"


def test_what_would_end_too_late_is_not_begun(facts, tmp_path):
    setting = facts.Setting(tmp_path, "cpu", False, tmp_path / "truth.safetensors")
    rows = run_sections(facts, setting, fail_in_the_middle, seconds=1.0)
    assert [row["skipped"] for row in rows] == ["no time was left"] * 3


def test_numbers_of_cases_are_the_same_in_every_dtype(facts):
    """So one true result serves all: weights and inputs have 8 bits."""
    from gpu.cases import TINY_CASES, draw_latent, draw_pixels, make_weights

    drawn = [*make_weights(TINY_CASES[0]).values(), draw_latent((1, 4, 8, 8)), draw_pixels(TINY_CASES[0])]
    for dtype in (torch.bfloat16, torch.float16):
        assert all(torch.equal(x, x.to(dtype).float()) for x in drawn)
    assert drawn[-1].abs().max() <= 1


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
        row = tasks[TINY_CASES[0].title, part, "fp32"]
        assert row["twice"] == "same bits" and all(0 < row[way] < 1e-5 for way in ways)
    assert "make it again" in tasks[TINY_CASES[1].title,]["skipped"]


def test_without_diffusers_ours_are_measured_alone(facts, setting, monkeypatch):
    from gpu import peers, speed

    monkeypatch.setattr(peers, "import_diffusers", partial(__import__, "no_such_package"))
    call = speed.Call(peers.TINY_SD, "decode", 32, "fp32", speed.OURS, {})
    pairs = speed.Pairs(setting)
    assert speed.measure_call(call, pairs)["ms"] > 0
    with pytest.raises(ImportError, match="no_such_package"):
        speed.measure_call(call._replace(who=peers.EAGER), pairs)


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
    sections = ("micro", "limits", "compiled")
    options = ("--device", "cuda", "--tiny", "--in-process", "--out", str(tmp_path), "--sections", *sections)
    monkeypatch.setattr(sys, "argv", ["gpu_facts.py", *options])
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    demand_guard()
    with fake_cuda():
        facts.main()
    rows = read_rows(tmp_path)
    assert {row["section"] for row in rows} == set(sections)
    assert not [row for row in rows if "error" in row]
