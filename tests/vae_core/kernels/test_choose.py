"""Kernel or twin: a kernel that is wrong, fails, or is not there is not used; and the log says so where it matters."""

import logging
from types import SimpleNamespace

import pytest
import torch
from exact_vae.vae_core import kernels
from exact_vae.vae_core.devices.cards import Card
from exact_vae.vae_core.kernels import choose, torch_twins

CPU = torch.device("cpu")


@pytest.fixture
def offer(monkeypatch):
    """Offers what is given to it as the module of the kernels, for tensors of a CPU too."""
    real = choose.suits.__code__.co_consts  # of the function as it is: the device is one of its constants
    assert "cuda" in real
    monkeypatch.setattr(choose, "suits", lambda x: x.dtype in choose.DTYPES and choose.lies_in_pixels(x))
    forget()
    yield lambda module: monkeypatch.setattr(choose, "read_kernels", lambda: module)
    forget()


def forget():
    choose.is_right.cache_clear()
    choose.can_run.cache_clear()


def images(channels=6, dtype=torch.float32):
    x = torch.randn(2, 5, 4, channels, generator=torch.Generator().manual_seed(0))
    return x.to(dtype).permute(0, 3, 1, 2)


def statistics(x):
    mean, squares = torch_twins.find_moments(x)
    return mean, squares / (x.shape[-1] * x.shape[-2])


def find_exactly(x):
    """As a kernel, and closer than torch's statistics of half precision on a CPU."""
    mean, squares = torch_twins.find_moments(x.double())
    return mean.float(), squares.float()


def kernels_that(find_moments=find_exactly, normalize=torch_twins.normalize, add_bias=lambda y, bias, skip: skip):
    """Kernels that count how often they run."""
    calls = []
    return SimpleNamespace(
        calls=calls,
        add_bias=add_bias,
        find_moments=lambda *args: calls.append("find_moments") or find_moments(*args),
        normalize=lambda *args: calls.append("normalize") or normalize(*args),
    )


@pytest.mark.parametrize("dtype", choose.DTYPES)
def test_a_kernel_that_is_right_is_used_and_checked_once(offer, caplog, dtype):
    module, x = kernels_that(normalize=normalize_exactly), images(dtype=dtype)
    offer(module)
    kernels.find_moments(x)
    assert module.calls == ["find_moments"] * 2  # once to be checked
    kernels.find_moments(x)
    assert module.calls == ["find_moments"] * 3
    kernels.normalize(x, *statistics(x), None, None, 1e-5, True)
    assert module.calls[-1] == "normalize" and not caplog.records


def normalize_exactly(x, mean, var, weight, bias, eps, silu):
    """As a kernel: rounded once. The twin rounds before SiLU too, of which a check must not be a judge."""
    return torch_twins.normalize(x.double(), mean.double(), var.double(), weight, bias, eps, silu).to(x.dtype)


def without_bias(x, mean, var, weight, bias, eps, silu):
    return torch_twins.normalize(x, mean, var, weight, None, eps, silu)


def of_the_first_frame(x, mean, var, weight, bias, eps, silu):
    return normalize_exactly(x, mean[:1], var[:1], weight, bias, eps, silu)


def without_the_last_pixel(x, *rest):
    y = normalize_exactly(x, *rest)
    y[..., -1, -1] = torch.nan
    return y


def without_silu(x, mean, var, weight, bias, eps, silu):
    return normalize_exactly(x, mean, var, weight, bias, eps, False)


@pytest.mark.parametrize("dtype", choose.DTYPES)
@pytest.mark.parametrize("lie", [without_bias, of_the_first_frame, without_the_last_pixel, without_silu])
def test_a_kernel_that_lies_is_dropped_with_a_sentence(offer, caplog, lie, dtype):
    module, x = kernels_that(normalize=lie), images(dtype=dtype)
    offer(module)
    args = (x, *statistics(x), torch.ones(6), torch.ones(6), 1e-5, True)
    for _ in range(3):
        assert torch.equal(kernels.normalize(*args), torch_twins.normalize(*args))
    (record,) = caplog.records
    text = record.getMessage()
    assert record.levelno == logging.WARNING and text.startswith(
        f"The kernel 'normalize' for 6 channels in {dtype}"[:40]
    )
    assert "is wrong by" in text and text.endswith("on cpu; torch's own operations run in its place.")


def test_sums_that_lack_the_bias_are_found_out(offer, caplog):
    offer(kernels_that())
    y, bias, skip = images(), torch.arange(6.0), images().flip(3).contiguous(memory_format=torch.channels_last)
    assert torch.equal(kernels.add_bias(y.clone(), bias, skip), y + bias[:, None, None] + skip)
    assert "'add_bias' for 6 channels in float32 is wrong by" in caplog.text


def cancelling_moments(x):
    n, x = x.shape[-1] * x.shape[-2], x.float()
    mean = x.mean((2, 3))
    return mean, n * (x.square().mean((2, 3)) - mean.square())


def test_moments_that_cancel_are_found_out(offer, caplog):
    """E[x^2] - E[x]^2 in fp32 is what these kernels are not allowed to be."""
    offer(kernels_that(find_moments=cancelling_moments))
    mean, squares = kernels.find_moments(images())
    assert torch.equal(mean, torch_twins.find_moments(images())[0])
    assert torch.equal(squares, torch_twins.find_moments(images())[1])
    assert "'find_moments' for 6 channels in float32 is wrong by" in caplog.text


def test_other_channels_and_dtypes_are_checked_by_themselves(offer, caplog):
    """What is wrong for six channels in fp32 may serve all the others."""

    def find_moments(x):
        mean, squares = find_exactly(x)
        return mean, squares * (1.1 if x.shape[1] == 6 and x.dtype is torch.float32 else 1)

    module = kernels_that(find_moments)
    offer(module)
    assert torch.equal(kernels.find_moments(images())[1], torch_twins.find_moments(images())[1])
    for x in (images(8), images(dtype=torch.bfloat16)):
        assert torch.equal(kernels.find_moments(x)[1], find_exactly(x)[1])
    assert len(caplog.records) == 1 and len(module.calls) == 1 + 2 * 2


def raise_error(error):
    def fail(*args):
        raise error

    return fail


def test_a_kernel_that_does_not_compile_is_dropped_with_a_sentence(offer, caplog):
    offer(kernels_that(find_moments=raise_error(RuntimeError("PTX is too new\nand more"))))
    for _ in range(2):
        kernels.find_moments(images())
    assert [record.getMessage() for record in caplog.records] == [
        "The kernel 'find_moments' for 6 channels in float32 fails (RuntimeError: PTX is too new) on cpu; "
        "torch's own operations run in its place."
    ]


def test_where_no_kernel_runs_it_is_said_once_of_all(offer, caplog):
    """Without a compiler for C Triton starts none: not one sentence for each kernel, number of channels and dtype."""
    fails = raise_error(RuntimeError("Failed to find C compiler. Please specify via CC environment variable."))
    offer(kernels_that(find_moments=fails, normalize=fails, add_bias=fails))
    for channels in (6, 8):
        x = images(channels)
        kernels.find_moments(x)
        kernels.normalize(x, *statistics(x), None, None, 1e-5, True)
        kernels.add_bias(x, torch.ones(channels), x.clone(memory_format=torch.preserve_format))
    assert [record.getMessage() for record in caplog.records] == [
        "Triton cannot be used on cpu (RuntimeError: Failed to find C compiler. Please specify via CC environment "
        "variable.); torch's own operations run in place of the kernels."
    ]


@pytest.mark.parametrize(("card", "tried"), [("gfx1030", False), ("gfx1100", True), ("gfx90a:sramecc+:xnack-", True)])
def test_amd_cards_that_triton_does_not_know_are_not_tried(offer, monkeypatch, caplog, card, tried):
    """It would write pages to the terminal."""
    calls = []
    offer(kernels_that(add_bias=lambda y, bias, skip: calls.append(1) or skip))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(choose, "read_card", lambda device: Card("hip", card))
    assert choose.can_run(CPU) is tried and bool(calls) is tried and not caplog.records


def test_without_memory_nothing_is_said_of_the_kernel(offer, caplog):
    """The run is tried again with less; then there is memory to check it."""
    offer(kernels_that(find_moments=raise_error(torch.OutOfMemoryError("CUDA out of memory"))))
    with pytest.raises(torch.OutOfMemoryError):
        kernels.find_moments(images())
    module = kernels_that()
    offer(module)
    kernels.find_moments(images())
    assert module.calls and not caplog.records


def test_without_triton_the_twins_run_and_nothing_is_said(offer, caplog):
    offer(None)
    assert choose.find_home("normalize", images()) is torch_twins and not caplog.records


def test_a_variable_turns_kernels_off(offer, monkeypatch):
    module = kernels_that()
    offer(module)
    monkeypatch.setenv("EXACT_VAE_KERNELS", "off")
    assert choose.find_home("normalize", images()) is torch_twins and not module.calls


@pytest.mark.parametrize(("broken", "said"), [(ImportError("no triton"), 0), (RuntimeError("0 active drivers"), 1)])
def test_a_triton_that_cannot_be_imported_is_as_none(monkeypatch, caplog, broken, said):
    def import_module(*args):
        raise broken

    monkeypatch.setattr(choose, "import_module", import_module)
    choose.read_kernels.cache_clear()
    assert choose.read_kernels() is None and choose.read_kernels() is None
    assert len(caplog.records) == said
    choose.read_kernels.cache_clear()


def test_on_a_cpu_or_without_numbers_no_kernel_is_looked_for():
    assert not choose.suits(images()) and not choose.suits(images().to("meta"))
    assert choose.find_home("find_moments", images()) is torch_twins


def test_images_that_lie_otherwise_suit_no_kernel():
    x = images()
    assert choose.lies_in_pixels(x) and choose.lies_in_pixels(x[:, :, 1:3]) and choose.lies_in_pixels(x[1:])
    assert choose.lies_in_pixels(torch.randn(1, 1, 5, 4)) and choose.lies_in_pixels(torch.randn(3, 6, 1, 1))
    for other in (x.contiguous(), x[..., 1:3], x[:, :3], x[:, :, ::2], x[:0], x.transpose(2, 3)):
        assert not choose.lies_in_pixels(other)
