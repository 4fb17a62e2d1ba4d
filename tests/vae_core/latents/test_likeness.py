"""Small maps of a latent tell a flip from a sampler's work."""

import pytest
import torch
from exact_vae.vae_core.latents.likeness import draw_marks, lies_as_before
from exact_vae.vae_core.latents.noise import Noise
from exact_vae.vae_core.latents.tag import Tag


def smooth(*shape, seed=0):
    """As latents of images are: more large shapes than fine grain."""
    return Noise(seed, spectrum="pink").draw(shape)


SHAPES = pytest.mark.parametrize(
    "shape", [(1, 4, 16, 16), (2, 16, 9, 40), (1, 3, 5, 64), (1, 48, 3, 12, 20), (3, 4, 2, 2)]
)


@SHAPES
@pytest.mark.parametrize("seed", range(4))
def test_flips_are_noticed_and_samplers_are_not(shape, seed):
    z = smooth(*shape, seed=seed)
    marks = draw_marks(z)
    work = smooth(*shape, seed=seed + 100)
    for strength in (0.0, 0.3, 0.7):
        same = z * (1 - strength) + work * strength
        assert lies_as_before(marks, len(z), same)
        assert lies_as_before(marks, len(z), same.to(torch.bfloat16))
        for dims in ((-1,), (-2,), (-2, -1)):
            is_noticed = strength == 0 or (strength == 0.3 and shape[-1] > 2)  # of 2x2 numbers only equal ones are
            assert not (is_noticed and lies_as_before(marks, len(z), same.flip(dims)))


@SHAPES
def test_another_latent_is_trusted_as_a_sampler_s(shape):
    """At full denoise nothing is left of the image, and its size still holds."""
    marks = draw_marks(smooth(*shape))
    for seed in range(1, 200):
        assert lies_as_before(marks, shape[0], smooth(*shape, seed=seed)), seed


def test_one_colour_says_nothing():
    """Nor do zeros, from which a sampler starts."""
    for value in (0.0, 3.0):
        marks = draw_marks(torch.full((1, 4, 8, 8), value))
        assert lies_as_before(marks, 1, smooth(1, 4, 8, 8)) and lies_as_before(marks, 1, torch.full((1, 4, 8, 8), 3.0))


def test_batches():
    a, b = smooth(1, 4, 8, 8), smooth(1, 4, 8, 8, seed=1)
    marks = draw_marks(a)
    assert lies_as_before(marks, 1, torch.cat([a, a, a]))
    assert lies_as_before(marks, 1, torch.cat([a, a]) + 0.1 * smooth(2, 4, 8, 8, seed=5))
    assert not lies_as_before(marks, 1, torch.cat([a, b]))
    assert not lies_as_before(marks, 1, torch.cat([b, a]))
    assert lies_as_before(draw_marks(torch.cat([a, b])), 2, a)
    assert lies_as_before(draw_marks(torch.cat([a, b])), 2, torch.cat([a, b, a, b]))
    flat = torch.cat([a, torch.ones(1, 4, 8, 8)])
    assert lies_as_before(draw_marks(flat), 2, torch.cat([flat, flat]))


@pytest.mark.parametrize("marks", ["", "?", "AAAA", "AAAA " * 40, "é", draw_marks(smooth(1, 4, 5, 5))])
def test_marks_that_cannot_be_read_are_not_believed(marks):
    assert not lies_as_before(marks, 1, smooth(1, 4, 8, 8))
    tag = Tag("kl", 4, 8, (8, 8), (61, 60), items=1, marks=marks)
    assert tag.check(smooth(1, 4, 8, 8)) == Tag("kl", 4, 8, (8, 8))


def test_marks_are_short():
    assert len(draw_marks(torch.rand(1, 16, 128, 128))) < 200
    assert len(Tag.of(torch.rand(100, 16, 128, 128), "kl", 8, (1000, 1000)).to_json()) < 4000


def test_a_tag_of_before_there_were_marks_is_believed():
    assert Tag("kl", 4, 8, (8, 8), (61, 60)).check(smooth(1, 4, 8, 8)) == Tag("kl", 4, 8, (8, 8), (61, 60))


@pytest.mark.parametrize("bad", [{"frames": [1]}, {"frames": 4}, {"frames": [0, 4]}, {"items": 0}, {"items": "x"}])
def test_what_cannot_be_is_no_tag(bad):
    good = Tag("wan", 16, 8, (8, 8), (61, 60), frames=(2, 4)).to_dict()
    assert Tag.from_dict(good) is not None and Tag.from_dict({**good, **bad}) is None


CLIPS = pytest.mark.parametrize("shape", [(1, 16, 2, 9, 12), (1, 48, 3, 12, 20), (2, 4, 6, 8, 8), (1, 16, 5, 5, 7)])


@CLIPS
@pytest.mark.parametrize("strength", [0.0, 0.15])
def test_time_that_was_turned_is_noticed_and_samplers_are_not(shape, strength):
    """Core's nodes that flip and turn images do so to the third and fourth axis: of a clip these are time and rows."""
    z, work = smooth(*shape), smooth(*shape, seed=7)
    marks, worked_on = draw_marks(z), z * (1 - strength) + work * strength
    assert lies_as_before(marks, len(z), worked_on)
    for turned in (worked_on.flip(2), worked_on.flip(3), worked_on.rot90(2, (3, 2))):
        assert not lies_as_before(marks, len(z), turned)
    if shape[2] == shape[3]:
        for turns in (1, 3):
            assert not lies_as_before(marks, len(z), worked_on.rot90(turns, (3, 2)))


def test_a_clip_that_hardly_moves_has_no_direction():
    still = smooth(1, 16, 1, 9, 12).expand(-1, -1, 2, -1, -1)
    marks = draw_marks(still)
    for seed in range(20):
        assert lies_as_before(marks, 1, still + 0.1 * Noise(seed).draw(still.shape))


def test_marks_of_before_there_were_those_of_motion_are_read():
    z = smooth(1, 4, 3, 8, 8)
    assert lies_as_before(draw_marks(z.mean(2)), 1, z)
    assert not lies_as_before(draw_marks(z.mean(2)), 1, z.flip(4))
