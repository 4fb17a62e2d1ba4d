"""Versions of torch and cuDNN with faults, and the way around them."""

import pytest
import torch
from exact_vae.vae_core.families import ClipLaw, Half
from exact_vae.vae_core.ops import Conv3d, DoubleFrames, HalveFrames, clip_conv
from exact_vae.vae_core.ops.faults import computes_clips_badly, has_fault, parse_cudnn
from support.processors import pretend
from support.small_networks import SMALL, run_half, small
from support.tensors import roundings
from torch.nn import functional as F


@pytest.mark.parametrize(
    ("of_torch", "of_cudnn", "at_fault"),
    [
        ("2.5.1+cu124", 90100, False),
        ("2.7.1+cu128", 90701, False),
        ("2.8.0+cu129", 91002, True),  # wrong numbers
        ("2.9.0+cu130", 91300, True),  # no cuDNN
        ("2.9.0+cu130", 92100, True),  # nor with a later one
        ("2.9.1+cu130", 91300, True),
        ("2.9.1+cu130", 91500, False),
        ("2.10.0+cu128", 91002, True),
        ("2.10.0a0+gitab12.nv25.11", 91501, False),
        ("2.13.0+cpu", None, False),
    ],
)
def test_versions(of_torch, of_cudnn, at_fault):
    assert has_fault(of_torch, of_cudnn) == at_fault


def test_versions_of_cudnn_are_read_as_it_writes_them():
    assert [parse_cudnn(v) for v in (90100, 91002, 91500, 92100)] == [(9, 1, 0), (9, 10, 2), (9, 15, 0), (9, 21, 0)]


@pytest.fixture
def at_fault(monkeypatch):
    """As on CUDA with a version that has the faults; whatever is computed is told."""
    pretend(monkeypatch, faster_in_fp32=False)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    seen = []

    def tell(x: torch.Tensor) -> bool:
        seen.append(x.dtype)
        return computes_clips_badly(torch.empty(0, dtype=x.dtype, device="meta"))

    monkeypatch.setattr(clip_conv, "computes_clips_badly", tell)
    return seen


def test_only_half_precision_and_never_amd_s(at_fault, monkeypatch):
    """MIOpen has versions of its own."""
    x = torch.empty(0, device="meta")
    assert computes_clips_badly(x.half()) and computes_clips_badly(x.bfloat16()) and not computes_clips_badly(x)
    assert not computes_clips_badly(torch.empty(0, dtype=torch.bfloat16))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not computes_clips_badly(x.half())


CONVS = {
    "plain": lambda: Conv3d(6, 5),
    "fewer frames": lambda: Conv3d(6, 5, stride=(2, 2, 2)),
    "around": lambda: Conv3d(6, 5, around=True),
    "one side": lambda: Conv3d(6, 5, stride=(1, 2, 2), pad=(0, 1)),
    "repeating": lambda: Conv3d(6, 5, repeats=True),
    "no bias": lambda: Conv3d(6, 5, (3, 1, 1), bias=False),
    "doubling": lambda: DoubleFrames(6, 3),
    "halving": lambda: HalveFrames(6, 3),
}


@pytest.mark.parametrize("name", CONVS)
@torch.no_grad()
def test_frame_by_frame_is_the_same_convolution(name, at_fault, monkeypatch):
    """In fp64, as if fp64 were at fault; and not rounded more often in bf16."""
    with torch.device("meta"):
        conv = CONVS[name]()
    conv, x = conv.to_empty(device="cpu").double(), torch.randn(7, 6, 8, 10, dtype=torch.float64)
    for parameter in conv.parameters():
        parameter.normal_(0, 0.1)
    compute = conv if isinstance(conv, Conv3d) else lambda x: conv.advance(x, x[:2].contiguous())[0]
    want = compute(x)
    before = conv.weight.clone()
    monkeypatch.setattr(clip_conv, "computes_clips_badly", lambda x: True)
    with_frames = clip_conv.convolve_clip
    if isinstance(conv, Conv3d):
        monkeypatch.setattr(conv, "_by_images", lambda x, pad: with_frames(conv, x, (conv.around, *pad)))
    found = compute(x)
    assert (found - want).abs().max() < 1e-13 and torch.equal(conv.weight, before)
    assert found.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_it_rounds_no_more_often(at_fault):
    conv = Conv3d(32, 32).bfloat16()
    weight, bias = conv.weight.double(), conv.bias.double()  # type: ignore[union-attr]

    def exact(x: torch.Tensor) -> torch.Tensor:
        return F.conv3d(x.double().transpose(0, 1)[None], weight, bias, 1, (0, 1, 1))[0].transpose(0, 1)

    def by_backend(x: torch.Tensor) -> torch.Tensor:
        return F.conv3d(x.transpose(0, 1)[None], conv.weight, conv.bias, 1, (0, 1, 1))[0].transpose(0, 1)

    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(5, 32, 16, 16, generator=generator).bfloat16() for _ in range(4)]
    ours, backend = roundings(exact, clips, conv, by_backend)
    assert ours < 1.05 * backend and at_fault == [torch.bfloat16] * 4


@pytest.mark.parametrize("kind", ["wan", "hunyuan_video", "hunyuan_video_15"])
@pytest.mark.parametrize("half", Half)
@torch.no_grad()
def test_networks_run_around_it(kind, half, at_fault):
    """In bf16, whole, in bands and in parts: as exact as fp32 with the same weights allows."""
    vae = small(kind, torch.bfloat16)
    law = vae.clip_law or ClipLaw()
    channels, frames = (vae.in_channels, law.frames(2)) if half is Half.ENCODER else (SMALL[kind][1].z_channels, 2)
    side = 4 * vae.spatial_ratio if half is Half.ENCODER else 4
    x = torch.randn(channels, frames, side, side, generator=torch.Generator().manual_seed(0)).bfloat16()
    whole = run_half(vae, half.verb, x)
    want = run_half(vae.to(dtype=torch.float32), half.verb, x.float())
    assert at_fault and (whole - want).square().mean().sqrt() < 0.035 * want.std()
