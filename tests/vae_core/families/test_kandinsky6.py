"""Kandinsky 6's VAE for super-resolution against diffusers' own, random weights, float64."""

from dataclasses import replace

import diffusers
import pytest
import torch
from exact_vae.vae_core import VAE, detect, from_weights
from exact_vae.vae_core.families import kandinsky6
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import random_tensors, random_weights
from support.small_networks import SMALL, run_half
from support.tensors import clip, near

EXACT = 1e-12
KIND = "kandinsky6"
FOUR_TIMES = {"encoder_block_out_channels": (8, 8, 16, 16), "decoder_block_out_channels": (8, 16, 16, 24)}
MEMBERS = {"two frames to one": {}, "four frames to one": FOUR_TIMES | {"temporal_compression_ratio": 4}}


@pytest.fixture
def in_double(monkeypatch):
    """diffusers' norms are in fp32 whatever the rest is in; here in fp64."""
    monkeypatch.setattr(torch.Tensor, "float", lambda x: x.double())


def make_reference(**changes):
    make = getattr(diffusers, "Kandinsky6SRVAE", None)
    if make is None:
        pytest.skip("this diffusers has no such class")
    known = make(**DIFFUSERS[KIND][1] | changes).double().eval()
    known.load_state_dict(random_tensors({n: tuple(t.shape) for n, t in known.state_dict().items()}, torch.float64))
    return known


def four() -> VAE:
    """Of four frames to one."""
    encoder = kandinsky6.Coder((8, 8, 16, 16), (1,) * 4, (False, True, True))
    decoder = kandinsky6.Coder((8, 16, 16, 24), (2,) * 4, (True, True, False))
    return from_weights(random_weights(KIND, kandinsky6.Kandinsky6Config(4, encoder, decoder), torch.float64))


def make_pair(member: str):
    known = make_reference(**MEMBERS[member])
    return known, from_weights(known.state_dict())


def to_known(x: torch.Tensor) -> torch.Tensor:
    """Pixels as its pipeline gives them to it, n / 128 - 1 for a byte n."""
    return (x + 1) * (127.5 / 128) - 1


def from_known(x: torch.Tensor) -> torch.Tensor:
    return (x + 1) * (128 / 127.5) - 1


@pytest.mark.parametrize("frames", [1, 5, 17, 21, 37])
@pytest.mark.parametrize("member", MEMBERS)
@torch.no_grad()
def test_equals_diffusers(in_double, member, frames):
    """Which has segments: of the first frame and sixteen, then of sixteen. They change nothing."""
    known, ours = make_pair(member)
    ratio, step = ours.spatial_ratio, ours.temporal_ratio
    assert (ours.family, ratio, step) == (KIND, known.spatial_compression_ratio, known.temporal_compression_ratio)
    x = clip(3, frames, 3 * ratio, 2 * ratio)[:1]
    z = 4 * clip(4, 1 + frames // step, 3, 2)[:1]
    got, want = ours.encode(x), known.encode(to_known(x)).latent_dist
    assert near(got.mode(), want.mean) < EXACT and near(got.std.view(want.std.shape), want.std) < EXACT
    assert near(ours.decode(z), from_known(known.decode(z).sample)) < EXACT
    assert near(ours.encode(-x).mode(), got.mode()) > 1e-3 < near(ours.decode(-z), ours.decode(z))


@torch.no_grad()
def test_images_are_clips_of_one_frame(in_double):
    known, ours = make_pair("four frames to one")
    x, z = clip(3, 1, 24, 16), 4 * clip(4, 1, 3, 2)
    want = known.encode(to_known(x)).latent_dist.mean[:, :, 0]
    assert near(ours.encode(x[:, :, 0]).mode(), want) < EXACT
    assert near(ours.decode(z[:, :, 0]), from_known(known.decode(z).sample)[:, :, 0]) < EXACT


@pytest.mark.parametrize(("frames", "h", "w"), [(4, 20, 13), (7, 9, 8), (0, 15, 21)])
@torch.no_grad()
def test_all_sizes_and_numbers_of_frames(frames, h, w):
    """The last frame is repeated, and the image mirrored, up to what the network takes."""
    ours = four()
    x = clip(3, frames or 1, h, w)[:1]
    x = x if frames else x[:, :, 0]
    z = ours.encode(x).mode()
    made = (1 + -(-(frames - 1) // 4),) if frames else ()
    assert z.shape[2:] == (*made, -(-h // 8), -(-w // 8))
    assert ours.decode(z).shape[-2:] == (8 * z.shape[-2], 8 * z.shape[-1])


@pytest.mark.parametrize("how", [{"rows": 3}, {"rows": 1, "keep": "disk"}, {"rows": 8}])
@torch.no_grad()
def test_bands_are_the_whole(how):
    ours = four()
    x, z = clip(3, 9, 40, 24)[:1], 4 * clip(4, 3, 5, 3)[:1]
    for frames in (slice(None), 0):  # a clip, and an image
        assert near(ours.encode(x[:, :, frames], **how).mode(), ours.encode(x[:, :, frames]).mode()) < EXACT
        assert near(ours.decode(z[:, :, frames], **how), ours.decode(z[:, :, frames])) < EXACT


@torch.no_grad()
def test_parts_are_the_whole():
    """One latent frame at a time, so that each part begins with what the one before it left."""
    ours = four()
    x, z = clip(3, 17, 16, 24)[:1], 4 * clip(4, 5, 2, 3)[:1]
    for part, given in (("encode", x[0]), ("decode", z[0])):
        for numbers in (0, 3000):
            assert near(run_half(ours, part, given, numbers, frames=1), run_half(ours, part, given)) < EXACT
    assert near(torch.cat(list(ours.decode_frames(z)), 1)[None], ours.decode(z)) < EXACT
    assert ours.decode(z).shape[2] == 17


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_halves_are_known(half):
    _, config = SMALL[KIND]
    alone = replace(config, **{"decoder" if half == "encoder" else "encoder": None})
    assert kandinsky6.detect(expected_shapes(KIND, alone)) == alone
    assert (alone.parts, alone.temporal_ratio, alone.spatial_ratio) == ((half,), 2, 4)


def test_the_published_file():
    found = detect(header("kandinsky6-sr.diffusers")["shapes"])
    assert found.is_whole and found.config == kandinsky6.FAMILY.example
    assert found.title == "Kandinsky 6's KVAE 3-D, 64 channels at 1/16: Kandinsky 6 SR"


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_others_that_change_the_number_of_frames_first_are_not_taken_for_it(half):
    """KVAE 2.0 at 1/8 has the nearest pixel beyond the borders, and names and shapes do not say so."""
    _, config = SMALL[KIND]
    other = replace(config, **{half: replace(getattr(config, half), in_time=(half == "encoder", half == "decoder"))})
    assert kandinsky6.detect(expected_shapes(KIND, other)) is None
