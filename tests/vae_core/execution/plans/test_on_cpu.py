"""What is chosen on a CPU: little whole, short clips with all their frames, bands that cost little to start."""

import pytest
import torch
from exact_vae.vae_core.execution import clips, make_request
from exact_vae.vae_core.execution.plans.fitting import choose
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.plans.request import HEIGHTS_ON_CPU, LITTLE, TALLER_ON_CPU
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import FAMILIES, Half
from support.small_networks import SMALL, small

EXAMPLES = {family.name: family.example for family in FAMILIES}


def propose(name: str, shape: tuple[int, ...], **ways) -> list[Plan]:
    family, config = SMALL[name]
    wanted = make_request(family, config, Half.DECODER, shape, torch.float32)
    return list(wanted.propose(("disk",), on_cpu=True, **ways))


def test_a_short_clip_runs_in_bands_of_all_its_frames():
    """The past of a part holds two frames of every layer; bands of all frames hold two rows of each."""
    first, *others = propose("wan", (1, 4, 3, 64, 64))
    assert first.rows and not first.frames
    parts = [plan for plan in others if plan.frames and plan.rows and plan.keep == "device"]
    assert parts and all(first.peak < plan.peak for plan in parts)


def test_a_long_clip_runs_in_parts():
    first, *others = propose("wan", (1, 4, 100, 16, 16))
    assert first.frames == 1
    assert any(plan.rows and not plan.frames and plan.peak > first.peak for plan in others)


@pytest.mark.parametrize("ways", [{"rows": 16}, {"keep": "disk"}])
def test_bands_that_are_asked_for_are_of_parts_first(ways):
    assert propose("wan", (1, 4, 3, 64, 64), **ways)[0].frames == 1


def test_what_comes_frame_by_frame_has_parts():
    family, config = SMALL["wan"]
    wanted = make_request(family, config, Half.DECODER, (1, 4, 3, 64, 64), torch.float32, streamed=True)
    assert all(plan.frames for plan in wanted.propose((), on_cpu=True))


@pytest.mark.parametrize(("side", "little"), [(32, True), (256, False)])
def test_little_is_not_cut(side, little):
    first, *others = propose("kl", (1, 4, side, side))
    assert bool(first.rows) != little
    whole = next(plan for plan in (first, *others) if not plan.rows)
    assert (whole.peak - whole.gaps <= LITTLE) == little


def test_a_budget_that_little_does_not_fit_is_kept():
    family, config = SMALL["kl"]
    wanted = make_request(family, config, Half.DECODER, (1, 4, 96, 96), torch.float32)
    first, *others = wanted.propose((), on_cpu=True)
    budget = min(plan.peak for plan in others)
    assert not first.rows and budget < first.peak
    assert choose(wanted, budget, {}, on_cpu=True, what="this").peak <= budget


@pytest.mark.parametrize(("shape", "taller"), [((1, 128, 2, 8, 8), True), ((1, 128, 2, 16, 16), False)])
def test_bands_are_taller_where_starting_convolutions_costs(shape, taller):
    """LTX-Video's latents are small, and its weights large: laid out for each band, a tenth of the work."""
    wanted = make_request("ltx_video", EXAMPLES["ltx_video"], Half.DECODER, shape, torch.float32)
    assert bool(wanted._find_taller()) == taller
    counted = wanted._count(())
    shares = [counted.count_starts(int(counted.widest * n)) / counted.work for n in (*TALLER_ON_CPU, *HEIGHTS_ON_CPU)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("kind", ["wan", "wan: 2.2", "ltx_video: 2", "ltx_video: 2.3", "seedvr2", "tiny_video"])
@torch.no_grad()
def test_bands_of_all_frames_are_the_clip_at_once(kind):
    vae = small(kind)
    z = torch.randn(1, vae.latent_channels, 3, 3, 4, dtype=torch.float64)
    x = vae.network.from_latent_ops()[0](z) if vae.network.from_latent_ops() else z
    wanted = make_request(vae.family, vae.config, Half.DECODER, tuple(z.shape), torch.float64)
    whole, bands = wanted.plan_whole(1, on_cpu=True), wanted.plan_bands(8, on_cpu=True)
    assert not bands.frames and bands.strips > 1
    made = [clips.run_batch(vae.network.decode_ops(), x, plan, Observer()) for plan in (whole, bands)]
    assert (made[0] - made[1]).abs().max() < 1e-12 * made[0].abs().max()
