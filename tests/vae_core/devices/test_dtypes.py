"""The dtype for a device."""

from types import SimpleNamespace

import pytest
import torch
from exact_vae.vae_core import BadRequest, Posterior
from exact_vae.vae_core.devices import cards
from exact_vae.vae_core.devices.cards import Card, choose_for_card, has_float64, read_card, to_float64
from exact_vae.vae_core.devices.dtypes import at_least_fp32, choose_dtype, explain_dtype, parse_dtype
from exact_vae.vae_core.families import FAMILIES
from exact_vae.vae_core.families.blocks import vit
from exact_vae.vae_core.families.blocks.vit import make_positions
from exact_vae.vae_core.images import from_light, psnr, to_light
from exact_vae.vae_core.latents import false_colours
from exact_vae.vae_core.latents.interpolation import slerp
from exact_vae.vae_core.ops import Affine
from exact_vae.vae_core.reports.latent import channel_statistics, describe_numbers
from support.processors import pretend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


@pytest.mark.parametrize(
    ("own", "asked", "has_bf16", "want"),
    [
        (F32, None, True, F32),
        (F16, None, True, F32),
        (F32, F16, True, F32),
        (BF16, None, True, BF16),
        (BF16, None, False, F32),
        (F32, BF16, False, BF16),
        (torch.float8_e4m3fn, None, True, F32),
    ],
)
def test_choice_on_a_cpu(monkeypatch, own, asked, has_bf16, want):
    monkeypatch.setattr("exact_vae.vae_core.devices.processor.has_bf16", lambda: has_bf16)
    assert choose_dtype(CPU, own, asked) is want


@pytest.mark.parametrize("widened", [True, False])
def test_it_is_said_that_a_cpu_computes_in_fp32(monkeypatch, widened):
    pretend(monkeypatch, faster_in_fp32=widened)
    how = ", computed in fp32" if widened else ""
    assert explain_dtype(CPU, F32, BF16).why == "asked for" + how
    assert explain_dtype(CPU, F32).why == "its own"


@pytest.mark.parametrize(
    ("card", "want", "want_unfit"),
    [
        (Card("cuda", "NVIDIA H100 80GB HBM3", (9, 0)), BF16, BF16),
        (Card("cuda", "NVIDIA GeForce RTX 3060", (8, 6)), BF16, BF16),
        (Card("cuda", "NVIDIA RTX 2000 Ada Generation", (8, 9)), BF16, BF16),
        (Card("cuda", "NVIDIA GeForce RTX 2080 Ti", (7, 5)), F16, F32),
        (Card("cuda", "Tesla T4", (7, 5)), F16, F32),
        (Card("cuda", "NVIDIA TITAN RTX", (7, 5)), F16, F32),
        (Card("cuda", "Quadro RTX 4000", (7, 5)), F16, F32),
        (Card("cuda", "Tesla V100-SXM2-32GB", (7, 0)), F16, F32),
        (Card("cuda", "NVIDIA GeForce GTX 1660 Ti", (7, 5)), F32, F32),
        (Card("cuda", "NVIDIA GeForce GTX 1650", (7, 5)), F32, F32),
        (Card("cuda", "NVIDIA T600 Laptop GPU", (7, 5)), F32, F32),
        (Card("cuda", "NVIDIA T1000 8GB", (7, 5)), F32, F32),
        (Card("cuda", "NVIDIA GeForce MX450", (7, 5)), F32, F32),
        (Card("cuda", "NVIDIA GeForce GTX 1080 Ti", (6, 1)), F32, F32),
        (Card("hip", "gfx1100"), BF16, BF16),
        (Card("hip", "gfx1201"), BF16, BF16),
        (Card("hip", "gfx942:sramecc+:xnack-"), BF16, BF16),
        (Card("hip", "gfx1030"), F32, F32),
        (Card("hip", "gfx906:sramecc+:xnack-"), F32, F32),
        (Card("xpu", "Intel(R) Arc(TM) A770 Graphics", has_bf16=True), BF16, BF16),
        (Card("xpu", "Intel(R) Iris(R) Xe"), F32, F32),
        (Card("mps"), F32, F32),
        (Card("npu"), F32, F32),
    ],
    ids=lambda value: value.name or value.kind if isinstance(value, Card) else "",
)
def test_choice_by_card(card, want, want_unfit):
    assert [choose_for_card(card, fits)[0] for fits in (True, False)] == [want, want_unfit]


def test_what_is_asked_for_is_done_on_every_card(monkeypatch):
    monkeypatch.setattr("exact_vae.vae_core.devices.cards.read_card", lambda device: Card("cuda", "Tesla T4", (7, 5)))
    assert choose_dtype(CUDA, F32, BF16) is BF16
    assert choose_dtype(CUDA, F64) is F64
    assert explain_dtype(CUDA, BF16, fits_fp16=True) == (F16, "its tensor cores compute fp16, and bf16 is emulated")
    assert "no one has shown" in explain_dtype(CUDA, BF16).why


def test_amd_is_told_by_its_architecture(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(gcnArchName="gfx1030"))
    assert read_card(CUDA) == Card("hip", "gfx1030")
    assert choose_dtype(CUDA, BF16) is F32


@pytest.mark.parametrize("says", [{"has_bfloat16_conversions": True}, {"has_bfloat16_conversions": False}, {}])
def test_intel_says_whether_it_has_bf16(monkeypatch, says):
    properties = SimpleNamespace(name="Intel(R) Arc(TM) B580 Graphics", **says)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: properties)
    assert read_card(torch.device("xpu")).has_bf16 is says.get("has_bfloat16_conversions", False)


def test_fp16_unasked_is_for_what_only_norms_read_or_its_author_runs_so():
    assert {family.name for family in FAMILIES if family.rounding.fits_fp16} == {"kl", "tiny", "tiny_video", "taesdv"}


def test_names():
    assert (parse_dtype("auto"), parse_dtype("bf16"), parse_dtype("fp32")) == (None, BF16, F32)
    with pytest.raises(BadRequest, match="there is no dtype 'int4': choose auto, fp32, bf16, fp16, fp64"):
        parse_dtype("int4")
    with pytest.raises(BadRequest, match=r"cannot run in torch\.int8"):
        choose_dtype(CPU, F32, torch.int8)
    with pytest.raises(BadRequest, match="cannot run in 'bf16'"):
        choose_dtype(CPU, F32, "bf16")
    for device in (CPU, torch.device("cuda")):  # a convolution of fp8 fails there
        with pytest.raises(BadRequest, match=r"cannot run in torch\.float8_e4m3fn"):
            choose_dtype(device, F32, torch.float8_e4m3fn)


def test_at_least_fp32():
    assert [at_least_fp32(d) for d in (F16, BF16, F32, F64)] == [F32, F32, F32, F64]


def test_which_devices_have_float64(monkeypatch):
    xpu, known = torch.device("xpu"), SimpleNamespace(has_fp64=False, name="Arc A770")
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: known)
    assert [has_float64(one) for one in (CPU, CUDA, MPS, xpu)] == [True, True, False, False]
    assert choose_dtype(xpu, F64) is choose_dtype(MPS, F64) is F32 and choose_dtype(CUDA, F64) is F64
    known.has_fp64 = True
    assert has_float64(xpu) and choose_dtype(xpu, F64) is F64


class NoFloat64(TorchDispatchMode):
    """A device, here meta, that cannot make float64: what is copied to the CPU can be."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        assert not any(isinstance(one, torch.Tensor) and one.is_meta and one.dtype is F64 for one in tree_leaves(made))
        return made


def take_to_cpu(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(x.shape, dtype=x.dtype)  # meta has no numbers to copy


COMPUTED = {
    "slerp": lambda x: slerp(x, x * 2, 0.3),
    "false colours": false_colours,
    "statistics": channel_statistics,
    "numbers": describe_numbers,
    "psnr": lambda x: psnr(x, x),
    "light": lambda x: from_light(to_light(x)),
    "positions": lambda x: make_positions(8, 4, 16, x.device),
    "moments": lambda x: Posterior(x, x, (Affine(2.0, 1.0),)).latent_moments(),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_where_there_is_no_float64_a_cpu_computes_in_it(name, monkeypatch):
    for module in (cards, vit):
        monkeypatch.setattr(module, "has_float64", lambda device: device.type != "meta")
    x = torch.empty(1, 4, 3, 2, device="meta")
    monkeypatch.setattr(torch.Tensor, "cpu", take_to_cpu)
    with NoFloat64():
        made = COMPUTED[name](x)
    if name in ("slerp", "light", "positions", "moments", "false colours"):
        assert {one.device.type for one in tree_leaves(made)} == {"meta"}
    assert to_float64(torch.ones(1)).dtype is F64
