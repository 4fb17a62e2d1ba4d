"""Blocks of EfficientViT: what they remember, how far they look, and in which precision they sum."""

import pytest
import torch
from exact_vae.vae_core.families.blocks.efficientvit import HEAD, LinearAttention, MultiScale, Stacked
from exact_vae.vae_core.families.blocks.norms import BatchNorm, RMSNorm
from exact_vae.vae_core.ops import Conv2d
from torch import nn
from torch.nn import functional as F


def weighed(x: torch.Tensor) -> torch.Tensor:
    """Attention by its definition: every pixel's value weighed by relu(q) . relu(k)."""
    b, c, h, w = x.shape
    q, k, v = x.reshape(b, c // 96, 3, 32, h * w).unbind(2)
    weights = torch.einsum("bhcn,bhcm->bhnm", q.relu(), k.relu())
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-15)
    return torch.einsum("bhnm,bhcm->bhcn", weights, v).reshape(b, c // 3, h, w)


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (9, 7)], ids=str)
def test_attention_by_sums_is_attention_by_weights(size):
    x = torch.randn(2, 192, *size, dtype=torch.float64)
    assert (LinearAttention(HEAD)(x) - weighed(x)).abs().max() < 1e-12


def test_a_query_that_no_key_answers_gets_nothing():
    x = torch.randn(1, 96, 3, 3)
    x[:, :32] = -1
    assert torch.equal(LinearAttention(HEAD)(x), torch.zeros(1, 32, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_remembered_of_parts_adds_up(dtype):
    op, x = LinearAttention(HEAD), torch.randn(1, 192, 20, 6, dtype=dtype)
    memory = op.merge(op.remember(band) for band in x.split([1, 7, 12], -2))
    assert all(m.dtype is dtype for m in memory)
    assert max(m.shape[-2] * m.shape[-1] for m in memory) == 32 * 32  # however large the image
    got = torch.cat([op.recall(band, memory) for band in x.split([5, 15], -2)], -2)
    assert (got - op(x)).abs().max() < (1e-12 if dtype is torch.float64 else 1e-5)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_sums_that_half_precision_cannot_hold(dtype, most):
    """Of 16 x 32 pixels they exceed 65504, where fp16 ends, and 256 times what is added, where bf16 stops counting.

    All that is left is the rounding of the result, half a unit in the last place, and that of fp32: a sum of n numbers
    that are not negative is off by n of its units at most, in whatever order. Above and below the line of the division
    they are sums over all pixels, weighed by 32 channels.
    """
    x = torch.rand(1, 96, 16, 32, generator=torch.Generator().manual_seed(0)).mul(32).to(dtype)
    most += 2 * (16 * 32 + 32 + 2) * 2**-24
    sums = LinearAttention(HEAD).remember(x)
    assert all(s.dtype is torch.float32 for s in sums) and max(s.max() for s in sums) > 65504
    bands = x.split(3, -2)
    memory = LinearAttention(HEAD).merge(LinearAttention(HEAD).remember(band) for band in bands)
    truth = weighed(x.double())
    for got in (
        LinearAttention(HEAD)(x),
        torch.cat([LinearAttention(HEAD).recall(band, memory) for band in bands], -2),
    ):
        assert got.dtype is dtype
        assert ((got.double() - truth).abs() / truth.abs()).max() <= most


@pytest.mark.parametrize("kernels", [(5,), (3, 7), (1,)])
@torch.no_grad()
def test_scales_read_just_the_rows_they_say(kernels):
    op, x = MultiScale(96, kernels, HEAD).double(), torch.randn(1, 96, 12, 5, dtype=torch.float64)
    y, (above, below) = op(x), op.rows
    assert op.span == max(kernels) == above + below + 1
    assert torch.equal(y[:, :96], x)
    assert (op.apply_unpadded(F.pad(x, (0, 0, above, below))) - y).abs().max() < 1e-12
    assert (op.apply_unpadded(x) - y[:, :, above : 12 - below]).abs().max() < 1e-12
    for row in range(12):
        changed = x.clone()
        changed[:, :, row] += 1
        moved = {o for o in range(12) if (op(changed) - y)[:, :, o].abs().max() > 0}
        assert moved == {o for o in range(12) if -below <= o - row <= above}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grad", [False, True])
def test_rms_norm(dtype, grad):
    """Of channels whose squares fp16 cannot hold; the input stays as it is."""
    norm, x = RMSNorm(8).to(dtype), (torch.randn(2, 8, 3, 5) * 1000).to(dtype)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    kept, weight, bias = x.clone(), norm.weight.double()[:, None, None], norm.bias.double()[:, None, None]
    with torch.set_grad_enabled(grad):
        y = norm(x)
    want = x.double() / (x.double().square().mean(1, keepdim=True) + 1e-5).sqrt() * weight + bias
    assert y.dtype is dtype and torch.equal(x, kept)
    assert torch.allclose(y.double(), want, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@torch.no_grad()
def test_batch_norm(dtype):
    """Statistics in fp32 with pixels and weights in any dtype."""
    ours, theirs = BatchNorm(6), nn.BatchNorm2d(6).eval()
    for tensor in theirs.state_dict().values():
        tensor.add_(torch.rand_like(tensor.float()).to(tensor.dtype))
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items() if n != "num_batches_tracked"})
    x = torch.randn(2, 6, 3, 4).to(dtype)
    ours.weight.data, ours.bias.data = ours.weight.to(dtype), ours.bias.to(dtype)
    want = theirs.double()(x.double())
    assert torch.allclose(ours(x).double(), want, atol=4 * max(torch.finfo(dtype).eps, 1e-7))


@torch.no_grad()
def test_stacked_convolutions():
    convs = [Conv2d(4, 5, 1, bias=False) for _ in range(3)]
    x = torch.randn(1, 4, 3, 3)
    assert torch.allclose(Stacked(convs)(x), torch.cat([conv(x) for conv in convs], 1), atol=1e-6)
