"""Noise that is the same on every machine."""

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.latents.noise import Noise
from exact_vae.vae_core.latents.philox import NvidiaStream, philox
from exact_vae.vae_core.latents.spectra import POWERS, SPECTRA

SHAPES = [(3, 4, 8, 8), (2, 16, 3, 4, 4), (1, 64, 2, 2)]

# tests/kat_vectors of Random123 (D. E. Shaw Research), the lines "philox4x32 10".
KNOWN = [
    ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

# torch.manual_seed(0); torch.randn(8, 10, device="cuda"), as a GPU printed it in the notebook of the CUDA MODE lecture
# on fused kernels (repository cuda-mode-lecture, by K. Sharma).
ON_A_GPU = """
-0.9247 -0.4253 -2.6438  0.1452 -0.1209 -0.5797 -0.6229 -0.3284 -1.0745 -0.3631
-1.6711  2.2655  0.3117 -0.1842  1.2866  1.1820 -0.1271  1.2169  1.4353  1.0605
-0.4941 -1.4244 -0.7244 -1.2973  0.0697 -0.0074  1.8969  0.6878 -0.0779 -0.8373
 1.3506 -0.2879 -0.5965 -0.3283 -0.9086 -0.8059 -0.7407 -0.0504  0.5435  1.5150
 0.0141  0.4532  1.6349  0.7124 -0.1806  1.0252 -1.4622 -0.7554 -0.1836  0.3824
 0.3918 -0.0830  0.8971 -1.1123  0.1116  0.4863 -0.5499 -0.3231 -0.5469  0.9049
 0.2837  0.1210  0.4730 -1.0823 -0.0334 -0.9734  0.9559 -1.1795 -1.0064  0.1160
 0.6852 -0.4124 -0.6738 -0.5404  0.6898 -1.5517  0.3805 -0.0436  0.3597 -0.5043
"""


@pytest.mark.parametrize("source", ["cpu", "nvidia"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_item_can_be_made_again_alone(shape, source):
    batch = Noise(7, source).draw(shape)
    for i in range(shape[0]):
        assert torch.equal(batch[i], Noise(7 + i, source).draw((1, *shape[1:]))[0])
        assert torch.equal(batch[i], Noise(7, source).draw((1, *shape[1:]), [i])[0])


@pytest.mark.parametrize("source", ["cpu", "nvidia"])
def test_one_stream(source):
    batch = Noise(5, source, "single").draw((4, 4, 8, 8))
    assert torch.equal(Noise(5, source, "single").draw((2, 4, 8, 8))[0], Noise(5, source).draw((1, 4, 8, 8))[0])
    if source == "cpu":
        torch.manual_seed(5)
        assert torch.equal(batch, torch.randn(4, 4, 8, 8))
        torch.manual_seed(5)
        assert torch.equal(Noise(5).draw((1, 4, 8, 8)), torch.randn(1, 4, 8, 8))
        # Items 3 and 1 of a batch, in this order: those of the whole batch.
        assert torch.equal(Noise(5, source, "single").draw((2, 4, 8, 8), [3, 1]), batch[[3, 1]])


def test_one_noise_for_all():
    batch = Noise(5, batch_seeds="same").draw((3, 4, 8, 8))
    assert torch.equal(batch, Noise(5).draw((1, 4, 8, 8)).expand(3, -1, -1, -1))


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_equals_the_published_vectors(counter, key, words):
    found = philox(tuple(np.array([n], np.uint64) for n in counter), key)
    assert tuple(int(word[0]) for word in found) == words


def test_nvidia_equals_what_a_gpu_printed():
    want = torch.tensor([float(n) for n in ON_A_GPU.split()])
    found = Noise(0, "nvidia").draw((1, 8, 10))
    assert (found.flatten() - want).abs().max() <= 0.5e-4 + 1e-6  # printed to four digits


def test_nvidia_with_more_numbers_than_threads():
    """Threads make four numbers a turn, and write them one grid apart; the stream then goes on behind all of them."""
    few, many = NvidiaStream(3, threads=256), NvidiaStream(3)
    found = few.numbers(256 * 9)
    assert np.array_equal(found[:256], many.numbers(256))
    assert not np.isin(found[256:512], found[:256]).any()
    assert few.offset == 3 and many.offset == 1
    # The fifth number of a thread is the first of its second turn: that of a stream of one number a thread.
    assert np.array_equal(found[1024:1280], many.numbers(256))
    assert abs(found.mean()) < 0.1 and abs(found.std() - 1) < 0.05


@pytest.mark.parametrize("source", ["cpu", "nvidia"])
def test_it_is_gaussian(source):
    noise = Noise(0, source).draw((4, 4, 128, 128))
    assert noise.mean(dim=(2, 3)).abs().max() < 0.03
    assert (noise.std(dim=(2, 3)) - 1).abs().max() < 0.03
    assert (noise**4).mean() == pytest.approx(3, abs=0.05)  # kurtosis
    assert noise.dtype is torch.float32


def test_the_largest_seed_does_not_overflow():
    assert torch.equal(Noise(2**64 - 1).draw((2, 1, 2, 2))[1], Noise(0).draw((1, 1, 2, 2))[0])


@pytest.mark.parametrize("source", ["cpu", "nvidia"])
def test_numpy_s_numbers_are_seeds(source):
    found = Noise(np.int64(7), source, variation_seed=np.int32(3), variation_strength=0.5).draw((1, 2, 3, 3))
    assert torch.equal(found, Noise(7, source, variation_seed=3, variation_strength=0.5).draw((1, 2, 3, 3)))
    for seed in (1.5, None, "7"):
        with pytest.raises(BadRequest, match="a seed is a whole number, not"):
            Noise(seed, source)
        with pytest.raises(BadRequest, match="a seed is a whole number, not"):
            Noise(variation_seed=seed)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for spectrum in SPECTRA:
        Noise(3, spectrum=spectrum, variation_strength=0.5).draw((2, 4, 4, 4))
    assert torch.equal(torch.get_rng_state(), state)


def test_variations():
    shape = (2, 4, 16, 16)
    base, other = Noise(1).draw(shape), Noise(9).draw(shape)
    assert torch.equal(Noise(1, variation_seed=9).draw(shape), base)
    assert torch.allclose(Noise(1, variation_seed=9, variation_strength=1.0).draw(shape), other, atol=1e-6)
    near = Noise(1, variation_seed=9, variation_strength=0.3).draw(shape)
    assert (near.std(dim=(1, 2, 3)) - 1).abs().max() < 0.05  # along the line it would be 0.76
    assert ((near - base).norm() < (near - other).norm()).item()
    alike = Noise(1, batch_seeds="same", variation_seed=9, variation_strength=0.2).draw(shape)
    assert not torch.equal(alike[0], alike[1])  # variations of one seed


@pytest.mark.parametrize("source", ["cpu", "nvidia"])
@pytest.mark.parametrize("spectrum", [s for s in SPECTRA if s != "white"])
@pytest.mark.parametrize("shape", [(2, 4, 64, 48), (1, 16, 3, 33, 17), (1, 3, 1, 7), (1, 2, 2, 1)])
def test_every_plane_has_unit_variance(spectrum, shape, source):
    noise = Noise(11, source, spectrum=spectrum).draw(shape)
    assert noise.shape == shape and noise.dtype is torch.float32
    assert noise.mean(dim=(-2, -1)).abs().max() < 1e-6
    assert (noise.std(dim=(-2, -1), correction=0) - 1).abs().max() < 1e-6
    assert torch.equal(noise, Noise(11, source, spectrum=spectrum).draw(shape))


def test_a_single_pixel_has_no_spectrum():
    for spectrum in SPECTRA:
        assert torch.equal(Noise(1, spectrum=spectrum).draw((1, 8, 1, 1)), Noise(1).draw((1, 8, 1, 1)))


@pytest.mark.parametrize(("spectrum", "power"), POWERS.items())
def test_the_power_of_a_frequency(spectrum, power):
    """The slope of power over frequency, both in logarithms, on rings around zero frequency."""
    noise = Noise(0, spectrum=spectrum).draw((1, 64, 64, 64)).double()
    found = torch.fft.fft2(noise).abs().square().mean((0, 1))
    f = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None]).double()
    ring = (f > 0.05) & (f < 0.5)
    x, y = f[ring].log(), found[ring].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize(("spectrum", "smooth"), [("perlin", True), ("pyramid", True), ("blue", False)])
def test_neighbours(spectrum, smooth):
    noise = Noise(0, spectrum=spectrum).draw((1, 8, 64, 64))
    alike = (noise[..., 1:] * noise[..., :-1]).mean()
    assert alike > 0.3 if smooth else alike < -0.1


def test_words_that_mean_nothing():
    for wrong in ({"source": "gpu"}, {"batch_seeds": "x"}, {"spectrum": "green"}):
        with pytest.raises(BadRequest, match=r"noise cannot be '.*': choose one of"):
            Noise(**wrong)
    for index in ([1], [-1, 0]):
        with pytest.raises(BadRequest, match="2 items cannot be items"):
            Noise().draw((2, 1, 2, 2), index)
    assert Noise().draw((0, 4, 2, 2)).shape == (0, 4, 2, 2)


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (1, 4, 2.5, 3), (1, 4, -1, 3), ("1", 4, 3, 3)], ids=str)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_what_is_no_shape(spectrum, shape):
    with pytest.raises(BadRequest, match="no noise of shape"):
        Noise(0, spectrum=spectrum).draw(shape)
