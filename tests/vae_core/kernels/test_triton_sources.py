"""The kernels, interpreted on a CPU, against their twins and float64; and compiled for GPUs that are not here.

Needs the package triton, which torch brings on Linux with CUDA: `pip install triton`.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from exact_vae.vae_core import kernels
from exact_vae.vae_core.kernels import choose, torch_twins
from support.small_networks import run_half, small

if find_spec("triton") is None:
    pytest.skip("needs the package triton, which torch's builds for CPUs do not bring", allow_module_level=True)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
EPS = torch.finfo(torch.float32).eps


@pytest.fixture(scope="module")
def triton_sources():
    """The module of the kernels, interpreted: Triton decides that when it, and each kernel, is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        before = {name: module for name, module in sys.modules.items() if is_of_triton(name)}
        for name in before:
            del sys.modules[name]
        choose.read_kernels.cache_clear()
        found = choose.read_kernels()
        assert found
        yield found
        for name in [name for name in sys.modules if is_of_triton(name)]:
            del sys.modules[name]
        sys.modules.update(before)
    choose.read_kernels.cache_clear()


def is_of_triton(module: str) -> bool:
    return module.startswith(("triton.", f"{choose.__package__}.triton_")) or module == "triton"


@pytest.fixture
def interpreted(triton_sources, monkeypatch):
    """From here on kernels serve tensors of a CPU too, once they have been checked; on a smaller tile than on a GPU."""
    monkeypatch.setattr(choose, "suits", lambda x: x.dtype in DTYPES and choose.lies_in_pixels(x) and not x.is_meta)
    monkeypatch.setattr(choose, "TILE", (2, 13, 11))
    choose.is_right.cache_clear()
    yield
    choose.is_right.cache_clear()


def draw(shape, dtype, mean=0.0):
    """Images (T, C, H, W) in channels last, of deviation 1."""
    t, c, h, w = shape
    x = torch.randn(t, h, w, c, generator=torch.Generator().manual_seed(c)) + mean
    return x.to(dtype).permute(0, 3, 1, 2)


# One channel; a number that no block divides; 96, which is three blocks; pixels fewer than a block, and several chunks.
SHAPES = [(1, 1, 3, 5), (3, 5, 19, 23), (2, 96, 9, 17), (1, 33, 5, 31)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_those_of_float64(triton_sources, shape, dtype):
    """Far from zero too, where the mean of squares less the square of the mean would have no digit left."""
    for mean in (0.0, 1000.0):
        x = draw(shape, dtype, mean)
        found, (true_mean, true_squares) = triton_sources.find_moments(x), torch_twins.find_moments(x.double())
        assert all(t.dtype is torch.float32 and t.shape == shape[:2] for t in found)
        deviation = (true_squares / (shape[2] * shape[3])).sqrt()
        assert ((found[0] - true_mean).abs() <= 4 * EPS * (true_mean.abs() + deviation)).all()
        assert ((found[1] - true_squares).abs() <= 16 * EPS * true_squares).all()


def test_moments_of_many_chunks_are_merged(triton_sources, monkeypatch):
    """More chunks than are merged at a time, the last of them shorter; the mean drifts from one to the next."""
    monkeypatch.setattr(triton_sources, "CHUNKS", 70)
    x = draw((1, 64, 1, 64 * 69 + 5), torch.float32) + torch.linspace(0, 100, 64 * 69 + 5)
    x = x.contiguous(memory_format=torch.channels_last)
    (mean, squares), (true_mean, true_squares) = triton_sources.find_moments(x), torch_twins.find_moments(x.double())
    assert ((mean - true_mean).abs() <= 4 * EPS * true_mean.abs()).all()
    assert ((squares - true_squares).abs() <= 16 * EPS * true_squares).all()


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalizing_rounds_once(triton_sources, dtype, silu):
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


def test_bands_are_read_where_they_lie(triton_sources):
    """Rows out of the middle of a clip: frames are further apart than they are long. And norms without weights."""
    x = draw((3, 6, 9, 7), torch.float32, 5.0)[:, :, 2:6]
    assert not x.is_contiguous(memory_format=torch.channels_last) and choose.lies_in_pixels(x)
    (mean, squares), twins = triton_sources.find_moments(x), torch_twins.find_moments(x)
    assert torch.allclose(mean, twins[0]) and torch.allclose(squares, twins[1], rtol=1e-5)
    args = (mean, squares / 28, None, None, 1e-6, True)
    assert torch.allclose(triton_sources.normalize(x, *args), torch_twins.normalize(x, *args), atol=1e-6)


@pytest.mark.parametrize("name", choose.CHECKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_pass_the_check_that_a_device_makes(interpreted, caplog, name, dtype):
    for channels in (6, 40):
        assert choose.is_right(name, channels, dtype, torch.device("cpu")), caplog.text


@torch.no_grad()
def test_a_network_in_bands_of_kernels_is_the_same_in_fp32(interpreted, monkeypatch):
    vae = small("kl", torch.float32)
    z = torch.randn(4, 4, 6, generator=torch.Generator().manual_seed(0))
    calls, normalize = [], kernels.choose.normalize
    monkeypatch.setattr(kernels, "normalize", lambda *args: calls.append(args[0].shape) or normalize(*args))
    bands = run_half(vae, "decode", z, numbers=400)
    assert calls and choose.is_right.cache_info().hits
    monkeypatch.setenv("EXACT_VAE_KERNELS", "off")
    want = run_half(vae, "decode", z)
    assert (bands - want).abs().max() < 1e-4 * want.abs().max()


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from exact_vae.vae_core.kernels import triton_sources as sources

def build(kernel, pointers, **constants):
    names = kernel.arg_names
    types = {name: pointers.get(name, "i32") for name in names if name not in constants}
    signature = {name: types.get(name, "constexpr") for name in names}
    made = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))
    assert made.asm["cubin"] and ".local" not in made.asm["ptx"]  # no registers are spilled
    assert ("cvt.rn.bf16" in made.asm["ptx"]) == ("y" in names)  # the result is rounded to the nearest

sums = dict.fromkeys(("means", "squares", "chunk_means", "chunk_squares", "mean", "var"), "*fp32")
images = dict.fromkeys(("x", "y", "weight", "bias"), "*bf16")
build(sources.sum_chunks, sums | images, CHANNELS=96, ROWS=128, COLUMNS=32)
build(sources.merge_chunks, sums | images, CHANNELS=96, ROWS=64, COLUMNS=32)
build(sources.normalize_tile, sums | images | {"eps": "fp32"}, CHANNELS=128, SILU=True, ROWS=32, COLUMNS=128)
"""


def test_kernels_compile_for_gpus(tmp_path):
    """For compute capability 8.0, which needs no GPU. What Triton refuses, its interpreter may accept."""
    if find_spec("triton.backends.nvidia") is None:
        pytest.skip("this build of triton does not compile for NVIDIA's GPUs")
    env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    env.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
