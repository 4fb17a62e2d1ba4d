"""Verdicts: which way around follows, how they are kept, and that nothing is looked for unless the Doctor was asked."""

import json
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import VAE, BadRequest, Half, RunOptions, from_weights, verdicts
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.verdicts import Detour, Finding, Machine, Verdict, Way, kept, machine
from exact_vae.vae_core.verdicts.verdict import from_json
from support.random_networks import random_weights, small_kl

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 1), torch.device("mps")
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16
RIGHT, WRONG, UNTOLD = True, False, None


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(verdicts.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "verdicts"


@pytest.fixture
def vae() -> VAE:
    return from_weights(random_weights("kl", small_kl()), "small.safetensors")


def of_encoder(**found: tuple[bool | None, float]) -> Verdict:
    """fp32=(right, seconds), of the encoder of a VAE on some machine."""
    findings = {dtype: {"encode": Finding(right, seconds, "12 dB")} for dtype, (right, seconds) in found.items()}
    return Verdict(Machine("GPU", "1.2", "2.13", "0.1.0"), "0" * 16, "ae.safetensors", findings, "All of it.")


def on_this_machine(vae: VAE, right: bool) -> Verdict:
    """On fp32 in both halves of this VAE."""
    halves = {half.verb: Finding(right, 0.1, "" if right else "6.6 dB") for half in Half}
    here = verdicts.describe_machine(vae.device)
    return Verdict(here, vae.fingerprint, vae.name, {"fp32": halves}, "A sentence.")


@pytest.mark.parametrize(
    ("device", "dtype", "found", "want"),
    [
        (CUDA, BF16, {"bf16": (RIGHT, 1), "fp32": (WRONG, 1)}, None),
        (CUDA, BF16, {"bf16": (WRONG, 1), "fp16": (RIGHT, 3), "fp32": (RIGHT, 2)}, (CUDA, F32)),
        (CUDA, BF16, {"bf16": (WRONG, 1), "fp16": (RIGHT, 3), "fp32": (RIGHT, 4)}, (CUDA, F16)),
        (CUDA, F16, {"bf16": (RIGHT, 1), "fp16": (WRONG, 1), "fp32": (RIGHT, 9)}, (CUDA, F32)),
        (MPS, F32, {"bf16": (RIGHT, 1), "fp16": (RIGHT, 1), "fp32": (WRONG, 1)}, (CPU, F32)),
        (MPS, BF16, {"bf16": (WRONG, 1), "fp16": (WRONG, 1), "fp32": (WRONG, 1)}, (CPU, F32)),
        (CPU, BF16, {"bf16": (WRONG, 1), "fp32": (RIGHT, 1)}, (CPU, F32)),
        (CPU, F32, {"fp32": (WRONG, 1)}, (CPU, F64)),
        (CUDA, F32, {"fp32": (UNTOLD, 1)}, None),
        (CUDA, F64, {"fp32": (WRONG, 1)}, None),
        (CUDA, BF16, {"fp32": (WRONG, 1)}, None),
    ],
)
def test_the_way_around(device, dtype, found, want):
    """Never to fewer digits; on the device if it can be; the fastest of several."""
    assert of_encoder(**found).find_way_around(Half.ENCODER, Way(device, dtype)) == want
    assert of_encoder(**found).find_way_around(Half.DECODER, Way(device, dtype)) is None


def test_a_verdict_survives_its_file(cache):
    verdict = of_encoder(fp32=(RIGHT, 1.5), bf16=(WRONG, 0.5), fp16=(UNTOLD, 0.1))
    path = verdicts.keep(verdict)
    assert path == cache / "GPU-0000000000000000.json"
    assert kept.read(path) == verdict and list(verdicts.read_all()) == [verdict]
    again = replace(verdict, sentence="Another.")
    assert verdicts.keep(again) == path and kept.read(path) == again
    assert os.listdir(cache) == [path.name]
    assert verdict.faults == ["bf16 encode"]


def test_what_is_kept_holds_for_another_vae_of_the_same_weights(cache, vae, caplog):
    verdicts.keep(on_this_machine(vae, right=False))
    other = from_weights(random_weights("kl", small_kl()), "small.safetensors")
    image = torch.zeros(1, 3, 16, 16)
    in_fp64 = verdicts.copy_to(other, CPU, F64)
    assert torch.equal(other.encode(image).mode(), in_fp64.encode(image).mode())
    message = caplog.records[0].message
    assert message.startswith("'small.safetensors': the Doctor found fp32 encode wrong on ")
    assert message.endswith(" (6.6 dB), so it runs in fp64.")
    assert other.dtype is F32  # it is as it was


def test_a_right_device_is_left_alone(cache, vae, caplog):
    verdicts.keep(on_this_machine(vae, right=True))
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(vae.encode(image).mode(), verdicts.copy_to(vae, CPU, F32).encode(image).mode())
    assert not caplog.records


def test_nothing_is_read_unless_the_doctor_was_asked(cache, vae, monkeypatch):
    """No file and no weights, and once for each VAE whether there is a verdict; also if it is of another device."""
    looked = []
    monkeypatch.setattr(kept, "read", lambda path: pytest.fail(f"{path} is read"))
    monkeypatch.setattr("exact_vae.vae_core.vae.digest_weights", lambda network: pytest.fail("weights are read"))
    monkeypatch.setattr(kept, "folder", lambda: looked.append(1) or cache)
    for _ in range(3):
        vae.decode(vae.encode(torch.zeros(1, 3, 16, 16)).mode())
    assert len(looked) == 1
    cache.mkdir(parents=True)
    (cache / "Some_GPU-0123456789abcdef.json").write_text("{}")
    from_weights(random_weights("kl", small_kl())).encode(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        '{"format": 99}',
        "[" * 100_000,
        '{"format": 1, "findings": {"fp32": 3}}',
        "\x00",
    ],
    ids=range(9),
)
def test_a_broken_file_is_passed_over_with_a_sentence(cache, vae, caplog, text):
    path = verdicts.keep(on_this_machine(vae, right=False))
    path.write_text(text)
    vae.encode(torch.zeros(1, 3, 16, 16))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(f"The Doctor's verdict '{path.name}' is passed over, because it is no verdict of")


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (("sentence",), 3), (("vae",), None), (("driver",), []), (("findings", "fp32", "encode", "right"), "yes"),
        (("findings", "fp32", "encode", "seconds"), "1"), (("findings", "fp32", "paint"), {}), (("findings",), []),
    ],
)  # fmt: skip
def test_a_foreign_file_is_no_verdict(where, what):
    facts = json.loads(json.dumps(of_encoder(fp32=(RIGHT, 1)).to_json()))
    at = facts
    for name in where[:-1]:
        at = at[name]
    at[where[-1]] = what
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError, BadRequest)):
        from_json(facts)


@pytest.mark.parametrize("field", ["driver", "torch", "pack"])
@pytest.mark.parametrize("right", [True, False])
def test_a_verdict_of_other_versions_does_not_hold(cache, vae, caplog, field, right):
    verdict = on_this_machine(vae, right)
    verdicts.keep(replace(verdict, machine=verdict.machine._replace(**{field: "0.9"})))
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(vae.encode(image).mode(), verdicts.copy_to(vae, CPU, F32).encode(image).mode())
    said = [record.message for record in caplog.records]
    assert bool(said) is not right  # there was nothing to go around
    assert all(f"is out of date ({field} 0.9 is now" in one and "run the Doctor again" in one for one in said)


def test_a_folder_that_cannot_be_read(cache, vae):
    cache.parent.mkdir()
    cache.write_text("no folder")
    vae.encode(torch.zeros(1, 3, 16, 16))
    assert list(verdicts.read_all()) == []


def test_a_cache_that_cannot_be_written_is_a_sentence(cache, vae):
    cache.parent.mkdir()
    cache.write_text("no folder")
    told = verdicts.keep_and_tell(on_this_machine(vae, right=True))
    assert told.startswith("The verdict is not kept: '") and "cannot be written" in told
    assert stat.S_ISREG(cache.stat().st_mode)


def test_it_says_where_it_is_kept(vae, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(verdicts.VARIABLE, str(tmp_path / "cache"))
    told = verdicts.keep_and_tell(on_this_machine(vae, right=False))
    assert told.startswith("From now on runs go around what is wrong; the verdict is kept in '~") and "json'" in told
    assert str(tmp_path) not in told
    assert verdicts.find(vae) == on_this_machine(vae, right=False)
    verdicts.forget(on_this_machine(vae, right=False))
    verdicts.forget(on_this_machine(vae, right=False))  # there is none any more
    assert verdicts.find(vae) is None


@pytest.mark.parametrize(
    ("system", "variables", "want"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c/exact-vae/verdicts"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "~/.cache/exact-vae/verdicts"),
        ("linux", {}, "~/.cache/exact-vae/verdicts"),
        ("darwin", {"XDG_CACHE_HOME": "/c"}, "~/Library/Caches/exact-vae/verdicts"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/exact-vae/verdicts"),
        ("win32", {}, "~/AppData/Local/exact-vae/verdicts"),
        ("linux", {"EXACT_VAE_CACHE": "/mine", "XDG_CACHE_HOME": "/c"}, "/mine/verdicts"),
    ],
)
def test_the_folder(monkeypatch, tmp_path, system, variables, want):
    monkeypatch.setattr(kept.sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", verdicts.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert verdicts.folder() == Path(want.replace("~", str(tmp_path)))


def test_without_a_home_there_is_no_cache(monkeypatch, vae):
    def no_home() -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", verdicts.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert verdicts.find(vae) is None and list(verdicts.read_all()) == []
    assert "name a folder in EXACT_VAE_CACHE" in verdicts.keep_and_tell(on_this_machine(vae, right=True))


def test_a_copy_shares_what_it_can(vae):
    same, other = verdicts.copy_to(vae, CPU, F32), verdicts.copy_to(vae, CPU, BF16)
    weights, shared, cast = (one.network.state_dict() for one in (vae, same, other))
    assert all(shared[name].data_ptr() == t.data_ptr() for name, t in weights.items())
    assert all(cast[name].dtype is BF16 for name in weights) and vae.dtype is F32
    assert (other.family, other.config, other.name) == (vae.family, vae.config, vae.name)


def test_on_another_device_a_budget_is_another():
    plans = []
    options = RunOptions(budget="1GiB", rows=64, on_plan=plans.append)
    there, here = (Detour(vae=None, sentence="why", elsewhere=where).adapt(options) for where in (True, False))
    assert (there.budget, there.rows) == (None, 64) and here.budget == "1GiB"


def test_a_detour_tells_why_beside_whatever_plan():
    told = []
    tell = Detour(vae=None, sentence="why", elsewhere=True).adapt(RunOptions(on_plan=told.append)).on_plan
    tell(Plan(1, 0, "device", (), 2**20, 0, 1.0, (3, 8, 8)))
    tell("whole, with gradients")
    assert [str(told[0]), told[1]] == ["whole; at most 1.0 MiB; why", "whole, with gradients; why"]


class TestMachine:
    def test_this_one(self):
        found = verdicts.describe_machine(CPU)
        assert found.device and found.driver == torch.backends.cpu.get_cpu_capability()
        assert found.torch == torch.__version__ and found.pack

    def test_a_device_that_is_not_there(self):
        assert (verdicts.name_device(CUDA), verdicts.find_driver(torch.device("xpu"))) == ("cuda", "")

    def test_nvidia_s_driver(self, monkeypatch):
        class NVML:
            nvmlInit_v2 = nvmlShutdown = staticmethod(lambda: 0)

            @staticmethod
            def nvmlSystemGetDriverVersion(text, size):
                text.value = b"550.54.15"
                return 0

        monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: NVML)
        assert machine.read_nvidia_driver.__wrapped__() == "550.54.15"

    def test_without_nvidia_s_driver(self, monkeypatch):
        monkeypatch.setattr(machine, "NVML", "no-such-library.so")
        assert machine.read_nvidia_driver.__wrapped__() == ""

    def test_a_processor_without_a_name(self, monkeypatch, tmp_path):
        monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "none")
        assert machine.name_processor.__wrapped__()
