"""Ops that a GPU runs as one: a norm and SiLU, a bias and a skip. Here on a CPU, where nothing is gained by it."""

from functools import partial

import pytest
import torch
from exact_vae.vae_core.execution.bands.moments import normalize_whole
from exact_vae.vae_core.execution.plans.counting import count_whole
from exact_vae.vae_core.execution.progress import ProgressObserver
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.whole import run
from exact_vae.vae_core.ops import (
    Conv2d,
    GroupNormOverFrames,
    GroupNormSilu,
    Residual,
    add_silu,
    leaves,
    list_norms,
    silu,
    walk,
)
from support.small_networks import run_half, small
from torch import nn

KINDS = ("kl", "asymmetric", "vq: MoVQ", "svd", "hunyuan_video")  # the last two have norms over all frames
WAYS = ({}, {"numbers": 200})


def draw(vae, part):
    """Pixels or z, (C, T, H, W) of a VAE of clips, (C, H, W) of one of images."""
    n, ratio = (vae.in_channels, vae.spatial_ratio) if part == "encode" else (vae.latent_channels, 1)
    frames = (1 + vae.temporal_ratio,) if vae.temporal_ratio else ()
    shape = (n, *frames, 3 * ratio, 2 * ratio)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    return x if part == "encode" else run(vae.network.from_latent_ops(), x[None])[0]


@pytest.fixture
def joined(monkeypatch):
    """From here on `run_half` joins norms and SiLUs."""
    return lambda: monkeypatch.setattr("support.small_networks.fuse", partial(fuse, for_kernels=True))


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_computes_the_same(kind, part, joined):
    vae = small(kind)
    x = draw(vae, part)
    want = run_half(vae, part, x)
    joined()
    for way in WAYS:
        assert (run_half(vae, part, x, **way) - want).abs().max() < 1e-12 * want.abs().max(), way


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_without_a_kernel_the_bits_are_those_of_two_ops(dtype, joined, monkeypatch):
    """So in half precision it rounds no worse. A bias by itself is what CUDA's convolutions add, not those of a CPU."""
    monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse._fuse_bias", lambda ops: ops)
    vae = small("kl", dtype)
    x = draw(small("kl"), "decode").to(dtype)
    want = [run_half(vae, "decode", x, **way) for way in WAYS]
    joined()
    for way, before in zip(WAYS, want, strict=True):
        assert torch.equal(run_half(vae, "decode", x, **way), before)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_of_rescaled_norms_too(kind, joined, monkeypatch):
    """As in fp16, but in float64."""
    vae = small(kind)
    x = draw(vae, "decode")
    want = run_half(vae, "decode", x)
    monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse.computes_in_fp16", lambda ops: True)
    joined()
    for way in WAYS:
        assert (run_half(vae, "decode", x, **way) - want).abs().max() < 1e-12 * want.abs().max(), way


@pytest.mark.parametrize("kind", (nn.GroupNorm, GroupNormOverFrames))
@torch.no_grad()
def test_of_whole_images_as_a_gpu_runs_it(kind):
    x = torch.randn(3, 12, 7, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last) + 3
    norm = kind(3, 12).double()
    nn.init.normal_(norm.weight)
    y = normalize_whole(add_silu(norm), x)
    assert (y - silu(norm(x))).abs().max() < 1e-12
    assert torch.allclose(y, add_silu(norm)(x))


def test_where_gradients_are_wanted_nothing_is_written_over():
    norm, x = nn.GroupNorm(2, 4), torch.randn(1, 4, 3, 3, requires_grad=True)
    (ours,) = torch.autograd.grad(add_silu(norm)(x).sum(), x)
    (theirs,) = torch.autograd.grad(silu(norm(x)).sum(), x)
    assert torch.equal(ours, theirs)


def test_all_that_can_be_is_joined_and_only_on_cuda():
    ops = small("kl").network.decode_ops()
    made = fuse(ops, for_kernels=True)
    pairs = [op for op in leaves(made) if isinstance(op, GroupNormSilu)]
    assert len(pairs) == sum(op is silu for op in leaves(ops)) and silu not in leaves(made)
    assert len(list_norms(made)) > len(pairs)  # that of the attention has none
    for usual in (ops, small("kl").network.to("meta").decode_ops()):
        assert not any(isinstance(op, GroupNormSilu) for op in leaves(fuse(usual)))


def test_norms_are_the_same_in_number_and_order_so_plans_hold():
    """Plans are made of ops without a device, and name norms by their number. And what they count stays true."""
    vae = small("kl")
    x, network = draw(vae, "decode")[None].to("meta"), vae.network.to("meta")
    before, after = (fuse(network.decode_ops(), for_kernels=joins) for joins in (False, True))
    originals = [op.original if isinstance(op, GroupNormSilu) else op for op in list_norms(after)]
    assert all(a is b for a, b in zip(originals, list_norms(before), strict=True))
    biases = sum(op.bias.nbytes for op in walk(after) if isinstance(op, Residual) and op.bias is not None)
    assert 0 <= count_whole(after, x).peak - count_whole(before, x).peak <= biases  # views of them count as if made


@torch.no_grad()
def test_the_bias_of_the_last_convolution_comes_with_the_skip():
    """The weights of the network stay as they are; and there may be no bias, or another op at the end."""
    conv, plain = Conv2d(4, 4).double(), Conv2d(4, 4, bias=False).double()
    ops = (Residual((conv,)), Residual((conv, silu)), Residual((plain,), (conv,)), Residual((Residual((conv,)),)))
    made = fuse(ops, for_kernels=True)
    assert [op.bias is conv.bias for op in made] == [True, False, False, False] and made[3].body[0].bias is conv.bias
    assert made[0].body[0].bias is None and made[0].body[0].original is conv and conv.bias is not None
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    for in_place in (False, True):
        assert torch.allclose(run(made, x.clone(), in_place=in_place), run(ops, x), atol=1e-12)


@torch.no_grad()
def test_errors_name_the_norm_of_the_network(monkeypatch):
    vae = small("kl")
    x, plan = draw(vae, "decode")[None], vae.plan("decode", (1, 4, 8, 8))
    for in_fp16 in (False, True):
        monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse.computes_in_fp16", lambda ops, so=in_fp16: so)
        seen, observer = [], ProgressObserver(vae.network, plan, 1, None)
        begin = observer.begin_op
        observer.begin_op = lambda op, begin=begin, seen=seen, at=observer: (begin(op), seen.append(at.where))
        run(fuse(vae.network.decode_ops(), for_kernels=True), x, observer)
        assert {" at decoder.norm_out", " at decoder.mid.block_1.norm2"} <= set(seen)
        assert not [where for where in seen if "GroupNorm" in where]
