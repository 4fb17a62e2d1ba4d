"""A run that runs out of memory starts again in less of it: the exact result, and nothing left of what failed."""

import gc
import logging
import weakref
from collections.abc import Iterator
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from exact_vae.vae_core import VAE, DoesNotFit, NumericalOverflow
from exact_vae.vae_core.errors import is_out_of_memory
from exact_vae.vae_core.execution import Plan, Tiles
from exact_vae.vae_core.execution.ladder import give_back
from support.small_networks import small
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OOM = {
    "GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "Metal": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)."),
    "CPU": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    "cuBLAS": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "Python": MemoryError,
}


class SmallMemory(TorchFunctionMode):
    """No tensor may have more bytes than there is room for; None: there is enough.

    lost: how often memory ran out. made: what there was made meanwhile, weights and other views aside.
    """

    def __init__(self, room: int | None, error=OOM["GPU"]):
        super().__init__()
        self.room, self.error, self.lost = room, error, 0
        self.made: list[weakref.ref] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if not isinstance(one, torch.Tensor) or one.is_meta or one.untyped_storage()._cdata in known:
                continue
            if self.room and one.nbytes > self.room and not is_of_weights(one):
                self.lost += 1
                raise self.error()
            self.made.append(weakref.ref(one.untyped_storage()))
        return result

    def alive(self) -> int:
        return sum(one() is not None for one in self.made)


def is_of_weights(made: torch.Tensor) -> bool:
    """Are these the taps of an upsampling's convolution, which are summed before a run?"""
    return made.shape[-2:] in ((4, 3), (4, 4))


@lru_cache
def network(kind: str) -> VAE:
    return small(kind, torch.float32)


@lru_cache
def given(kind: str, half: str) -> torch.Tensor:
    """Of a height at which a CPU begins whole."""
    vae, generator = network(kind), torch.Generator().manual_seed(0)
    frames = ((5 if half == "encode" else 2),) if vae.clip_law else ()
    side = 64 if half == "encode" else 64 // vae.spatial_ratio
    channels = vae.in_channels if half == "encode" else vae.latent_channels
    return torch.rand((1, channels, *frames, side, side), generator=generator) * 2 - 1


def run(kind: str, half: str, **how) -> torch.Tensor:
    vae, x = network(kind), given(kind, half)
    return vae.encode(x, **how).mean if half == "encode" else vae.decode(x, **how)


def room_for_less(kind: str, half: str, **how) -> int:
    """Bytes of the largest tensor of the way that is taken, less a little."""
    return int(network(kind).plan(half, given(kind, half).shape, **how).largest * 4 * 0.95)


@pytest.mark.parametrize("half", ["encode", "decode"])
@pytest.mark.parametrize("kind", ["kl", "vq: MoVQ", "wan: 2.2", "hunyuan_video"])
def test_it_starts_again_in_less_memory(kind, half, caplog, monkeypatch):
    """And gives what it gives if it is asked to run so from the first."""
    run(kind, half, on_plan=(plans := list[Plan]()).append)  # which also lays out weights
    left: list[int] = []

    def tell(plan: Plan) -> None:
        plans.append(plan)
        left.append(memory.alive())

    with caplog.at_level(logging.WARNING, "exact_vae"), SmallMemory(room_for_less(kind, half)) as memory:
        result = run(kind, half, on_plan=tell)
    assert plans.pop(0) == plans[0]
    assert memory.lost == len(plans) - 1 >= 1
    assert [p.tensors for p in plans] == sorted({p.tensors for p in plans}, reverse=True)
    assert len(set(left)) == 1  # of what failed there is nothing left
    assert str(plans[1]).endswith(f"; {plans[0].pieces} it ran out of memory")
    assert f"with '{kind}' ran out of memory at " in caplog.messages[0]
    assert caplog.messages[0].endswith(f": it starts again in {plans[1]}")
    monkeypatch.setattr("exact_vae.vae_core.vae.choose_plans", lambda *args, **named: iter(plans[-1:]))
    assert torch.equal(result, run(kind, half))


class FailsOnce(TorchDispatchMode):
    """The n-th allocation fails, however small. made: how many there were."""

    def __init__(self, n: int):
        super().__init__()
        self.n, self.made = n, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and one.nbytes and one.untyped_storage()._cdata not in known:
                self.made += not one.is_meta
                if self.made == self.n and not one.is_meta:
                    raise OOM["GPU"]()
        return result


def test_whatever_allocation_fails(monkeypatch):
    """Also one of the few bytes of what is checked before and after a run, and of a posterior's numbers."""
    monkeypatch.setattr("exact_vae.vae_core.execution.ladder.give_back", lambda device: None)  # takes its time
    vae, x = network("wan"), torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))

    def make() -> torch.Tensor:
        return vae.decode(vae.encode(x).sample(torch.Generator().manual_seed(1)))

    result, told, n = make(), list[str](), 0
    memory = FailsOnce(n)
    while memory.made >= n:
        n += 1
        try:
            with FailsOnce(n) as memory:
                made = make()
        except DoesNotFit as e:
            told.append(str(e).partition(" ran out of memory")[0])
        else:
            torch.testing.assert_close(made, result)  # which it was started again for
    assert n > 100 and {"encoding with 'wan'", "a sample of a latent", "decoding with 'wan'"} <= set(told)


TINY = 60_000  # bytes: more than the image that "kl" decodes has, less than any way to do so needs


@pytest.mark.parametrize("error", OOM)
def test_memory_runs_out_in_many_words(error):
    assert is_out_of_memory(OOM[error]())
    with SmallMemory(room_for_less("kl", "decode"), OOM[error]) as memory:
        run("kl", "decode")
    assert memory.lost


def test_if_no_way_is_left_it_says_where():
    tries: list[Plan] = []
    given("kl", "decode")  # made while there is memory
    with SmallMemory(TINY) as memory, pytest.raises(DoesNotFit) as caught:
        run("kl", "decode", on_plan=tries.append)
    assert str(caught.value).startswith("decoding 1 x 32x32 with 'kl' ran out of memory at decoder.")
    assert str(caught.value).endswith(": use a smaller image or batch, or bf16.")
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError) and memory.lost == len(tries) > 1
    gc.collect()
    assert memory.alive() == 0  # the error holds no frames


def test_other_errors_are_not_tried_again():
    plans: list[Plan] = []
    given("kl", "decode")
    with SmallMemory(TINY, lambda: RuntimeError("cuDNN is unhappy")), pytest.raises(RuntimeError, match="unhappy"):
        run("kl", "decode", on_plan=plans.append)
    assert len(plans) == 1
    assert not is_out_of_memory(DoesNotFit("it ran out of memory"))


def no_engine() -> RuntimeError:
    """As cuDNN says it where its workspace does not fit, and where it cannot run such an op."""
    return RuntimeError("GET was unable to find an engine to execute this computation")


def test_what_may_come_of_memory_is_tried_again(caplog):
    plans: list[Plan] = []
    with caplog.at_level(logging.WARNING, "exact_vae"), SmallMemory(room_for_less("kl", "decode"), no_engine) as memory:
        run("kl", "decode", on_plan=plans.append)
    assert memory.lost == len(plans) - 1 >= 1
    assert plans[1].note == f"{plans[0].pieces} it failed"
    assert " with 'kl' failed, maybe for want of memory (GET was unable to find" in caplog.messages[0]
    assert caplog.messages[0].endswith(f": it starts again in {plans[1]}")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "rows"])
def test_if_it_never_ran_the_device_s_own_error_is_raised(streamed):
    """The first of them: another image, or another card, may be the cure, and less memory is none."""
    made: list[RuntimeError] = []
    z = given("kl", "decode")

    def fail() -> RuntimeError:
        made.append(no_engine())
        return made[-1]

    with SmallMemory(TINY, fail) as memory, pytest.raises(RuntimeError, match="unable to find an engine") as caught:
        list(network("kl").decode_rows(z)) if streamed else network("kl").decode(z)
    assert caught.value is made[0] and memory.lost == len(made) > 1
    made.clear()
    gc.collect()
    assert memory.alive() == 0


def test_if_memory_ran_out_for_sure_once_that_is_said():
    errors = iter([no_engine(), OOM["GPU"]()])
    given("kl", "decode")
    with SmallMemory(TINY, lambda: next(errors, no_engine())), pytest.raises(DoesNotFit, match=r"ran out of memory at"):
        run("kl", "decode")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "rows"])
def test_numbers_that_overflow_are_not_tried_again(streamed, caplog):
    """Less memory would not make them finite, even if the sentence spoke of memory."""
    plans, vae = list[Plan](), small("kl", torch.float32)
    vae.name = "out of memory"
    vae.network.decode_ops()[-1].bias.data.fill_(torch.inf)
    with caplog.at_level(logging.WARNING, "exact_vae"), pytest.raises(NumericalOverflow, match="'out of memory' overf"):
        z = given("kl", "decode")
        list(vae.decode_rows(z, on_plan=plans.append)) if streamed else vae.decode(z, on_plan=plans.append)
    assert len(plans) == 1 and not caplog.messages
    assert not is_out_of_memory(NumericalOverflow("it ran out of memory"))


def test_what_was_asked_for_is_kept_to(monkeypatch):
    """Fewer rows, but kept where they were to be kept; tiles of the same size, each in less memory."""
    plans: list[Plan] = []
    with SmallMemory(room_for_less("kl", "decode", rows=32) // 3) as memory:
        run("kl", "decode", rows=32, keep="disk", on_plan=plans.append)
    assert memory.lost and {p.keep for p in plans} == {"disk"} and plans[0].rows == 32 > plans[-1].rows
    tiles, z = Tiles(64, 16), torch.cat([given("kl", "decode"), given("kl", "decode")], -1)
    with SmallMemory(room_for_less("kl", "decode")) as memory:
        found = network("kl").decode(z, tiles=tiles, on_plan=(told := []).append)
    assert memory.lost == 3  # once for each tile
    monkeypatch.setattr("exact_vae.vae_core.vae.choose_plans", lambda *args, **named: iter([told[-1].each]))
    assert torch.equal(found, network("kl").decode(z, tiles=tiles))


class Rows:
    def __init__(self, x: torch.Tensor):
        self.x, self.shape, self.reads = x, tuple(x.shape), 0

    def read(self) -> Iterator[torch.Tensor]:
        self.reads += 1
        return iter(self.x.split(7, 1))


def test_an_image_is_read_again():
    source, plans = Rows(given("kl", "encode")[0]), list[Plan]()
    with SmallMemory(room_for_less("kl", "encode", streamed=True)) as memory:
        found = network("kl").encode_rows(source, on_plan=plans.append).mean
    assert memory.lost == len(plans) - 1 == source.reads - 1 > 0
    assert torch.equal(found, run("kl", "encode", rows=plans[-1].rows))


def test_rows_start_again_before_the_first_and_never_after_it(monkeypatch):
    vae, z, plans = network("kl"), given("kl", "decode"), list[Plan]()
    with SmallMemory(room_for_less("kl", "decode", streamed=True)) as memory:
        found = torch.cat(list(vae.decode_rows(z, on_plan=plans.append)), -2)
    assert memory.lost == len(plans) - 1 == 1
    with monkeypatch.context() as patch:
        patch.setattr("exact_vae.vae_core.vae.choose_plans", lambda *args, **named: iter(plans[-1:]))
        assert torch.equal(found, run("kl", "decode")[0])
    with SmallMemory(None) as memory:
        bands = vae.decode_rows(z, rows=16, on_plan=plans.append)
        next(bands)
        memory.room = TINY
        with pytest.raises(DoesNotFit, match=r"^decoding 1 x 32x32 with 'kl' ran out of memory at decoder\."):
            next(bands)
    assert len(plans) == 3


@pytest.fixture
def given_back(monkeypatch) -> list[str]:
    """The caches that are emptied, of torch for any device."""
    found: list[str] = []
    for one in ("cuda", "xpu", "mps"):
        monkeypatch.setattr(f"torch.{one}.empty_cache", lambda one=one: found.append(one))
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    pinned = SimpleNamespace(empty_host_cache=lambda: found.append("pinned"))
    monkeypatch.setattr(torch, "accelerator", pinned, raising=False)
    return found


@pytest.mark.parametrize("device", ["cuda", "xpu", "mps"])
def test_what_torch_keeps_for_later_is_given_back(device, given_back):
    give_back(torch.device(device))
    assert given_back == ([device, "pinned"] if device == "cuda" else [device])


@pytest.mark.parametrize("has", [True, False])
def test_older_torch_gives_back_what_is_pinned(has, given_back, monkeypatch):
    """Versions 2.5 to 2.9 can, but not by a public name; builds without CUDA cannot."""
    monkeypatch.setattr(torch, "accelerator", SimpleNamespace())
    if has:
        monkeypatch.setattr("torch._C._host_emptyCache", lambda: given_back.append("pinned"), raising=False)
    else:
        monkeypatch.delattr("torch._C._host_emptyCache", raising=False)
    give_back(torch.device("cuda"))
    assert given_back == (["cuda", "pinned"] if has else ["cuda"])


def test_an_error_that_comes_twice_is_one(given_back, monkeypatch):
    """As with cudaMallocAsync: of the allocation, and then of what waits for the device, but not again after that."""
    waiting: list[RuntimeError] = [getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: out of memory")]

    def ask(device=None) -> None:
        if waiting:
            raise waiting.pop()

    monkeypatch.setattr("torch.cuda.synchronize", ask)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: (ask(), given_back.append("cuda")))
    give_back(torch.device("cuda"))
    assert given_back == ["cuda", "pinned"]
