"""On cards whose convolutions unfold what they read, as AMD's do where MIOpen is switched off, plans count it."""

import pytest
import torch
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.ops import unfolds
from support.fake_cuda import Watch, demand_guard, fake_cuda
from support.random_networks import random_weights
from support.small_networks import SMALL

CUDA, BF16 = torch.device("cuda"), torch.bfloat16
STATISTICS = 2**13  # bytes of numbers for each channel that a kernel takes meanwhile
DTYPES = [torch.bfloat16, torch.float32]
CALLS = [("kl", "encode", 0), ("kl", "decode", 0), ("dc_ae", "decode", 0), ("wan", "encode", 5), ("wan", "decode", 5),
         ("cogvideox", "decode", 9), ("kvae_video", "decode", 5), ("tiny", "decode", 0)]  # fmt: skip


@pytest.fixture
def off(monkeypatch):
    """cuDNN, and so MIOpen."""
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)


def run(watch: Watch, kind: str, half: str, frames: int, dtype: torch.dtype = BF16, **how):
    """(bytes that it took, its plan)"""
    vae = from_weights(random_weights(*SMALL[kind], dtype), kind, dtype, CUDA)
    encodes = half == "encode"
    ratio, c = (1, vae.in_channels) if encodes else (vae.spatial_ratio, vae.latent_channels)
    frames = vae.clip_law.latents(frames) if frames and not encodes else frames
    x = torch.empty(1, c, *([frames] if frames else []), 192 // ratio, 128 // ratio, device="cuda")
    plans = []
    watch.forget()
    before = watch.now
    made = vae.encode(x, on_plan=plans.append, **how).mean if encodes else vae.decode(x, on_plan=plans.append, **how)
    assert made.device.type == "cuda"
    return watch.peak - before, plans[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("how", [{}, {"rows": 64}, {"rows": 32, "keep": "system memory"}], ids=["whole", "64", "kept"])
@pytest.mark.parametrize(("kind", "half", "frames"), CALLS)
def test_columns_are_planned(kind, half, frames, how, dtype, off):
    demand_guard()
    with fake_cuda() as watch:
        took, plan = run(watch, kind, half, frames, dtype, **how)
    assert bool(plan.rows) == bool(how)
    assert took <= plan.peak + STATISTICS


def test_they_take_most_of_the_memory(monkeypatch):
    """Nine numbers for each that is read: so they change what fits."""
    demand_guard()
    with fake_cuda() as watch:
        usual, plan = run(watch, "kl", "decode", 0)
        monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
        took, counted = run(watch, "kl", "decode", 0)
        assert took > 2 * usual and counted.peak > 2 * plan.peak
        _, less = run(watch, "kl", "decode", 0, budget=plan.peak)
    assert less.rows and less.peak <= plan.peak


def test_who_unfolds(monkeypatch):
    assert not unfolds(CUDA) and not unfolds(torch.device("cpu"))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert unfolds(CUDA)
