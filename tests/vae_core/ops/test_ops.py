"""What ops declare of themselves must be true: rows, span and step are measured by changing one row."""

import pytest
import torch
from exact_vae.vae_core.devices import numerics
from exact_vae.vae_core.families.blocks.mage import WindowAttention
from exact_vae.vae_core.ops import (
    Affine,
    Conv2d,
    DoublingConv,
    EveryNth,
    LookAround,
    MeanChannels,
    PixelShuffle,
    PixelUnshuffle,
    RepeatChannels,
    Residual,
    SideInput,
    TileChannels,
    Upsample2x,
    apply,
    apply_join,
    declared,
    leaves,
    map_ops,
    plus,
    relu,
    silu,
    soft_clamp,
    times,
)
from torch import nn


@pytest.mark.parametrize(
    "op",
    [
        Conv2d(1, 1),
        Conv2d(1, 1, 1),
        Conv2d(1, 1, 5),
        Conv2d(1, 1, stride=2, pad=(0, 1)),
        Conv2d(1, 1, stride=2),
        Conv2d(1, 1, pad=(1, 0)),
        Conv2d(1, 1, border="replicate"),
        DoublingConv(Conv2d(1, 1)),
        PixelUnshuffle(),
        PixelUnshuffle(order="yxc"),
    ],
    ids=[
        "3x3",
        "1x1",
        "5x5",
        "down, padded below",
        "down",
        "padded above",
        "replicate",
        "doubling",
        "unshuffle",
        "channel last",
    ],
)
@torch.no_grad()
def test_a_window_reads_just_the_rows_it_says(op):
    """Row o of the result reads rows o * step - above ... o * step - above + span - 1, and no other."""
    height, (above, below) = 12, op.rows
    x = torch.randn(1, 1, height, 8)
    y = op(x)
    steps = (height + above + below - op.span) // op.step + 1
    assert y.shape[2] == steps * op.rows_per_step
    for row in range(height):
        changed = x.clone()
        changed[:, :, row] += 1
        moved = {o for o in range(y.shape[2]) if (op(changed) - y)[:, :, o].abs().max() > 1e-6}
        reads = {s for s in range(steps) if 0 <= row - (s * op.step - above) < op.span}
        assert {o // op.rows_per_step for o in moved} == reads
        assert torch.allclose(
            op.apply_unpadded(nn.functional.pad(x, (0, 0, above, below), mode=op.border)), y, atol=1e-6
        )


@torch.no_grad()
def test_an_op_on_blocks_reads_blocks_alone():
    """Attention in windows of 32 x 32: a block that is cut off gives what it gives within the image."""
    op, x = WindowAttention(32).double(), torch.randn(2, 32, 70, 40, dtype=torch.float64)
    y, n = op(x), op.block
    for top, bottom in ((0, n), (n, 2 * n), (n, 70), (2 * n, 70)):
        assert torch.allclose(op(x[:, :, top:bottom]), y[:, :, top:bottom], rtol=0, atol=1e-14)
    assert not torch.allclose(op(x[:, :, : n - 1]), y[:, :, : n - 1])


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_a_doubling_convolution_is_the_two_it_replaces(bias):
    conv, x = Conv2d(5, 4, bias=bias).double(), torch.randn(2, 5, 6, 7, dtype=torch.float64)
    assert torch.allclose(DoublingConv(conv)(x), conv(Upsample2x()(x)), rtol=0, atol=1e-14)


def test_shuffling():
    """In torch's order, and in the order (row, column, channel); both undo what they do."""
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(PixelUnshuffle()(x), nn.functional.pixel_unshuffle(x, 2))
    assert torch.equal(PixelShuffle()(PixelUnshuffle()(x)), x)
    last = PixelUnshuffle(order="yxc")(x)
    assert torch.equal(last[:, 5, 1, 2], x[:, 2, 2, 5])  # channel 5 = (row 0, column 1, channel 2)
    assert torch.equal(last[:, 6, 1, 2], x[:, 0, 3, 4])  # channel 6 = (row 1, column 0, channel 0)
    assert torch.equal(PixelShuffle(order="yxc")(last), x)


def test_every_nth_pixel_is_what_nearest_neighbours_keep():
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(EveryNth(4)(x), nn.functional.interpolate(x, size=(2, 3), mode="nearest"))
    assert torch.equal(EveryNth(4).apply_unpadded(x[:, :, 4:]), EveryNth(4)(x)[:, :, 1:])


def test_channels_repeated_and_their_means():
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(RepeatChannels(2)(x), x.repeat_interleave(2, 1))
    assert torch.equal(TileChannels(2)(x), x.repeat(1, 2, 1, 1))
    assert torch.allclose(MeanChannels(2)(RepeatChannels(2)(x)), x)
    assert torch.allclose(MeanChannels(3)(x), x.mean(1, keepdim=True))


@pytest.mark.parametrize("parts", [[1, 1, 1, 3], [2, 4], [6]])
@pytest.mark.parametrize("told", ["with the last frames", "afterwards"])
def test_an_op_that_looks_ahead_owes_frames_until_the_clip_ends(parts, told):
    """What a window of three reads: nothing of one frame, and of the whole clip as many as it has."""
    clip, op = torch.randn(6, 2, 3, 4), LookAround(1)
    want = [clip[[max(t - 1, 0), t, min(t + 1, 5)]] for t in range(6)]
    past, got, left = None, [], list(clip.split(parts))
    for i, x in enumerate(left):
        last = i + 1 == len(left) and told != "afterwards"
        seen, past = (op.end if last else op.advance)(x, past)
        got += [seen[t : t + 3] for t in range(len(seen) - 2)]
    if told == "afterwards":
        seen, past = op.end(clip[:0], past)
        got += [seen[t : t + 3] for t in range(len(seen) - 2)]
    assert len(got) == 6 and all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


POINTWISE = [silu, relu, soft_clamp, Affine(2.0, -1.0), Upsample2x(), PixelShuffle(), PixelShuffle(order="yxc"),
             RepeatChannels(3), TileChannels(3), MeanChannels(2)]  # fmt: skip


@pytest.mark.parametrize("op", POINTWISE, ids=lambda op: getattr(op, "label", None) or op.__name__)
@torch.no_grad()
def test_pointwise_ops_read_their_own_row(op):
    x = torch.rand(1, 4, 4, 4) + 0.1
    y, changed = op(x.clone()), x.clone()
    changed[:, :, 2] += 1
    scale = y.shape[2] // 4
    moved = {o // scale for o in range(y.shape[2]) if (op(changed.clone()) - y)[:, :, o].abs().max() > 0}
    assert moved == {2}


def test_activations_keep_what_gradients_need():
    """In place only when the caller says so, whether or not gradients are on."""
    x = torch.randn(1, 4, 2, 2, requires_grad=True)
    apply(silu, nn.GroupNorm(2, 4)(x), in_place=False).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        y = torch.randn(3)
        kept, want = y.clone(), nn.functional.silu(y)
        assert torch.equal(apply(silu, y, in_place=False), want) and torch.equal(y, kept)
        assert apply(silu, y, in_place=True).data_ptr() == y.data_ptr() and torch.equal(y, want)


def test_functions_and_modules_have_the_defaults():
    assert declared(soft_clamp) is declared(nn.Identity()) and declared(soft_clamp).growth == 1.0
    assert declared(silu) is silu and silu.in_place and not declared(soft_clamp).in_place


def test_trees_are_rewritten_from_the_inside():
    """Every tuple once, the inner ones first; what holds them together stays."""
    a, b, c, d = (Affine(float(i), 0.0) for i in range(4))
    seen = []

    def reverse(ops):
        seen.append(ops)
        return ops[::-1]

    residual, side_input = map_ops((Residual((a, b), (c,)), SideInput((d, a), times)), reverse)[::-1]
    assert (residual.body, residual.skip) == ((b, a), (c,))
    assert (side_input.side, side_input.join) == ((a, d), times)
    assert seen[:3] == [(a, b), (c,), (d, a)] and len(seen) == 4


def test_leaves_are_in_the_order_of_a_run():
    a, b, c, d = (Affine(float(i), 0.0) for i in range(4))
    assert list(leaves((a, Residual((b, c), skip=(d,))))) == [a, d, b, c]
    assert list(leaves((a, SideInput((b, Residual((c,))), times), d))) == [a, b, c, d]


@pytest.mark.parametrize(("join", "result"), [(times, 6.0), (plus, 5.0)])
def test_joins_write_to_the_first_only_and_only_if_allowed(join, result):
    x, y, op = torch.full((2,), 2.0, requires_grad=True), torch.full((2,), 3.0), SideInput((), join)
    assert apply_join(op, x, y, in_place=False).tolist() == [result] * 2 and x.tolist() == [2.0, 2.0]
    z = x.detach().clone()
    assert apply_join(op, z, y, in_place=True) is z and z.tolist() == [result] * 2 and y.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("mode", ["replicate", "reflect"])
def test_older_torch_pads_fp16_too(mode, monkeypatch):
    """Of numbers that are there nothing is rounded."""
    x = torch.randn(1, 2, 5, 4).half()
    want = torch.nn.functional.pad(x.float(), (1, 2, 0, 1), mode=mode).half()
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.0"))
    assert torch.equal(numerics.pad(x, (1, 2, 0, 1), mode), want)
