"""Clips that are read and written a few frames at a time: the same numbers, and no more memory for more frames."""

import pytest
import torch
from exact_vae.vae_core import BadPixels, BadRequest, DoesNotFit, NumericalOverflow
from exact_vae.vae_core.execution import clips, run
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.ops import LookAround
from support.live_memory import LiveMemory
from support.small_networks import SMALL, small

RAGGED = (21, 35)


class Drawn:
    """A clip of random frames that are made when they are read, so many at a time."""

    def __init__(self, channels, frames, size=RAGGED, at_once=3, dtype=torch.float64):
        self.shape, self.at_once, self.dtype = (channels, frames, *size), at_once, dtype
        self.reads = 0

    def read(self):
        self.reads += 1
        c, frames, h, w = self.shape
        generator = torch.Generator().manual_seed(0)
        for start in range(0, frames, self.at_once):
            n = min(self.at_once, frames - start)
            yield torch.rand(n, c, h, w, generator=generator, dtype=self.dtype).transpose(0, 1) * 2 - 1

    def all(self):
        return torch.cat(list(self.read()), 1)[None]


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "effnet"])
def test_frames_equal_the_clip(kind):
    vae = small(kind)
    size = (vae.image_size or 2 * vae.spatial_ratio - 3 * (vae.spatial_ratio > 4),) * 2
    clip = Drawn(vae.in_channels, 6, size)
    whole = vae.encode(clip.all())
    found = vae.encode_frames(clip)
    assert found.size == whole.size and found.mean.shape == whole.mean.shape
    assert (found.mean - whole.mean).abs().max() < 1e-12
    z = whole.mode()
    frames = torch.cat(list(vae.decode_frames(z, size=whole.size)), 1)
    assert (frames - vae.decode(z, size=whole.size)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("kind", ["wan", "hunyuan_image_3"])
def test_any_number_of_frames_in_any_portions(kind, frames, at_once):
    vae = small(kind)
    clip = Drawn(vae.in_channels, frames, at_once=at_once)
    whole, found = vae.encode(clip.all()), vae.encode_frames(clip)
    assert (found.mode() - whole.mode()).abs().max() < 1e-12
    pixels = torch.cat(list(vae.decode_frames(whole.mode(), size=whole.size)), 1)
    assert pixels.shape[1:] == vae.decode(whole.mode(), size=whole.size).shape[2:]


@pytest.mark.parametrize("how", [{"rows": 8}, {"rows": 8, "keep": "disk"}], ids=["bands", "bands on disk"])
def test_frames_in_bands(how):
    vae = small("wan")
    clip = Drawn(3, 9)
    whole = vae.encode(clip.all())
    assert (vae.encode_frames(clip, **how).mean - whole.mean).abs().max() < 1e-12
    frames = torch.cat(list(vae.decode_frames(whole.mode(), size=whole.size, **how)), 1)
    assert (frames - vae.decode(whole.mode(), size=whole.size)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["wan", "hunyuan_video_15", "ltx_video"])
def test_frames_that_are_one_band(kind):
    """What is to be known of them later is kept all the same."""
    vae = small(kind)
    z = torch.randn(1, 4, 4, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert vae.plan("decode", z.shape, streamed=True, rows=3).rows
    frames, whole = torch.cat(list(vae.decode_frames(z, rows=3)), 1), vae.decode(z)[0]
    assert frames.shape == whole.shape and (frames - whole).abs().max() < 1e-12


def test_an_end_gives_no_op_more_frames_than_a_part():
    """Ops that were given eight frames of a part are told eight together; those that were given none yet, alone."""
    ops = tuple(LookAround(1) for _ in range(12))
    groups = list(clips.list_endings(ops, {id(op): 8 for op in ops[2:]}))
    assert [len(group) for group in groups] == [1, 1, 8, 2]
    assert set().union(*groups) == {id(op) for op in ops}


def test_frames_come_as_soon_as_they_are_final():
    vae, seen = small("wan"), []
    frames = vae.decode_frames(torch.randn(1, 4, 5, 2, 2), progress=lambda done, total: seen.append(done))
    assert next(frames).shape[1] == 1 and seen[-1] < 400
    assert [part.shape[1] for part in frames] == [4] * 4 and seen[-1] == 1000


def test_latents_of_images_are_decoded_one_by_one():
    vae, seen, plans = small("wan"), [], []
    z = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    frames = list(vae.decode_frames(z, progress=lambda done, total: seen.append((done, total)), on_plan=plans.append))
    assert [frame.shape for frame in frames] == [(3, 1, 16, 16)] * 3
    assert torch.equal(torch.cat(frames, 1).transpose(0, 1), vae.decode(z))
    assert seen == sorted(seen) and seen[-1] == (3000, 3000) and len(plans) == 1


@pytest.fixture
def counted_stores(monkeypatch):
    """Bands stay tensors like any other: the rooms of a CPU would not be counted."""
    for module in (clips, run):
        monkeypatch.setattr(module, "make_store", lambda plan, device: OnDevice())


@pytest.mark.parametrize("how", [{"rows": 1000}, {"rows": 8}], ids=["whole rows", "bands"])
@pytest.mark.parametrize("kind", ["wan", "wan: 2.2", "tiny_video"])
@torch.no_grad()
def test_a_clip_of_any_length_takes_the_same_memory(counted_stores, kind, how):
    """The tenth part is as good as any later one: more frames take some numbers of the latent more, no more."""
    vae = small(kind, torch.float32)
    sizes, encoding, decoding = [], [], []
    for frames in (41, 65):
        clip = Drawn(vae.in_channels, frames, (4 * vae.spatial_ratio,) * 2, dtype=torch.float32)
        z = torch.randn(1, vae.latent_channels, vae.clip_law.latents(frames), 4, 4)
        for half, shape in (("encode", (1, *clip.shape)), ("decode", z.shape)):
            assert vae.plan(half, shape, streamed=True, **how).frames == 1  # counted on tensors too, once
        with LiveMemory() as encoded:
            vae.encode_frames(clip, **how)
        with LiveMemory() as decoded:
            for part in vae.decode_frames(z, **how):
                del part
        sizes.append(z.nbytes)
        encoding.append(encoded.most)
        decoding.append(decoded.most)
    latents = sizes[1] - sizes[0]
    assert encoding[1] - encoding[0] <= 6 * latents  # parts, mean and variance
    assert decoding[1] - decoding[0] <= 2 * latents


def test_the_plan_says_so():
    vae = small("wan", torch.float32)
    streamed = [vae.plan("decode", (1, 4, latents, 4, 4), streamed=True) for latents in (3, 30)]
    assert streamed[1].peak - streamed[0].peak <= 3 * 27 * 4 * 16 * 4 + 2**12
    assert vae.plan("decode", (1, 4, 30, 4, 4)).peak > streamed[1].peak


def test_what_cannot_be_cut_in_time_is_planned_as_a_whole():
    vae = small("hunyuan_video", torch.float32)
    assert not vae.plan("decode", (1, 4, 5, 2, 2), streamed=True).frames


@pytest.mark.parametrize(
    ("said", "read", "words"),
    [
        ((3, 7, 8, 8), (3, 5, 8, 8), "this clip ends after 5 of its 7 frames"),
        ((3, 4, 8, 8), (3, 5, 8, 8), r"after 3 of its frames comes float32 of shape \(3, 2, 8, 8\): .* 4 frames"),
        ((3, 5, 8, 8), (3, 5, 8, 9), "after 0 of its frames comes"),
        ((3, 0, 8, 8), (3, 5, 8, 8), r"this clip is \(3, 0, 8, 8\): 'wan' encodes \(3, T, H, W\)"),
        ((4, 5, 8, 8), (4, 5, 8, 8), "'wan' encodes"),
        ((3, 8, 8), (3, 5, 8, 8), "'wan' encodes"),
    ],
    ids=["too few", "too many", "another size", "none", "other channels", "an image"],
)
def test_frames_that_are_not_what_they_say(said, read, words):
    clip = Drawn(*read[:2], read[2:], dtype=torch.float32)
    told = type("Told", (), {"shape": said, "read": lambda self: clip.read()})()
    with pytest.raises(BadPixels, match=words):
        small("wan", torch.float32).encode_frames(told)


def test_bad_numbers_are_said_where_they_come():
    vae = small("wan", torch.float32)
    bad = type("Bad", (), {"shape": (3, 5, 8, 8), "read": lambda self: iter((torch.full((3, 5, 8, 8), 1e9),))})()
    with pytest.raises(BadPixels):
        vae.encode_frames(bad)
    with torch.no_grad():
        next(reversed(list(vae.network.parameters()))).fill_(torch.inf)
    frames = vae.decode_frames(torch.randn(1, 4, 3, 2, 2))
    with pytest.raises(NumericalOverflow):
        next(frames)


def test_what_is_refused_is_refused_at_the_call():
    vae = small("wan", torch.float32)
    with pytest.raises(BadRequest, match="one clip, not of 2"):
        vae.decode_frames(torch.randn(2, 4, 3, 2, 2))
    with pytest.raises(DoesNotFit):
        vae.decode_frames(torch.randn(1, 4, 3, 2, 2), budget=1000)
    with pytest.raises(BadRequest, match="tiles"):
        vae.decode_frames(torch.randn(1, 4, 3, 2, 2), tiles=(64, 16))
