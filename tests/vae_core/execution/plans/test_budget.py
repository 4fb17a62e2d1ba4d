import types

import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.execution.options import RunOptions
from exact_vae.vae_core.execution.plans import budget
from exact_vae.vae_core.execution.plans.choose import FreeElsewhere, choose_plans, list_plans, make_request
from exact_vae.vae_core.families import Half
from support.small_networks import small


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


CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def on_cuda(monkeypatch):
    """A card of 24 GiB: torch holds 6, of which 3 are in use and 1 lies between those."""
    asked = {
        "mem_get_info": (10 * GIB, 24 * GIB),
        "memory_reserved": 6 * GIB,
        "memory_allocated": 3 * GIB,
        "memory_stats": {"inactive_split_bytes.all.current": GIB},
        "get_device_properties": types.SimpleNamespace(),  # older torch does not say is_integrated
    }
    for name, answer in asked.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)
    return monkeypatch


@pytest.fixture
def on_shared(on_cuda):
    """A chip with one memory for its CPU and its GPU: 90 GiB are free, most of them hold files until then."""
    on_cuda.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(is_integrated=1))
    on_cuda.setattr(budget, "_read_system", lambda device: 90 * GIB)
    on_cuda.setattr(torch.version, "hip", None)
    return on_cuda


def test_free_on_cuda_is_what_the_driver_has_and_torch_can_put_together(on_cuda):
    assert budget.free(CUDA) == int(12 * GIB * (1 - budget.MARGIN))


def test_an_allocator_that_tells_nothing_of_what_it_holds(on_cuda):
    """As those that a program plugs in."""

    def refuse(device):
        raise RuntimeError("CUDAPluggableAllocator does not yet support getDeviceStats.")

    for name in ("memory_stats", "memory_reserved", "memory_allocated"):
        on_cuda.setattr(torch.cuda, name, refuse)
    assert budget.free(CUDA) == int(10 * GIB * (1 - budget.MARGIN))


def test_free_on_a_gpu_that_shares_the_system_s_memory(on_shared):
    assert budget.free(CUDA) == int(92 * GIB * (1 - budget.MARGIN))


def test_there_is_no_system_memory_beside_one_that_is_shared(on_shared):
    """So bands are kept on the device, also if it was asked that they are kept there."""
    vae = small("kl", torch.float32)
    request = make_request("kl", vae.config, Half.DECODER, (1, 4, 32, 32), torch.float32)
    assert list(FreeElsewhere(CUDA)) == ["disk"]
    assert {plan.keep for plan in list_plans(request, CUDA)} == {"device", "disk"}
    options = RunOptions(rows=16, keep="system memory", budget="1GiB")
    assert {plan.keep for plan in choose_plans(request, CUDA, options, what="decoding")} == {"device"}
    on_shared.setattr(torch.version, "hip", "6.4")  # AMD's have a part that is set aside
    assert list(FreeElsewhere(CUDA)) == ["system memory", "disk"]
    assert {plan.keep for plan in choose_plans(request, CUDA, options, what="decoding")} == {"system memory"}


def test_devices_that_are_not_there_share_nothing(monkeypatch):
    def refuse(device):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "get_device_properties", refuse)
    assert not budget.shares_memory(CUDA) and budget.shares_memory(CPU)


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
