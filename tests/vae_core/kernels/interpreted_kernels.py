"""The kernels, interpreted on a CPU, against their twins and float64.

`test_triton_sources.py` runs this file, in a process that says TRITON_INTERPRET=1 before anything imports Triton.
"""

import pytest
import torch
from exact_vae.vae_core import kernels
from exact_vae.vae_core.kernels import choose, torch_twins, triton_sources
from support.small_networks import run_half, small

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
EPS = torch.finfo(torch.float32).eps


@pytest.fixture
def interpreted(monkeypatch):
    """From here on kernels serve tensors of a CPU too, once they have been checked; on a smaller tile than on a GPU."""
    monkeypatch.setattr(choose, "suits", lambda x: x.dtype in DTYPES and choose.lies_in_pixels(x) and not x.is_meta)
    monkeypatch.setattr(choose, "TILE", (2, 13, 11))
    forget()
    yield
    forget()


def forget():
    choose.is_right.cache_clear()
    choose.can_run.cache_clear()


def draw(shape, dtype, mean=0.0):
    """Images (T, C, H, W) in channels last, of deviation 1."""
    t, c, h, w = shape
    x = torch.randn(t, h, w, c, generator=torch.Generator().manual_seed(c)) + mean
    return x.to(dtype).permute(0, 3, 1, 2)


# One channel; a number that no block divides; 96, which is three blocks; pixels fewer than a block, and several chunks.
SHAPES = [(1, 1, 3, 5), (3, 5, 19, 23), (1, 96, 9, 17), (1, 33, 5, 31)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_those_of_float64(shape, dtype):
    """Far from zero too, where the mean of squares less the square of the mean would have no digit left."""
    for mean in (0.0, 1000.0):
        x = draw(shape, dtype, mean)
        found, (true_mean, true_squares) = triton_sources.find_moments(x), torch_twins.find_moments(x.double())
        assert all(t.dtype is torch.float32 and t.shape == shape[:2] for t in found)
        deviation = (true_squares / (shape[2] * shape[3])).sqrt()
        assert ((found[0] - true_mean).abs() <= 4 * EPS * (true_mean.abs() + deviation)).all()
        assert ((found[1] - true_squares).abs() <= 16 * EPS * true_squares).all()


def test_moments_of_many_chunks_are_merged(monkeypatch):
    """More chunks than are merged at a time, the last of them shorter; the mean drifts from one to the next."""
    monkeypatch.setattr(triton_sources, "CHUNKS", 70)
    x = draw((1, 64, 1, 64 * 69 + 5), torch.float32) + torch.linspace(0, 100, 64 * 69 + 5)
    x = x.contiguous(memory_format=torch.channels_last)
    (mean, squares), (true_mean, true_squares) = triton_sources.find_moments(x), torch_twins.find_moments(x.double())
    assert ((mean - true_mean).abs() <= 4 * EPS * true_mean.abs()).all()
    assert ((squares - true_squares).abs() <= 16 * EPS * true_squares).all()


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalizing_rounds_once(dtype, silu):
    """So its error is half a rounding of the result, and never more than that of the twin, which rounds twice.

    In bf16 it is up to a whole one here: Triton's interpreter cuts digits off. See below for what is compiled.
    """
    due = 1.01 if dtype is torch.bfloat16 else 0.51
    for shape in SHAPES:
        x, (weight, bias) = draw(shape, dtype, 3.0), torch.randn(2, shape[1]).to(dtype)
        mean, squares = torch_twins.find_moments(x)
        var = squares / (shape[2] * shape[3])
        for m, v in ((mean, var), (mean[:1], var[:1])):
            args = (m, v, weight, bias, 1e-6, silu)
            exact = torch_twins.normalize(x.double(), m.double(), v.double(), weight, bias, 1e-6, silu)
            y, twin = triton_sources.normalize(x, *args), torch_twins.normalize(x, *args)
            assert y.dtype is dtype and y.is_contiguous(memory_format=torch.channels_last)
            error = (y - exact).abs()
            assert (error <= due * torch.finfo(dtype).eps * exact.abs() + 32 * EPS * (1 + exact.abs())).all()
            if dtype is torch.float16:
                assert error.square().mean() <= 1.001 * (twin - exact).square().mean()


def test_bands_are_read_where_they_lie():
    """Rows out of the middle of a clip: frames are further apart than they are long. And norms without weights."""
    x = draw((3, 6, 9, 7), torch.float32, 5.0)[:, :, 2:6]
    assert not x.is_contiguous(memory_format=torch.channels_last) and choose.lies_in_pixels(x)
    (mean, squares), twins = triton_sources.find_moments(x), torch_twins.find_moments(x)
    assert torch.allclose(mean, twins[0]) and torch.allclose(squares, twins[1], rtol=1e-5)
    args = (mean, squares / 28, None, None, 1e-6, True)
    assert torch.allclose(triton_sources.normalize(x, *args), torch_twins.normalize(x, *args), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_and_skip_are_added_and_rounded_once(dtype):
    due = 1.01 if dtype is torch.bfloat16 else 0.51
    for shape in SHAPES:
        t, c, h, w = shape
        y, bias = draw(shape, dtype, 2.0), torch.randn(c).to(dtype)
        skip = draw((t, c, h + 3, w), dtype)[:, :, 1 : h + 1]  # of a clip, rows out of the middle
        exact = y.double() + bias[:, None, None].double() + skip
        twin, made = torch_twins.add_bias(y.clone(), bias, skip), triton_sources.add_bias(y, bias, skip)
        assert made.data_ptr() == y.data_ptr()
        assert ((made - exact).abs() <= due * torch.finfo(dtype).eps * exact.abs() + 4 * EPS).all()
        if dtype is torch.float16:
            assert (made - exact).square().mean() <= 1.001 * (twin - exact).square().mean()


@pytest.mark.parametrize("name", choose.CHECKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_pass_the_check_that_a_device_makes(interpreted, caplog, name, dtype):
    for channels in (3, 40):
        assert choose.is_right(name, channels, dtype, torch.device("cpu")), caplog.text


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # which makes SiLU what it should be, -0
@torch.no_grad()
def test_a_network_in_bands_of_kernels_is_the_same_in_fp32(interpreted, monkeypatch):
    vae = small("kl", torch.float32)
    z = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    calls, normalize = [], kernels.choose.normalize
    monkeypatch.setattr(kernels, "normalize", lambda *args: calls.append(args[0].shape) or normalize(*args))
    bands = run_half(vae, "decode", z, numbers=3000)
    assert calls and choose.is_right.cache_info().hits
    monkeypatch.setenv("EXACT_VAE_KERNELS", "off")
    want = run_half(vae, "decode", z)
    assert (bands - want).abs().max() < 1e-4 * want.abs().max()


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalizing_pixels_rounds_once(dtype, silu):
    """Where the twin rounds three times. Written into frames that are further apart than they are long."""
    due = 1.01 if dtype is torch.bfloat16 else 0.51
    for shape in SHAPES:
        t, c, h, w = shape
        x, gamma = draw(shape, dtype, 1.0), torch.randn(c).to(dtype)
        room = torch.full((t + 1, h + 1, w, c), 7.0, dtype=dtype).permute(0, 3, 1, 2)
        args = (gamma, 1e-12, silu)
        exact = torch_twins.normalize_pixels(x.double(), gamma.double(), *args[1:], torch.empty_like(x).double())
        twin = torch_twins.normalize_pixels(x, *args, torch.empty_like(x))
        y = triton_sources.normalize_pixels(x, *args, room[1:, :, :h])
        assert torch.equal(room[1:, :, :h], y) and (room[:1] == 7).all() and (room[:, :, h:] == 7).all()
        assert ((y - exact).abs() <= due * torch.finfo(dtype).eps * exact.abs() + 32 * EPS * (1 + exact.abs())).all()
        if dtype is torch.float16:
            assert (y - exact).square().mean() <= 1.001 * (twin - exact).square().mean()


def test_pixels_of_nothing_stay_nothing():
    x = torch.zeros(1, 5, 3, 4).contiguous(memory_format=torch.channels_last)
    assert not triton_sources.normalize_pixels(x, torch.ones(5), 1e-12, True, x.clone() + 1).any()
