import types

import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.execution.plans import budget


@pytest.mark.parametrize(
    ("said", "bytes_"),
    [(1024, 1024), ("1024", 1024), ("2GiB", 2**31), ("500 MB", 500_000_000), ("1.5g", 1_500_000_000), ("3kib", 3072)],
)
def test_amounts(said, bytes_):
    assert budget.parse(said) == bytes_


@pytest.mark.parametrize("said", ["", "much", "-2GiB", "2 GiBs", "0", 0, "nan", None])
def test_no_amounts(said):
    with pytest.raises(BadRequest, match="no amount of memory"):
        budget.parse(said)


def test_free_memory_is_what_the_machine_says():
    import psutil

    assert 0 < budget.free(torch.device("cpu")) <= psutil.virtual_memory().total


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    files = {"max": "1000000", "current": "700000", "stat": "anon 1\ninactive_file 100000\nslab 3\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(budget, "CGROUPS", [tuple(tmp_path / name for name in files)])
    assert budget.free(torch.device("cpu")) == int(400_000 * (1 - budget.MARGIN))
    (tmp_path / "max").write_text("max")
    assert budget.free(torch.device("cpu")) > 1_000_000


GIB = 2**30


def test_free_on_cuda_is_what_the_driver_has_and_torch_can_put_together(monkeypatch):
    asked = {
        "mem_get_info": (10 * GIB, 24 * GIB),
        "memory_reserved": 6 * GIB,
        "memory_allocated": 3 * GIB,
        "memory_stats": {"inactive_split_bytes.all.current": GIB},
    }
    for name, answer in asked.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)
    assert budget.free(torch.device("cuda")) == int(12 * GIB * (1 - budget.MARGIN))


@pytest.mark.parametrize("tells", [True, False])
def test_free_on_xpu(monkeypatch, tells):
    def tell(device):
        if not tells:
            raise RuntimeError("The device doesn't support querying the available free memory.")
        return 8 * GIB, 16 * GIB

    properties = types.SimpleNamespace(total_memory=16 * GIB)
    monkeypatch.setattr(torch.xpu, "mem_get_info", tell, raising=False)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.xpu, "memory_reserved", lambda device: 5 * GIB)
    monkeypatch.setattr(torch.xpu, "memory_allocated", lambda device: 2 * GIB)
    want = 11 * GIB if tells else 14 * GIB
    assert budget.free(torch.device("xpu")) == int(want * (1 - budget.MARGIN))


@pytest.mark.parametrize(("available", "want"), [(40 * GIB, 19 * GIB), (4 * GIB, 5 * GIB)])
def test_free_on_mps_is_of_the_system_s_memory_up_to_metal_s_limit(monkeypatch, available, want):
    for name, answer in {
        "recommended_max_memory": 21,
        "driver_allocated_memory": 3,
        "current_allocated_memory": 2,
    }.items():
        monkeypatch.setattr(torch.mps, name, lambda answer=answer: answer * GIB)
    monkeypatch.setattr(budget, "_read_system", lambda device: available)
    assert budget.free(torch.device("mps")) == int(want * (1 - budget.MARGIN))


def test_a_device_that_nobody_knows_is_given_what_the_system_has(monkeypatch):
    monkeypatch.setattr(budget, "_read_system", lambda device: GIB)
    assert budget.free(torch.device("privateuseone")) == int(GIB * (1 - budget.MARGIN))


def test_amounts_are_told_in_words():
    sizes = (2**31, 320 * 2**20, 10 * 2**20, 600 * 2**10)
    assert [budget.format_bytes(size) for size in sizes] == ["2.0 GiB", "320 MiB", "10 MiB", "0.6 MiB"]
