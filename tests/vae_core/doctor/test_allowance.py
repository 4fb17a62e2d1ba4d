"""What rounding allows: the emulation rounds as torch does, and the bound is what its derivation says."""

import math

import pytest
import torch
from exact_vae.vae_core import VAE, from_weights
from exact_vae.vae_core.doctor.allowance import Allowed, Cause, factor_of, longest_sum, measure_errors
from exact_vae.vae_core.doctor.chart import CELLS, draw_chart, draw_clip
from exact_vae.vae_core.doctor.emulation import DIGITS, Rounding, emulate
from support.random_networks import random_weights, small_kl

HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return from_weights(random_weights("kl", small_kl(), torch.float64))


@pytest.mark.parametrize("dtype", (*HALVES, torch.float32))
def test_rounding_is_that_of_torch(dtype):
    x = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rounded = Rounding(DIGITS[dtype])(x)
    assert torch.equal(rounded, x.to(dtype).double()) and not torch.equal(rounded, x)
    if dtype in HALVES:
        assert torch.equal(Rounding(DIGITS[dtype])(x.float()), x.float().to(dtype).float())


def test_rounding_has_no_largest_number():
    assert Rounding(11)(torch.tensor(1e6)).item() == pytest.approx(1e6, rel=2**-11)


def test_the_emulation_makes_the_errors_of_the_dtype(vae):
    """Those of bf16 on this CPU, which rounds where the emulation does, within what the bound leaves to a device."""
    x = draw_chart(64) * 2 - 1
    exact = vae.encode(x).mode()
    real = from_weights(random_weights("kl", small_kl()), dtype=torch.bfloat16).encode(x).mode()
    emulated = emulate(vae, torch.bfloat16).encode(x).mode()
    found, rounding = measure_errors(real, exact), measure_errors(emulated, exact)
    assert 0.5 < found.rms / rounding.rms < 2
    assert vae.encode(x).mode().equal(exact)  # the VAE itself is as it was


def test_a_sum_in_the_worst_order_is_allowed():
    """One after the other in fp32: the error of so many roundings, of which the derivation speaks."""
    terms, many = 4608, 4000
    products = torch.randn(many, terms, generator=torch.Generator().manual_seed(0))
    exact, total = products.double().sum(1), torch.zeros(many)
    for column in products.unbind(1):
        total += column
    rounding = (Rounding(24)(exact) - exact).square().mean().sqrt()
    error = (total.double() - exact).square().mean().sqrt()
    assert 0.1 * factor_of(torch.float32, terms) < error / rounding < factor_of(torch.float32, terms)


def test_halves_are_allowed_twice_the_errors_of_rounding():
    assert all(2 < factor_of(dtype, 4608) < 2.03 for dtype in HALVES)
    assert factor_of(torch.float32, 1) == pytest.approx(2 * math.sqrt(1.5))


def test_the_longest_sum(vae):
    assert longest_sum(vae.network, 100) == 64 * 9
    assert longest_sum(vae.network, 1000) == 1000  # a group of the finest norm is a channel


def test_a_cell_is_judged_on_its_own():
    exact = torch.randn(1, 3, 90, 120, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = 1e-3 * torch.randn(exact.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    allowed = Allowed((Cause((measure_errors(exact + noise, exact),), 2.0),))
    wrong = noise.clone()
    wrong[..., 40, 60:90] += 0.03  # a row in the cell of the star
    assert allowed.largest_share(measure_errors(exact + noise, exact)) == pytest.approx(0.5)
    shares = allowed.share(measure_errors(exact + wrong, exact))
    row, column = divmod(int(shares.argmax()), 4)
    assert CELLS[row][column] == "star" and shares.max() > 1 and (shares > 1).sum() == 1
    assert allowed.largest_share(measure_errors(exact, exact)) == 0


def test_nothing_is_allowed_where_nothing_is_rounded():
    exact = torch.arange(12, dtype=torch.float64).reshape(1, 1, 3, 4)
    allowed = Allowed((Cause((measure_errors(exact, exact),), 2.0),))
    assert allowed.largest_share(measure_errors(exact, exact)) == 0
    assert allowed.largest_share(measure_errors(exact + 1e-9, exact)) == math.inf


@pytest.mark.parametrize("width", [64, 100, 128])
def test_the_chart(width):
    chart = draw_chart(width)
    assert chart.shape == (1, 3, width * 3 // 4, width) and chart.min() >= 0 and chart.max() <= 1
    assert torch.equal(chart, draw_chart(width))
    cells = [cell for row in chart[0].tensor_split(3, 1) for cell in row.tensor_split(4, 2)]
    assert len(cells) == 12 and all(cell.std() > 0.02 for cell in cells)


def test_the_clip_moves():
    clip = draw_clip(64, 3)
    assert clip.shape == (1, 3, 3, 48, 64)
    assert torch.equal(clip[:, :, 0], draw_chart(64)) and torch.equal(clip[:, :, 2], clip[:, :, 0].roll(4, -1))
