"""What is in memory for nobody is given back when there is more of it than a plan says, and not before."""

import ctypes

import pytest
import torch
from exact_vae.vae_core.execution.bands import heap
from exact_vae.vae_core.execution.bands.heap import HeapTrimmer, trim_heap

MIB = 2**20


class Process:
    """What the heap module sees of one: bytes in memory, bytes alive, and how often gaps were given back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.resident, self.alive, self.trims = 100, 100, 0
        monkeypatch.setattr(heap, "_resident", lambda: (self.resident, 0))
        monkeypatch.setattr(heap, "_count_living", lambda data: self.alive)
        monkeypatch.setattr(heap, "_trim", self.trim)

    def trim(self, keep: int) -> None:
        self.trims += 1
        self.resident = min(self.resident, self.alive)


def test_gaps_are_given_back_when_the_process_has_grown(monkeypatch):
    """Beyond its room, and by more gaps than may stay."""
    seen, trimmer = (process := Process(monkeypatch)), HeapTrimmer(16, 4)
    for resident, alive, trims in (
        (116, 100, 0),  # within its room
        (117, 101, 1),  # beyond it, and nothing is known of gaps
        (104, 103, 1),
        (117, 103, 2),  # it has grown, be it by gaps or by what is alive
        (119, 117, 3),
        (121, 119, 3),  # beyond it, but by no more than may stay
        (119, 110, 4),  # it has not grown, but what is alive has become less
        (116, 20, 4),  # gaps, but within its room
    ):
        process.resident, process.alive = resident, alive
        trimmer.check()
        assert seen.trims == trims
    HeapTrimmer(0, 0).check()
    assert seen.trims == 4


def test_what_is_alive_but_not_yet_written_to_is_no_gap(monkeypatch):
    """A result is there before its numbers are: gaps are what memory and the living differ by since the last look."""
    process, trimmer = Process(monkeypatch), HeapTrimmer(16, 4)
    process.resident, process.alive = 120, 150
    trimmer.check()
    process.alive = 147
    trimmer.check()
    assert process.trims == 1
    process.alive = 145
    trimmer.check()
    assert process.trims == 2


def test_without_a_word_from_the_system_growth_is_what_counts(monkeypatch):
    process = Process(monkeypatch)
    monkeypatch.setattr(heap, "_count_living", lambda data: 0)
    trimmer = HeapTrimmer(16, 4)
    for resident, trims in ((117, 1), (104, 1), (117, 2)):
        process.resident, process.alive = resident, 100
        trimmer.check()
        assert process.trims == trims


@pytest.mark.skipif(not heap._ask, reason="no glibc of today")
def test_the_living_are_counted():
    """Numbers that are held count, those that are not do not, wherever the allocator has put them."""
    before = heap._count_living(heap._resident()[1])
    held = [torch.zeros(64 * 1024) for _ in range(64)]  # 16 MiB
    during = heap._count_living(heap._resident()[1])
    del held[::2]
    half = heap._count_living(heap._resident()[1])
    assert during - before == pytest.approx(16 * MIB, abs=2 * MIB)
    assert half - before == pytest.approx(8 * MIB, abs=2 * MIB)


@pytest.mark.skipif(not heap._trim or not hasattr(ctypes.CDLL(torch._C.__file__), "mkl_serv_mem_stat"), reason="no MKL")
def test_what_mkl_keeps_of_products_is_given_back():
    stat = ctypes.CDLL(torch._C.__file__).mkl_serv_mem_stat
    stat.restype = ctypes.c_int64
    buffers = ctypes.c_int()
    torch.ones(512, 512) @ torch.ones(512, 512)
    trim_heap()
    assert stat(ctypes.byref(buffers)) == 0
