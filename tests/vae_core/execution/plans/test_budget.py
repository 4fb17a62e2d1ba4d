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


def test_amounts_are_told_in_words():
    sizes = (2**31, 320 * 2**20, 10 * 2**20, 600 * 2**10)
    assert [budget.format_bytes(size) for size in sizes] == ["2.0 GiB", "320 MiB", "10 MiB", "0.6 MiB"]
