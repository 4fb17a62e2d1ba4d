"""Outlines are as the tensors that they stand for, and little is asked of torch."""

import pytest
import torch
from exact_vae.vae_core.execution.plans.choose import _make_request
from exact_vae.vae_core.execution.plans.clip_request import _LaterPart
from exact_vae.vae_core.execution.plans.outlines import Outline, ask_torch
from exact_vae.vae_core.execution.plans.replays import Kinds, Repeater
from exact_vae.vae_core.execution.plans.shapes import ShapesOnly
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import Half
from exact_vae.vae_core.families.registry import FAMILIES
from support.small_networks import SMALL

VIEWS = (
    lambda x: x.narrow(-2, 1, 3),
    lambda x: x[1:, ..., ::2],
    lambda x: x[:, None, 2, -3:],
    lambda x: x.permute(0, 2, 3, 1),
    lambda x: x.transpose(1, -1),
    lambda x: x.unbind(2)[1],
    lambda x: x.split(4, 1)[-1],
    lambda x: x.tensor_split(3, -2)[0],
    lambda x: x.chunk(4, 2)[-1],
    lambda x: x.chunk(2)[1],
    lambda x: x.expand(5, *x.shape),
    lambda x: x.permute(0, 2, 3, 1).flatten(1, 2),
    lambda x: x.reshape(2, 2, -1, 7, 5),
    lambda x: x[:, 1:].flatten(2),
    lambda x: x.unflatten(1, (3, -1)),
)
NEW = (
    lambda x: x.permute(0, 2, 3, 1).reshape(2, -1),
    lambda x: torch.nn.functional.pad(x.contiguous(memory_format=torch.channels_last), (1, 1, 0, 1)),
    lambda x: torch.nn.functional.interpolate(x, scale_factor=2.0),
    lambda x: x.to(torch.float64),
    lambda x: torch.lerp(x, x[:1], 0.5),
    lambda x: torch.full_like(x, 2),
    lambda x: torch.zeros_like(x, dtype=torch.bfloat16),
    lambda x: torch.nn.functional.normalize(x, dim=1),
    lambda x: torch.nn.functional.normalize(x, dim=1, out=torch.zeros_like(x)),
    lambda x: x[:, :1].transpose(0, 1).contiguous(),
)


@pytest.mark.parametrize("compute", VIEWS + NEW)
def test_an_outline_is_as_its_tensor(compute):
    """In shape, strides, dtype, and in whether it is a view."""
    x, outline = torch.empty(2, 6, 7, 5, device="meta"), Outline((2, 6, 7, 5), torch.float32)
    want = compute(x)
    with ShapesOnly():
        found = compute(outline)
    assert isinstance(found, torch.Tensor) and type(found) is Outline
    assert (found.shape, found.stride(), found.dtype) == (want.shape, want.stride(), want.dtype)
    assert (found.untyped_storage() is outline.untyped_storage()) == (compute in VIEWS)
    assert found.is_contiguous() == want.is_contiguous() and found.nbytes == want.nbytes
    again = ask_torch(compute, (outline,), {})
    assert (again.shape, again.stride()) == (want.shape, want.stride())


def find_plans(name, half, dtype):
    family, config = SMALL[name]
    frames = (5,) if config.temporal_ratio else ()
    shape = (1, 3, *frames, *(n * (1 if half is Half.DECODER else config.spatial_ratio) for n in (16, 24)))
    wanted = _make_request.__wrapped__(family, config, half, shape, dtype, False, False, ())
    return [list(wanted.propose(("disk",), on_cpu=on_cpu)) for on_cpu in (True, False)]


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("name", ["kl", "wan", "cogvideox"])
def test_what_is_not_run_again_counts_the_same(name, half, monkeypatch):
    found = find_plans(name, half, torch.float32)
    monkeypatch.setattr(Repeater, "run_op", Observer.run_op)
    assert found == find_plans(name, half, torch.float32)


def test_an_op_is_of_its_own_kind():
    """Also one that comes to lie where another was."""
    kinds, seen = Kinds(), set()
    for width in range(1, 40):
        op = torch.nn.Conv2d(4, width, 3, device="meta")
        seen.add(kinds.find(op))
        del op
    assert len(seen) == 39
    assert kinds.find(torch.nn.Conv2d(4, 7, 3, device="meta")) == kinds.find(torch.nn.Conv2d(4, 7, 3, device="meta"))


def test_parts_of_a_clip_are_counted_only_if_all_of_it_does_not_fit(monkeypatch):
    counted, init = [], _LaterPart.__init__
    monkeypatch.setattr(_LaterPart, "__init__", lambda self, clip, n: (counted.append(n), init(self, clip, n))[1])
    family, config = SMALL["wan"]
    wanted = _make_request.__wrapped__(family, config, Half.DECODER, (1, 3, 5, 16, 24), torch.float32, False, False, ())
    plans = wanted.propose(("disk",))
    assert next(plans).frames == 0 and counted == []
    assert next(plans).frames == 4 and counted == [4]


@pytest.mark.parametrize(("name", "frames", "most"), [("kl", (), 1200), ("wan", (3,), 5000)])
def test_a_plan_calls_few_functions(name, frames, most, monkeypatch):
    """Of the published sizes in fp32: each call takes microseconds. With meta tensors, op by op: 2,000 and 23,000."""
    calls, make = [], ShapesOnly.make
    monkeypatch.setattr(ShapesOnly, "make", lambda *args: (calls.append(args[1]), make(*args))[1])
    config = next(family.example for family in FAMILIES if family.name == name)
    shape = (1, config.latent_channels, *frames, 32, 32)
    wanted = _make_request.__wrapped__(name, config, Half.DECODER, shape, torch.float32, False, False, ())
    next(wanted.propose(("disk",), on_cpu=True))
    assert 100 < len(calls) < most
