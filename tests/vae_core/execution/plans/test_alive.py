"""What a plan in bands says of a CPU is counted: every tensor, every room of the store, what torch takes meanwhile."""

from functools import partial

import pytest
import torch
from exact_vae.vae_core.execution.bands.holding import Source
from exact_vae.vae_core.execution.plans import backend, choose, counting, request
from exact_vae.vae_core.execution.plans.alive import count_alive
from exact_vae.vae_core.execution.plans.choose import make_request
from exact_vae.vae_core.execution.plans.counting import GAPS, MOST_GAPS, LiveBytes
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.plans.request import LEAST_HEAP, SURE
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.run import run_bands
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import Half
from exact_vae.vae_core.ops import as_single_frame, leaves
from support.live_memory import LiveMemory
from support.processors import pretend
from support.small_networks import SMALL, small

NUMBERS = 20_000  # in a band


@pytest.mark.parametrize("keep", ["device", "disk"])
@pytest.mark.parametrize("name", ["kl", "tiny", "vq: MoVQ", "dc_ae"])
@torch.no_grad()
def test_what_is_counted_is_what_a_run_holds(name, keep, monkeypatch):
    """With each tensor of the run counted, rooms among them; but not what torch takes within its functions."""
    monkeypatch.setattr(counting, "count_scratch", lambda *_: 0)
    family, config = SMALL[name]
    z = torch.zeros(1, config.latent_channels, 24, 12)
    wanted = make_request(family, config, Half.DECODER, z.shape, torch.float32)
    found = count_alive(wanted.ops, wanted.one, wanted.side, NUMBERS, keep, ())
    ops = fuse(as_single_frame(small(name, torch.float32).network.decode_ops()))
    z = torch.zeros(wanted.x.shape)
    plan = Plan(1, 1, keep, (), 0, 0, 0, wanted.shape, NUMBERS)
    with LiveMemory() as living:
        for band in run_bands(ops, partial(Source, z), plan, Observer(), z.device):
            del band
    assert 0.8 * living.most <= found.most <= 1.25 * living.most


def test_the_top_of_a_tall_image_says_what_lives_in_all_of_it():
    """What passes does not grow with the image, what is held does."""
    family, config = SMALL["kl"]
    counted = [
        make_request(family, config, Half.ENCODER, (1, 3, rows, 32), torch.float32)._count_alive(
            8, 8 * 32 * 64, "device", ()
        )
        for rows in (256, 2560)
    ]
    all_of_it = make_request(family, config, Half.ENCODER, (1, 3, 2560, 32), torch.float32)
    whole = count_alive(all_of_it.ops, all_of_it.one, all_of_it.side, 8 * 32 * 64, "device", ())
    assert counted[1].passing == pytest.approx(counted[0].passing, rel=0.1)
    assert counted[1].most == pytest.approx(whole.most, rel=0.25) and counted[1].most > 5 * counted[0].most


def test_gaps_in_the_heap_are_counted_and_kept_to():
    """A plan leaves room for them, and says beyond what they are given back: less than the peak by what an op needs."""
    family, config = SMALL["kl"]
    wanted = make_request(family, config, Half.DECODER, (1, 4, 64, 64), torch.float32)
    for plan in wanted.propose(("disk",), on_cpu=True):
        assert 0 < plan.heap < plan.peak
        assert 0 < plan.gaps <= MOST_GAPS and plan.alive == plan.peak - plan.gaps - plan.compiled
    assert wanted._leave_gaps(1000, 10 * MOST_GAPS, 10, 30, 20)[1]["gaps"] == MOST_GAPS
    peak, more = wanted._leave_gaps(1000, 300, 10, 30, 20)
    assert peak == 20 + wanted.weights.meanwhile + 300 + 30  # while they are made
    assert more == {"gaps": 300, "heap": int(SURE * peak - 10 - wanted.x.nbytes), "compiled": 30}
    peak, more = wanted._leave_gaps(1000, 300, 10**9, 30, 20)
    assert more["heap"] == int(LEAST_HEAP * peak)  # an op that takes more than all else leaves little, not nothing
    assert not any(plan.heap for plan in wanted.propose(("disk",)))


@torch.no_grad()
def test_gaps_lie_between_what_was_there_before_an_op():
    """What an op takes for itself leaves none, however much that is."""
    count = LiveBytes()
    with torch.device("meta"):
        lasting = count.add(torch.empty(1000))
        count.begin_op(None)
        count.grow(0, scratch=100_000)
        assert count.gaps == pytest.approx(GAPS * lasting.nbytes)
        more = count.add(torch.empty(50_000))  # within the op
        assert count.gaps == pytest.approx(GAPS * lasting.nbytes) and count.most_on_cpu == 204_000
        count.begin_op(None)
        count.grow(1)
        assert count.gaps == pytest.approx(GAPS * (lasting.nbytes + more.nbytes)) and count.most_on_cpu == 204_001


@pytest.mark.parametrize(("name", "rows"), [("tiny: TAEF2", 8), ("tiny_video", 8), ("wan", 4)])
def test_bands_of_low_resolutions_are_counted_at_their_height(name, rows, monkeypatch):
    """There a band of as many numbers is of more rows of the image: a top of a few bands of the image has none."""
    family, config = SMALL[name]
    shape = (1, config.latent_channels, 96, 24)

    def count_living() -> int:
        wanted = choose._make_request.__wrapped__(family, config, Half.DECODER, shape, torch.float32, False, False, ())
        return wanted.plan_bands(rows, "disk", on_cpu=True).alive

    found = count_living()
    for bands in ("FEW_BEFORE", "COUNTED_AFTER", "COUNTED_ROWS", "COUNTED_ON_DISK"):
        monkeypatch.setattr(request, bands, 10**6)  # all of them
    assert found == pytest.approx(count_living(), rel=0.05)


def count_conv(dtype, *shape) -> int:
    x, weight = (
        torch.empty(*shape, dtype=dtype, device="meta"),
        torch.empty(32, shape[1], 3, 3, dtype=dtype, device="meta"),
    )
    return backend.count_scratch("conv2d", torch.nn.functional.conv2d(x, weight, padding=1), (x, weight))


def test_what_a_convolution_takes(monkeypatch):
    """For oneDNN its weights laid out anew twice; by torch itself a column of taps for each pixel of all images."""
    pretend(monkeypatch, faster_in_fp32=False)
    monkeypatch.setattr(backend, "runs_in_onednn", lambda dtype: dtype is torch.float32)
    weight = 32 * 64 * 9
    assert count_conv(torch.float32, 1, 64, 40, 40) == 2 * weight * 4
    assert count_conv(torch.bfloat16, 2, 64, 40, 40) == (2 * 64 * 9 * 1600 + weight) * 2
    laid_out = torch.empty(32, 64, 3, 3, device="meta").to(memory_format=torch.channels_last)
    x = torch.empty(1, 64, 40, 40, device="meta")
    made = torch.nn.functional.conv2d(x, laid_out, padding=1)
    assert backend.count_scratch("conv2d", made, (x, laid_out)) == weight * 4  # as torch wants it
    assert count_conv(torch.float32, 1, 3, 96, 96) == (32 * 3 + 32 * 16) * 9 * 4  # channels are filled up to a block
    clip = torch.empty(2, 64, 42, 40, device="meta")
    made = torch.nn.functional.conv2d(clip, laid_out, padding=1)
    assert backend.count_scratch("conv2d", made, (clip, laid_out)) == weight * 4
    rows = clip.narrow(2, 0, 40)  # which lie apart, and are put together
    assert backend.count_scratch("conv2d", made, (rows, laid_out)) == weight * 4 + rows.nbytes
    assert backend.count_scratch("conv2d", made, (rows[:1], laid_out)) == weight * 4
    assert backend.count_scratch("silu", torch.empty(1, 2, 3, 4), (torch.empty(1, 2, 3, 4),)) == 0


def test_what_the_backend_compiles_is_counted_for_the_heights_of_bands(monkeypatch):
    """The lower the bands the more heights, until each convolution has those that it can have."""
    pretend(monkeypatch, faster_in_fp32=False)
    monkeypatch.setattr(backend, "runs_in_onednn", lambda dtype: dtype is torch.float32)
    family, config = SMALL["kl"]
    wanted = make_request(family, config, Half.DECODER, (1, 4, 64, 64), torch.float32)
    run = wanted._count(())
    convolutions = sum(isinstance(op, torch.nn.Conv2d) for op in leaves(wanted.ops))
    counted = [run.count_compiled(numbers) for numbers in (2**62, max(made for made, _ in run.convolved) - 1, 1)]
    assert counted[0] == backend.count_compiled(len(run.convolved)) < counted[1] < counted[2] == 2 * counted[0]
    assert len(run.convolved) >= convolutions > 10
    assert 0 < wanted._whole_run.compiled < counted[0]  # there some of them are of one form


def test_a_convolution_that_torch_computes_itself_is_not_compiled(monkeypatch):
    pretend(monkeypatch, faster_in_fp32=False)
    monkeypatch.setattr(backend, "runs_in_onednn", lambda dtype: dtype is torch.float32)
    x, weight = torch.empty(2, 64, 40, 40, device="meta"), torch.empty(32, 64, 3, 3, device="meta")
    form = backend.find_forms("conv2d", (x, weight, None, 1, 1))
    assert form == backend.find_forms("conv2d", (x + 1, weight, None, 1, 1))
    assert form != backend.find_forms("conv2d", (x, weight, None, 2, 1))
    assert form != backend.find_forms("conv2d", (x[..., 1:], weight, None, 1, 1))
    assert backend.find_forms("conv2d", (x.bfloat16(), weight.bfloat16(), None, 1, 1)) == ()
    assert backend.find_forms("silu", (x,)) == ()
    assert backend.count_compiled(10_000) == backend.count_compiled(backend.KEPT)
