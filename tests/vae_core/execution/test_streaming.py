"""Images that come and go row by row are those that come and go whole, in far less memory."""

import json
import os
import subprocess
import sys
import weakref
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.vae_core import (
    BadPixels,
    BadRequest,
    DoesNotFit,
    LatentMismatch,
    NumericalOverflow,
    Tiles,
    from_weights,
)  # fmt: skip
from exact_vae.vae_core.execution import run, streaming, whole
from exact_vae.vae_core.execution.bands import stores
from exact_vae.vae_core.families import FAMILIES
from exact_vae.vae_core.families.kl import Coder
from exact_vae.vae_core.images.pixels import pad_to
from exact_vae.vae_core.ops import Conv2d
from support.random_networks import random_weights, small_kl

TESTS = Path(__file__).parents[2]
TINY = next(family.example for family in FAMILIES if family.name == "tiny")
HALF = Coder((32, 64, 64), (1, 1, 1), (False,) * 3, mid_attention=False)
NETWORKS = {
    "no attention": ("kl", small_kl(encoder=HALF, decoder=HALF)),
    "kl": ("kl", small_kl()),
    "tiny": ("tiny", TINY),
    "flux2": ("kl", small_kl(patch=2)),
}
WAYS = [{}, {"rows": 5}, {"rows": 8, "keep": "disk"}, {"keep": "device"}]


def network(name: str, **changes):
    return from_weights({**random_weights(*NETWORKS[name]), **changes}, "small.safetensors")


@pytest.fixture(scope="module")
def vae():
    return network("kl")


class Pixels:
    """A tensor (1, C, H, W) that is read in bands of n rows; counts how often."""

    def __init__(self, x: torch.Tensor, n: int = 3):
        self.x, self.n, self.reads = x[0], n, 0
        self.shape = tuple(self.x.shape)

    def read(self):
        self.reads += 1
        return iter(self.x.split(self.n, 1))


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("size", [(37, 30), (3, 50), (1, 1)], ids=str)
@pytest.mark.parametrize("name", ["kl", "tiny", "flux2"])
def test_rows_are_those_of_the_whole_image_to_the_bit(name, size, how):
    vae = network(name)
    x = torch.rand(1, 3, *size) * 2 - 1
    want, got = vae.encode(x, **how), vae.encode_rows(Pixels(x, 7), **how)
    assert torch.equal(got.mean, want.mean) and torch.equal(got.logvar, want.logvar) and got.size == want.size
    latent = want.mode()
    bands = list(vae.decode_rows(latent, size=size, **how))
    assert torch.equal(torch.cat(bands, 1)[None], vae.decode(latent, size=size, **how))
    assert torch.equal(torch.cat(list(vae.decode_rows(latent, **how)), 1)[None], vae.decode(latent, **how))


def test_bands_come_before_the_last_is_made(vae):
    calls = []
    bands = vae.decode_rows(torch.zeros(1, 4, 64, 4), rows=4, progress=lambda done, total: calls.append(done))
    assert calls == []
    next(bands)
    assert calls and calls[-1] < 1000
    assert sum(band.shape[1] for band in bands) < 256
    assert calls[-1] == 1000


@pytest.mark.parametrize("ratio", [1, 2, 8, 32])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 2), (17, 15), (33, 64)], ids=str)
def test_images_are_continued_as_tensors_are(size, ratio):
    x = torch.randn(1, 3, *size)
    for n in (1, 4, 50):
        image = streaming.StreamedImage(Pixels(x, n), ratio, torch.device("cpu"), torch.float64, lambda band: None)
        assert torch.equal(image.tensor(), pad_to(x.double(), ratio))
        assert torch.equal(torch.cat(list(image.bands(5)), -2), pad_to(x.double(), ratio))


@torch.no_grad()
def test_a_source_is_read_again_if_a_norm_s_input_is_not_held(vae):
    pixels = Pixels(torch.rand(1, 3, 32, 32))
    image = streaming.StreamedImage(pixels, 4, torch.device("cpu"), torch.float64, lambda band: None)
    encoder = deepcopy(vae.network.encoder).double()
    ops = (encoder.conv_in, encoder.down[0].block[0].norm1)
    once = replace(vae.plan("encode", (1, 3, 32, 32), rows=8, streamed=True), shape=(32, 32, 32))
    want = whole.run(ops, image.tensor())
    for plan, reads in ((once, 1), (replace(once, twice=(0,)), 2)):
        before = pixels.reads
        assert torch.allclose(streaming.encode(ops, image, plan, run.Observer()), want, atol=1e-12)
        assert pixels.reads == before + reads


@pytest.mark.parametrize("keep", ["device", "disk"])
def test_closing_early_gives_back_what_is_held(vae, keep, monkeypatch):
    kept, held = [], []
    make, put = run.make_store, stores.InMappedMemory.put
    monkeypatch.setattr(run, "make_store", lambda *how: kept.append(make(*how)) or kept[-1])

    def noted(self, band):
        kept = put(self, band)
        held.append(weakref.ref(kept.get()))
        return kept

    monkeypatch.setattr(stores.InMappedMemory, "put", noted)
    bands = vae.decode_rows(torch.zeros(1, 4, 32, 8), rows=4, keep=keep)
    next(bands)
    (one,) = kept
    if keep == "disk":
        assert not one.file.closed
        bands.close()
        assert one.file.closed
    else:
        assert any(band() is not None for band in held)
        bands.close()
        assert held and not any(band() is not None for band in held)


def test_an_error_of_progress_closes_too(vae, monkeypatch):
    kept, make = [], run.make_store
    monkeypatch.setattr(run, "make_store", lambda *how: kept.append(make(*how)) or kept[-1])

    def stop(done, total):
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vae.encode_rows(Pixels(torch.zeros(1, 3, 64, 16)), rows=8, keep="disk", progress=stop)
    assert kept[0].file.closed


def test_grad_mode_is_left_alone(vae):
    bands = vae.decode_rows(torch.zeros(1, 4, 8, 8), rows=4)
    assert not next(bands).requires_grad
    assert torch.is_grad_enabled()


def test_bands_are_the_reader_s_own():
    vae = from_weights({"pixel_space_vae": torch.tensor(1.0)}, "pixels")
    z = torch.rand(1, 3, 9, 5)
    kept = z.clone()
    for band in vae.decode_rows(z, rows=2):
        band.zero_()
    assert torch.equal(z, kept)


def test_the_image_is_not_counted(vae):
    wide = (1, 4, 4096, 64)
    here, streamed = (vae.plan("decode", wide, rows=8, keep="disk", streamed=s) for s in (False, True))
    assert here.peak - streamed.peak == 3 * 4096 * 64 * 16 * 4
    here, streamed = (vae.plan("encode", (1, 3, 4096, 64), rows=8, keep="disk", streamed=s) for s in (False, True))
    assert here.peak - streamed.peak == 2 * 3 * 4096 * 64 * 4  # as it came, and laid out
    whole = [vae.plan("decode", (1, 4, 8, 8), streamed=s) for s in (False, True)]
    assert whole[0] == whole[1] and not whole[0].rows


def test_a_smaller_budget_is_enough():
    vae = network("no attention")
    tall = (1, 4, 8192, 16)
    with pytest.raises(DoesNotFit):
        vae.plan("decode", tall, budget="24MB")
    assert vae.plan("decode", tall, budget="24MB", streamed=True).keep == "disk"


def test_a_disk_that_is_too_small_is_named(monkeypatch):
    vae = network("no attention")
    monkeypatch.setattr("exact_vae.vae_core.execution.plans.scratch.free", lambda: 5 * 2**20)
    with pytest.raises(DoesNotFit, match=r"needs \d+ MiB of disk, but only 5\.0 MiB are free there"):
        vae.decode_rows(torch.zeros(1, 4, 1024, 16), budget="8MiB", keep="disk")


def test_what_is_wrong_is_said_at_the_call(vae):
    with pytest.raises(LatentMismatch, match="has 16 channels"):
        vae.decode_rows(torch.zeros(1, 16, 2, 2))
    with pytest.raises(
        BadRequest, match=r"rows can be decoded of one image, not of a latent of shape \(1, 4, 3, 2, 2\)"
    ):
        vae.decode_rows(torch.zeros(1, 4, 3, 2, 2))
    with pytest.raises(BadRequest, match="cannot be cropped to 3x-2"):
        vae.decode_rows(torch.zeros(1, 4, 2, 2), size=(-2, 3))
    with pytest.raises(BadRequest, match="0 rows"):
        vae.decode_rows(torch.zeros(1, 4, 2, 2), rows=0)
    with pytest.raises(BadPixels, match=r"this image is \(1, 8, 8\): 'small.safetensors' encodes \(3, H, W\)"):
        vae.encode_rows(Pixels(torch.zeros(1, 1, 8, 8)))


class Lying(Pixels):
    """Its rows are not those its shape promises."""

    def __init__(self, bands, shape):
        self.bands, self.shape = bands, shape

    def read(self):
        return iter(self.bands)


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([torch.zeros(3, 5, 8)], "this image ends after 5 of its 9 rows"),
        ([torch.zeros(3, 9, 8), torch.zeros(3, 8, 8)], "after 9 of its rows comes"),
        (
            [torch.zeros(3, 5, 8), torch.zeros(3, 5, 8)],
            r"after 5 of its rows comes float32 of shape \(3, 5, 8\): give bands \(3, n, 8\), 9 rows in all",
        ),
        ([torch.zeros(3, 9, 7)], r"this image is \(3, 9, 8\), and .* float32 of shape \(3, 9, 7\)"),
        ([torch.zeros(3, 9, 8, dtype=torch.uint8)], "not of uint8"),
        ([torch.zeros(3, 5, 8), torch.zeros(3, 0, 8), torch.zeros(3, 4, 8)], "after 5 of its rows comes float32"),
        ([torch.zeros(3, 5, 8), None], "after 5 rows of this image a band must be a tensor, not NoneType"),
        ([torch.zeros(3, 9, 8).to_sparse()], "must be a dense tensor with numbers, not a sparse one"),
        ([torch.zeros(())], "after 0 of its rows comes"),
        ([torch.zeros(3, 5, 8), torch.full((3, 4, 8), 255.0)], "these pixels reach 255"),
        ([torch.zeros(3, 5, 8), torch.full((3, 4, 8), float("nan"))], "these pixels hold NaN or infinity"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"rows": 4}], ids=str)
def test_bad_sources(vae, bands, words, how):
    with pytest.raises(BadPixels, match=words):
        vae.encode_rows(Lying(bands, (3, 9, 8)), **how)


@pytest.mark.parametrize("how", [{}, {"rows": 4}], ids=str)
def test_bands_beyond_the_last_row(vae, how):
    """Of a height that is continued, and of one that is not: there nobody needs to ask for more."""
    for rows in (8, 9):
        with pytest.raises(BadPixels, match=f"after {rows} of its rows comes"):
            vae.encode_rows(Lying([torch.zeros(3, rows, 8), torch.zeros(3, 4, 8)], (3, rows, 8)), **how)


def test_numpy_s_numbers_are_whole(vae):
    bands = [torch.rand(3, 9, 8) * 2 - 1]
    shape = tuple(np.array((3, 9, 8)))
    found = vae.encode_rows(Lying(bands, shape), rows=np.int64(4))
    assert torch.equal(found.mean, vae.encode_rows(Lying(bands, (3, 9, 8)), rows=4).mean)
    image = vae.decode(found.mean, size=tuple(np.array((9, 8))), tiles=Tiles(np.int64(512), np.int16(64)))
    assert image.shape[-2:] == (9, 8)


@pytest.mark.parametrize("source", [None, "image.tif", torch.zeros(3, 9, 8)], ids=["none", "a path", "a tensor"])
def test_what_is_no_source(vae, source):
    for encode in (vae.encode_rows, vae.encode_frames):
        with pytest.raises(BadPixels, match=r"is no source of this (image|clip): it has a `shape`"):
            encode(source)


@pytest.mark.parametrize("shape", [(3, 0, 8), (3, 9), (3, "9", 8), (3.0, 9.0, 8.0), None, (4, 9, 8)], ids=str)
def test_bad_shapes_of_sources(vae, shape):
    with pytest.raises(BadPixels, match=r"encodes \(3, H, W\)"):
        vae.encode_rows(Lying([torch.zeros(3, 9, 8)], shape))


def test_the_band_that_is_not_finite_is_not_passed_on():
    vae = network("kl", **{"decoder.conv_out.bias": torch.full((3,), float("inf"))})
    with pytest.raises(NumericalOverflow, match="the latent was finite, the result is not"):
        next(vae.decode_rows(torch.zeros(1, 4, 4, 4), rows=4))


def test_out_of_memory_is_said(vae, monkeypatch):
    def failing(method):
        def fail(self, x):
            if x.is_meta:  # to plan takes no memory
                return method(self, x)
            raise torch.OutOfMemoryError("CUDA out of memory")

        return fail

    for name in ("forward", "apply_unpadded"):
        monkeypatch.setattr(Conv2d, name, failing(getattr(Conv2d, name)))
    for bands in (vae.decode_rows(torch.zeros(1, 4, 4, 4), rows=4), vae.decode_rows(torch.zeros(1, 4, 4, 4))):
        with pytest.raises(DoesNotFit, match=r"decoding 1 x 4x4 with 'small.safetensors' ran out of memory at \w"):
            next(bands)


MEASURE = """
import json, sys
from pathlib import Path
import torch
from exact_vae.cli import rows
from exact_vae.cli.transparency import Transparency
from exact_vae.vae_core import readers
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.families.kl import Coder
from support.random_networks import random_weights, small_kl

most = 0
def look(*progress):
    global most
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    most = max(most, int(line.split()[1]) * 1024)

coder = Coder((32, 32, 32), (1, 1, 1), (False,) * 3, mid_attention=False)
vae = from_weights(random_weights("kl", small_kl(encoder=coder, decoder=coder)))
how = {"rows": 8, "keep": "disk", "progress": look}

def there_and_back(h):
    global most
    most, path, z = 0, Path(sys.argv[1]) / "tall.tif", torch.zeros(1, 4, h, 64)
    rows.write(path, (3, 4 * h, 256), vae.decode_rows(z, **how), 8)
    decoding, most = most, 0
    vae.encode_rows(rows.PixelsOf(readers.rows(path), 3, Transparency()), **how)
    return decoding, most

there_and_back(64)
short, tall = there_and_back(64), there_and_back(1024)
print(json.dumps([b - a for a, b in zip(short, tall)]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory is used")
def test_memory_does_not_grow_with_the_image(tmp_path):
    """An image of 12 MiB in fp32 comes and goes; its latent of 1 MiB is in memory, a few times on its way."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    # What is freed is given back at once, so that what is used can be told.
    told = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "32768"}
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, env=told)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # for decoding, for encoding
    image = 3 * 4096 * 256 * 4
    assert max(found) < image / 2, found
