"""benchmarks/gpu_facts.py, which runs unattended and once: what fails in it costs only itself, and no row is lost."""

import importlib.util
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
from typing import Any

import psutil
import torch
from support.fake_cuda import demand_guard, fake_cuda
from support.gpu_facts import SCRIPT, needs_fork, read_rows, run_sections


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
    assert Path(found.stdout.strip()) == SCRIPT.parents[1] / "vae_core" / "__init__.py", found.stderr


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
