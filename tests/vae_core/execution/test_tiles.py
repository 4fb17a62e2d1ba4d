"""Tiles that are faded into one another: equal to the whole where they can be, near it where norms let them."""

import itertools

import pytest
import torch
from exact_vae.vae_core import BadRequest, NumericalOverflow, Tiles, from_weights
from exact_vae.vae_core.execution import tiles as blended
from exact_vae.vae_core.families.tiny import Coder, TinyConfig
from exact_vae.vae_core.ops import Conv2d
from support.random_networks import random_weights, small_kl
from support.slow import mark_slow

NETWORKS = {
    "group norms": ("kl", small_kl()),
    "patchified": ("kl", small_kl(z_channels=8, embed_dim=8, patch=2)),
    "no norms": ("tiny", TinyConfig(4, Coder((16, 16, 16), (1, 1, 1)), Coder((16, 16, 16), (1, 1, 1)))),
}


@pytest.fixture(scope="module")
def vaes():
    return {
        name: from_weights(random_weights(family, config, torch.float64)) for name, (family, config) in NETWORKS.items()
    }


def latent(vae, h=20, w=28):
    return torch.randn(1, vae.latent_channels, h, w, generator=torch.Generator().manual_seed(0)).double()


def decibels(got: torch.Tensor, want: torch.Tensor) -> float:
    assert got.shape == want.shape and got.dtype == want.dtype
    return float(-10 * torch.log10((got - want).square().mean() / want.square().mean()))


def run(x: torch.Tensor, tiles: Tiles, one=lambda x: x, **how) -> torch.Tensor:
    return blended.run(lambda tile, **_: one(tile), tiles, 1, x, cell=1, **how)


SIDES = [(9, 10, 3), (10, 10, 3), (11, 10, 3), (17, 10, 3), (100, 10, 0), (100, 10, 9), (64, 16, 8), (37, 5, 3)]


@pytest.mark.parametrize(("length", "size", "overlap"), SIDES)
def test_spans_cover_a_side_evenly(length, size, overlap):
    spans = blended.spans(length, size, overlap)
    assert spans[0].start == 0 and spans[-1].end == length
    assert {span.end - span.start for span in spans} == {min(size, length)}
    common = [a.end - b.start for a, b in itertools.pairwise(spans)]
    assert all(overlap <= n for n in common) and max(common, default=0) <= min(common, default=0) + 1
    assert common == [a.after for a in spans[:-1]] == [b.before for b in spans[1:]]
    assert len(spans) == 1 or length > (len(spans) - 1) * (size - overlap) + overlap  # one fewer would not do


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize(("length", "size", "overlap"), SIDES)
def test_weights_sum_to_one_and_fade_in_a_line(length, size, overlap, scale):
    spans = blended.spans(length, size, overlap)
    weights = blended.fades(spans, scale, torch.zeros((), dtype=torch.float64))
    total = torch.zeros(length * scale, dtype=torch.float64)
    for span, weight in zip(spans, weights, strict=True):
        assert weight.min() > 0
        total[span.of(scale)] += weight
    assert (total - 1).abs().max() < 1e-12
    if len(spans) > 1 and 2 * overlap <= size - 2:
        steps = weights[1][: spans[1].before * scale].diff()
        assert torch.allclose(steps, steps[:1]) and (steps > 0).all()


@pytest.mark.parametrize("size", [(3, 4), (16, 16), (40, 23), (17, 90)])
def test_what_is_pointwise_is_not_changed(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert (run(x, Tiles(16, 5), lambda x: x * 2) - x * 2).abs().max() < 1e-12


@torch.no_grad()
def test_a_window_shows_at_the_cuts_only():
    x, conv = torch.rand(1, 2, 8, 30, dtype=torch.float64), Conv2d(2, 2).double()
    wrong = (run(x, Tiles(16, 4), conv) - conv(x)).abs().amax((0, 1, 2)) > 1e-12
    cuts = {c for span in blended.spans(30, 16, 4) for c in (span.start, span.end - 1)} - {0, 29}
    assert set(wrong.nonzero().flatten().tolist()) == cuts


@pytest.mark.parametrize("name", NETWORKS)
def test_one_tile_is_the_whole_run(vaes, name):
    vae, z = vaes[name], latent(vaes[name], 5, 7)
    x = torch.rand(2, 3, 4 * 5 - 1, 4 * 7 - 2).double() * 2 - 1
    assert torch.equal(vae.decode(z, tiles=Tiles(64, 16), size=(17, 19)), vae.decode(z, size=(17, 19)))
    whole, tiled = vae.encode(x), vae.encode(x, tiles=Tiles(64, 16))
    assert torch.equal(tiled.mode(), whole.mode()) and torch.equal(tiled.logvar, whole.logvar)
    assert tiled.size == whole.size == (19, 26)


def test_without_norms_it_comes_near_the_whole(vaes):
    """The nearer, the more tiles have in common: the cuts are what is wrong with it."""
    vae = vaes["no norms"]
    z, x = latent(vae, 40, 56), torch.rand(1, 3, 159, 222, dtype=torch.float64) * 2 - 1
    whole, mode = vae.decode(z), vae.encode(x).mode()
    less, more = (decibels(vae.decode(z, tiles=Tiles(96, overlap)), whole) for overlap in (0, 48))
    assert 30 < less < more - 1  # measured: 35.1 and 37.7
    assert decibels(vae.encode(x, tiles=Tiles(96, 48)).mode(), mode) > 30  # measured: 33.0


@pytest.mark.parametrize("name", mark_slow(["group norms", "patchified"], ["patchified"]))
def test_with_group_norms_only_bands_are_exact(vaes, name):
    """The contrast that bands are there for."""
    vae = vaes[name]
    z = latent(vae, 40, 56)
    whole = vae.decode(z)
    assert decibels(vae.decode(z, rows=64), whole) > 250
    assert decibels(vae.decode(z, tiles=Tiles(96, 48)), whole) < 25  # measured: 19.4 and 18.3
    x = whole.clamp(-1, 1)
    mode = vae.encode(x).mode()
    assert decibels(vae.encode(x, rows=64).mode(), mode) > 250
    assert decibels(vae.encode(x, tiles=Tiles(96, 48)).mode(), mode) < 25  # measured: 20.7 and 18.9


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (45, 79), (70, 33), (7, 130)], ids=str)
def test_any_size_comes_back(vaes, name, size):
    vae = vaes[name]
    x = torch.rand(1, 3, *size).double() * 2 - 1
    whole, tiled = vae.encode(x), vae.encode(x, tiles=Tiles(32, 8))
    assert tiled.mode().shape == whole.mode().shape and tiled.size == size
    assert vae.decode(tiled.mode(), size=size, tiles=Tiles(32, 8)).shape == x.shape


def test_clips_and_batches(vaes):
    vae = vaes["no norms"]
    z = torch.randn(2, 4, 3, 9, 12).double()
    clip = vae.decode(z, tiles=Tiles(24, 8))
    assert clip.shape == (2, 3, 3, 36, 48)
    single = vae.decode(z[1:, :, 2], tiles=Tiles(24, 8))
    assert (clip[1:, :, 2] - single).abs().max() < 1e-12
    again = vae.encode(clip.clamp(-1, 1), tiles=Tiles(24, 8)).mode()
    assert again.shape == z.shape


def test_the_plan_is_told_once_and_progress_to_the_end(vaes):
    vae, plans, calls = vaes["group norms"], [], []
    z = latent(vae)
    vae.decode(z, tiles=Tiles(64, 16), on_plan=plans.append, progress=lambda done, total: calls.append((done, total)))
    (plan,) = plans
    assert plan.count == 4  # 80 x 112 pixels
    assert plan.each == vae.plan("decode", plan.tiles.tile_shape(z.shape, 4))
    assert plan.each.peak < vae.plan("decode", z.shape, rows=z.shape[-2] * 4).peak
    assert str(plan).startswith("blended, approximate: 4 tiles of 64 pixels, 16 shared; each whole; at most ")
    assert calls[0] == (0, 4000) and calls[-1] == (4000, 4000)
    assert calls == sorted(calls) and max(b[0] - a[0] for a, b in itertools.pairwise(calls)) < 500


def test_one_tile_s_plan(vaes):
    plans = []
    vaes["no norms"].decode(latent(vaes["no norms"], 3, 3), tiles=Tiles(), on_plan=plans.append)
    assert str(plans[0]).startswith("one tile, nothing to blend: whole; at most ")


@pytest.mark.parametrize(
    ("size", "overlap", "words"),
    [
        (64, 64, "tiles of 64 pixels cannot overlap by 64: choose an overlap that is smaller"),
        (64, 100, "cannot overlap by 100"),
        (0, 0, "there are no tiles of 0 pixels"),
        (64, -1, "that overlap by -1"),
    ],
)
def test_tiles_that_there_are_not(size, overlap, words):
    with pytest.raises(BadRequest, match=words):
        Tiles(size, overlap)


def test_tiles_smaller_than_a_pixel_of_the_latent(vaes):
    with pytest.raises(BadRequest, match="tiles of 3 pixels are too small for a VAE that works at 1/4: choose 4"):
        vaes["no norms"].decode(latent(vaes["no norms"], 3, 3), tiles=Tiles(3, 0))


def test_bad_input_is_refused_before_the_first_tile(vaes):
    z = latent(vaes["no norms"])
    z[..., -1, -1] = float("nan")
    plans = []
    with pytest.raises(NumericalOverflow, match="this latent holds NaN"):
        vaes["no norms"].decode(z, tiles=Tiles(32, 8), on_plan=plans.append)
    assert not plans


def test_a_tile_of_a_latent_and_of_an_image():
    assert Tiles(512).tile_shape((1, 4, 200, 30), 8) == (1, 4, 64, 30)
    assert Tiles(512).tile_shape((1, 3, 1600, 240), 1) == (1, 3, 512, 240)
    assert Tiles(8, 0).tile_shape((1, 4, 3, 2, 2), 16) == (1, 4, 3, 1, 1)
