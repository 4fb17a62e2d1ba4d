"""Bands in pinned memory of the host: copied beside the computation, and in order with it (support/fake_streams.py)."""

import inspect
import sys

import pytest
import torch
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.execution.bands import pinned
from exact_vae.vae_core.execution.bands.pinned import InPinnedMemory, count_pages, find_page
from exact_vae.vae_core.execution.bands.stores import fetch_ahead
from support.fake_cuda import demand_guard, fake_cuda
from support.fake_streams import COMPUTING, Event, Stream, Streams
from support.random_networks import random_weights
from support.small_networks import SMALL

# What runs; how many frames of what it reads, 0: an image; the share of its copies that takes no time at least.
RUNS = [("kl", "decode", 0, 0.6), ("dc_ae", "encode", 0, 0.2), ("wan: 2.2", "decode", 3, 0.4)]
ROWS, HEIGHT, WIDTH = 16, 128, 64


@pytest.fixture
def as_if_pinned(monkeypatch) -> Streams:
    """Memory of this machine that cannot be pinned, with streams that do everything at once."""
    streams, empty = Streams(), torch.empty
    for name, answer in streams.answer().items():
        monkeypatch.setattr(f"torch.cuda.{name}", answer)
    monkeypatch.setattr(pinned.torch, "empty", lambda *size, pin_memory=False, **how: empty(*size, **how))
    return streams


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_what_is_put_comes_back(as_if_pinned, dtype):
    """Of several pages each, of less than one, and such that are part of another tensor; any number of times."""
    clip = torch.randn(2, 64, 700, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    bands = [clip[:, :, :600], clip[:, :, 600:], clip[:1, :, :1], clip[:, :1, 7:9]]
    store = InPinnedMemory(torch.device("cpu"), 2**18)
    held = [store.put(band) for band in bands]
    assert store.page == 2**16
    for band, one, fetched in zip(bands, held, fetch_ahead(held), strict=True):
        assert one.rows == band.shape[-2] and torch.equal(one.get(), band) and torch.equal(fetched, band)
        assert fetched.is_contiguous(memory_format=torch.channels_last)
    store.close()


def test_pages_are_used_again(as_if_pinned):
    store, band = InPinnedMemory(torch.device("cpu"), 2**18), torch.randn(1, 8, 40, 64)
    for _ in range(5):
        held = [store.put(band) for _ in range(3)]
        assert not store.free
        for one in held:
            one.release()
    assert len(store.free) * store.page == count_pages(3 * band.nbytes, 3, store.page)


def test_a_page_is_a_share_of_a_band():
    assert [find_page(n) for n in (0, 3, 2**10, 2**20, 2**20 + 1, 2**34)] == [2**16] * 3 + [2**18] * 2 + [2**26]


class Waits:
    """The lines of the store that wait. `left_out`: one that does not."""

    def __init__(self, monkeypatch):
        self.left_out, self.wait = 0, Stream.wait_event
        lines = inspect.getsource(pinned).splitlines()
        self.lines = [n for n, line in enumerate(lines, 1) if ".wait_" in line]
        monkeypatch.setattr(Stream, "wait_event", lambda stream, event: self.wait_unless_left_out(stream, event))

    def wait_unless_left_out(self, stream: Stream, event: Event) -> None:
        frame = sys._getframe(2)
        while frame and frame.f_code.co_filename != pinned.__file__:
            frame = frame.f_back
        if not frame or frame.f_lineno != self.left_out:
            self.wait(stream, event)


def use_store(device: torch.device) -> None:
    """All that a store is used for, and a run that ends early."""
    store = InPinnedMemory(device, 2**18)

    def make() -> torch.Tensor:
        return torch.zeros(1, 8, 40, 64, device=device, dtype=torch.float32)

    for _ in range(2):
        held = [store.put(make() + 1) for _ in range(3)]
        make().add_(1)
        for one, band in zip(held, fetch_ahead(held), strict=True):
            (band + 1).relu_()
            one.release()
    store.put(make() + 1).get().sum()
    store.put(make() + 1).fetch()
    store.close()
    make().add_(1)


def test_every_wait_is_needed_and_enough(monkeypatch):
    """Without any one of them something is read before it is there, or written while it is read."""
    demand_guard()
    waits = Waits(monkeypatch)
    races = {}
    for line in (0, *waits.lines):
        waits.left_out, streams = line, Streams()
        with fake_cuda(streams=streams):
            use_store(torch.device("cuda"))
        races[line] = len(streams.races)
    assert races.pop(0) == 0
    assert len(races) == 6 and all(races.values()), races


@pytest.mark.parametrize(("kind", "half", "frames", "hidden"), RUNS)
def test_runs_have_no_races_and_copy_beside_the_computation(kind, half, frames, hidden):
    """No memory is taken beyond the plan, and what torch keeps of the host's is given back at the end."""
    demand_guard()
    weights = random_weights(*SMALL[kind], torch.bfloat16)
    streams = Streams()
    with fake_cuda(streams=streams) as watch:
        vae = from_weights(weights, kind, torch.bfloat16, torch.device("cuda"))
        ratio, channels = (vae.spatial_ratio, vae.latent_channels) if half == "decode" else (1, vae.in_channels)
        size = (*([frames] if frames else []), HEIGHT // ratio, WIDTH // ratio)
        x, plans = torch.empty(1, channels, *size, device="cuda"), []
        streams.begin()
        watch.forget()
        before = watch.now
        how = {"rows": ROWS, "keep": "system memory", "on_plan": plans.append}
        made = vae.decode(x, **how) if half == "decode" else vae.encode(x, **how).mean
        del made
    assert not streams.races
    assert not watch.waits_inside and watch.empty_host_cache.called
    assert not streams.copies[COMPUTING] and len(streams.copies) > 2
    assert 0 < streams.pinned <= plans[0].held and watch.peak - before <= plans[0].peak
    saved = (streams.works - max(streams.clock.values())) / sum(streams.copies.values())
    assert hidden < saved < 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("ends", ["in the middle", "at the end"])
def test_a_run_that_fails_leaves_nothing_pinned(ends, error):
    """When torch is asked to give back what it keeps, nobody holds any of it, whoever knows the error."""

    def stop(done: int, total: int) -> None:
        if done >= (total if ends == "at the end" else total // 2):
            raise error("stopped")

    demand_guard()
    weights = random_weights(*SMALL["kl"], torch.bfloat16)
    streams, left = Streams(), list[int]()
    with fake_cuda(streams=streams) as watch:
        vae = from_weights(weights, "kl", torch.bfloat16, torch.device("cuda"))
        watch.empty_host_cache.side_effect = lambda: left.append(streams.pinned_now)
        x = torch.empty(1, vae.latent_channels, HEIGHT // vae.spatial_ratio, 4, device="cuda")
        with pytest.raises(error, match="stopped"):
            vae.decode(x, rows=ROWS, keep="system memory", progress=stop)
    assert streams.pinned > 0 and left == [0]
