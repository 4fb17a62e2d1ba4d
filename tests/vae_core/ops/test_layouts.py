"""How weights of convolutions lie in memory."""

import pytest
import torch
from exact_vae.vae_core import Plan, from_weights
from exact_vae.vae_core.execution import make_request, whole
from exact_vae.vae_core.execution.rewrite.fuse import count_copied, fuse
from exact_vae.vae_core.families import Half
from exact_vae.vae_core.families.doubling import list_ops
from exact_vae.vae_core.images.pixels import lay_out
from exact_vae.vae_core.ops import CHANNELS_LAST, as_single_frame, declared, lay_out_weight, reads_channels_last
from exact_vae.vae_core.ops.clip_conv import CHANNELS_LAST_3D
from exact_vae.vae_core.ops.conv3d import Conv3d
from exact_vae.vae_core.ops.layouts import TAPS_AS_IN_FILES, TAPS_IN_CHANNELS_LAST, order_taps
from support.fake_cuda import demand_guard, fake_cuda
from support.random_networks import random_weights
from support.slow import slow
from support.small_networks import SMALL, small
from torch._prims_common import suggest_memory_format


@pytest.mark.parametrize(
    ("order", "layout"),
    [
        (TAPS_IN_CHANNELS_LAST, torch.channels_last),
        (TAPS_AS_IN_FILES, torch.contiguous_format),
        (CHANNELS_LAST, torch.channels_last),
        (CHANNELS_LAST_3D, torch.channels_last_3d),
    ],
)
def test_numbers_stay_where_a_weight_is_laid_out_anew(order, layout):
    """Taps of several frames lie one after the other, each in its layout."""
    before = torch.randn((6, 5, 3, 2, 4)[: len(order)])
    weight = before.clone()
    lay_out_weight(weight, order)
    where = weight.data_ptr()
    lay_out_weight(weight, order)
    assert torch.equal(weight, before) and weight.data_ptr() == where
    laid = weight[:, :, 1] if order[0] == 2 else weight
    assert laid.is_contiguous(memory_format=layout)


def test_taps_are_laid_out_once():
    conv = Conv3d(2, 3, 3)
    before, taps = conv.weight.clone(), conv.taps()
    where = conv.weight.data_ptr()
    assert all(tap.is_contiguous(memory_format=torch.channels_last) for tap in taps) and torch.equal(
        conv.weight, before
    )
    assert conv.taps()[0].data_ptr() == taps[0].data_ptr() and conv.weight.data_ptr() == where


def test_each_device_gets_what_its_convolutions_read(monkeypatch):
    """AMD's copy weights back from channels last, unless they are told to read them; Apple's read them wrongly."""
    cuda, cpu, mps = map(torch.device, ("cuda", "cpu", "mps"))
    monkeypatch.delenv("PYTORCH_MIOPEN_SUGGEST_NHWC", raising=False)
    assert reads_channels_last(cuda) and not reads_channels_last(cpu) and not reads_channels_last(mps)
    assert order_taps(cpu) == order_taps(cuda) == TAPS_IN_CHANNELS_LAST and order_taps(mps) == TAPS_AS_IN_FILES
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not reads_channels_last(cuda) and order_taps(cuda) == TAPS_AS_IN_FILES
    monkeypatch.setenv("PYTORCH_MIOPEN_SUGGEST_NHWC", "1")
    assert reads_channels_last(cuda)


class _Layouts(whole.Observer):
    """Collects ops whose result torch would take for anything but channels last."""

    def __init__(self) -> None:
        self.others: list[str] = []

    def end_op(self, op, result) -> None:
        if result.shape[1] > 1 and suggest_memory_format(result) != torch.channels_last:
            self.others.append(f"{declared(op).label}: {tuple(result.shape)} of strides {result.stride()}")


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"effnet", "pixel"}))  # one is large, one has no ops
@torch.no_grad()
def test_every_op_keeps_channels_last(name, half):
    """Also attention, and ops that put frames together; torch goes by the first tensor that it is given."""
    vae, found = small(name, torch.float32), _Layouts()
    encodes = half is Half.ENCODER
    ops = vae.network.encode_ops() if encodes else vae.network.decode_ops()
    scale = vae.spatial_ratio if encodes else 1
    for frames in (1, 3) if vae.clip_law else (1,):
        shape = (1, 3, *((frames,) if vae.clip_law else ()), 4 * scale, 6 * scale)
        x = make_request(vae.family, vae.config, half, shape, torch.float32).x
        as_images = frames == 1 and not (vae.clip_law and vae.clip_law.images_are_clips)
        run = fuse(as_single_frame(ops) if as_images else ops)
        whole.run(run, lay_out(torch.zeros(x.shape)), found, in_place=True)
    assert not found.others


STATISTICS = 2**13  # bytes of numbers for each channel
IN_EVERY_RUN = ("wan", "ltx_video", "hunyuan_video")
CLIPS = [kind if kind in IN_EVERY_RUN else pytest.param(kind, marks=slow) for kind in SMALL if small(kind).clip_law]


@pytest.mark.parametrize("cudnn", [True, False], ids=["cudnn", "unfolding"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("half", ["encode", "decode"])
@pytest.mark.parametrize("kind", CLIPS)
def test_what_is_laid_out_for_a_run_is_counted(kind, half, dtype, cudnn, monkeypatch):
    """Clips read weights of several frames otherwise than images do, so each after the other lays them out anew."""
    demand_guard()
    monkeypatch.setattr(torch.backends.cudnn, "enabled", cudnn)
    with fake_cuda() as watch:
        vae = from_weights(random_weights(*SMALL[kind], dtype), kind, dtype, torch.device("cuda"))
        if Half.of(half).noun not in vae.config.parts:
            return
        for frames in (0, 9, 0):
            weights = dict(vae.network.named_parameters())
            before, ops = {n: w.stride() for n, w in weights.items()}, list_ops(vae.network, Half.of(half))
            counted = count_copied(ops, single_frame=not frames and not vae.clip_law.images_are_clips)
            x, plans = make_input(vae, half, frames), list[Plan]()
            watch.forget()
            taken = watch.now
            made = vae.encode(x, on_plan=plans.append) if half == "encode" else vae.decode(x, on_plan=plans.append)
            laid_out = [weight.nbytes for name, weight in weights.items() if weight.stride() != before[name]]
            assert max(laid_out, default=0) == counted, frames
            assert watch.peak - taken <= plans[0].peak + STATISTICS
            del made
            assert not count_copied(ops, single_frame=not frames and not vae.clip_law.images_are_clips)


def make_input(vae, half: str, frames: int) -> torch.Tensor:
    """An image of few pixels, or a clip: weights weigh more."""
    size = vae.image_size or 2 * vae.spatial_ratio
    if half == "encode":
        return torch.empty(1, vae.in_channels, *([frames] if frames else []), size, size, device="cuda")
    t, size = [vae.clip_law.latents(frames)] if frames else [], size // vae.spatial_ratio
    return torch.empty(1, vae.latent_channels, *t, size, size, device="cuda")
