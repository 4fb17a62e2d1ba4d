"""HunyuanImage 3.0 against a plain network over (B, C, T, H, W), written for this test: no public class reads it."""

import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.hunyuan_video_15 import TradingConfig
from support.headers import header
from support.random_networks import random_weights
from support.slow import slow
from support.tensors import clip, moments, near
from torch.nn import functional as F

EXACT = 1e-9
WIDTHS = (32, 32, 64, 64, 64)
SMALL = TradingConfig(
    z_channels=4,
    encoder=Coder(WIDTHS, (1,) * 5, (False,) * 5, stem=32),
    decoder=Coder(WIDTHS[::-1], (2,) * 5, (False,) * 5),
)


class Plain:
    """The network as published, with torch's own convolutions and norms, all frames at once."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.weights = weights

    def params(self, name):
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def conv(self, x, name):
        weight, bias = self.params(name)
        weight = weight.reshape(*weight.shape[:2], *(weight.shape[2:] if weight.ndim == 5 else (1, 1, 1)))
        return F.conv3d(x, weight, bias, padding=weight.shape[-1] // 2)

    def norm(self, x, name):
        return F.group_norm(x, 32, *self.params(name), eps=1e-6)

    def block(self, x, name):
        y = self.conv(F.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1")
        return x + self.conv(F.silu(self.norm(y, f"{name}.norm2")), f"{name}.conv2")

    def blocks(self, x, level):
        i = 0
        while f"{level}.block.{i}.conv1.weight" in self.weights:
            x, i = self.block(x, f"{level}.block.{i}"), i + 1
        return x

    def middle(self, x, half):
        x = self.block(x, f"{half}.mid.block_1")
        y = self.norm(x, f"{half}.mid.attn_1.norm")
        q, k, v = (self.conv(y, f"{half}.mid.attn_1.{p}").flatten(2) for p in "qkv")
        seen = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / q.shape[1] ** 0.5, -1)
        y = torch.einsum("bij,bcj->bci", seen, v).view(x.shape)
        return self.block(x + self.conv(y, f"{half}.mid.attn_1.proj_out"), f"{half}.mid.block_2")

    def encode(self, x):
        x = self.conv(x, "encoder.conv_in")
        for i in range(5):
            x = self.blocks(x, f"encoder.down.{i}")
            if i < 4:
                y = packed(self.conv(x, f"encoder.down.{i}.downsample.conv"), 2 if i > 1 else 1)
                x = y + means(packed(x, 2 if i > 1 else 1), y.shape[1])
        x = self.middle(x, "encoder")
        y = self.conv(F.silu(self.norm(x, "encoder.norm_out")), "encoder.conv_out")
        return y + means(x, y.shape[1])

    def decode(self, z):
        x = self.conv(z, "decoder.conv_in")
        x = self.middle(x + z.repeat_interleave(x.shape[1] // z.shape[1], 1), "decoder")
        for i in range(5):
            x = self.blocks(x, f"decoder.up.{i}")
            if i < 4:
                y = self.conv(x, f"decoder.up.{i}.upsample.conv")
                repeated = x.repeat_interleave(y.shape[1] // x.shape[1], 1)
                x = spread(y, 2 if i < 2 else 1) + spread(repeated, 2 if i < 2 else 1)
        return self.conv(F.silu(self.norm(x, "decoder.norm_out")), "decoder.conv_out")


def means(x, channels):
    return x.unflatten(1, (channels, -1)).mean(2)


def packed(x, frames):
    """Frames, rows and columns of a cell become channels, one after the other."""
    cells = [x[:, :, t::frames, i::2, j::2] for t in range(frames) for i in (0, 1) for j in (0, 1)]
    return torch.cat(cells, 1)


def spread(x, frames):
    """The way back."""
    b, _, t, h, w = x.shape
    cells = x.chunk(4 * frames, 1)
    y = x.new_empty(b, cells[0].shape[1], frames * t, 2 * h, 2 * w)
    for n, cell in enumerate(cells):
        y[:, :, n // 4 :: frames, n // 2 % 2 :: 2, n % 2 :: 2] = cell
    return y


@pytest.fixture(scope="module")
def weights():
    return random_weights("hunyuan_image_3", SMALL, torch.float64)


@pytest.fixture(scope="module")
def ours(weights):
    return from_weights(weights)


@torch.no_grad()
def test_a_clip(ours, weights):
    assert (ours.family, ours.config) == ("hunyuan_image_3", SMALL)
    known = Plain(weights)
    x = clip(3, 8, 32, 48)
    assert near(moments(ours.encode(x)), known.encode(x)) < EXACT
    z = clip(4, 3, 2, 3)
    got = ours.decode(z)
    assert got.shape[2] == 12 and near(got, known.decode(z)) < EXACT


@torch.no_grad()
def test_a_clip_is_continued_to_a_multiple_of_four(ours):
    x = clip(3, 6, 16, 16)
    assert near(ours.encode(x).mean, ours.encode(torch.cat([x, x[:, :, -1:], x[:, :, -1:]], 2)).mean) < 1e-12


@torch.no_grad()
def test_an_image_is_four_frames_and_the_last_of_four(ours, weights):
    """Each of a batch for itself, with a dimension of frames or without."""
    known = Plain(weights)
    x = clip(3, 1, 32, 48)
    want = known.encode(x.expand(-1, -1, 4, -1, -1))
    assert near(moments(ours.encode(x)), want) < EXACT
    assert near(ours.encode(x[:, :, 0]).mode(), want[:, :4, 0]) < EXACT
    z = want[:, :4]
    want = known.decode(z)[:, :, -1:]
    assert near(ours.decode(z), want) < EXACT
    assert near(ours.decode(z[:, :, 0]), want[:, :, 0]) < EXACT


HOW = [{}, {"rows": 1000}, {"rows": 8}, {"rows": 5, "keep": "disk"}, {"rows": 3, "keep": "device"}]


@slow
@torch.no_grad()
def test_bands_are_the_clip_at_once(ours):
    for doing, y in (("encode", clip(3, 8, 48, 32)), ("decode", clip(4, 2, 3, 2))):
        ops = ours.network.encode_ops() if doing == "encode" else ours.network.decode_ops()
        want = torch.stack([whole.run(ops, one.contiguous()) for one in y.transpose(1, 2)]).transpose(1, 2)
        for how in HOW:
            plan = ours.plan(doing, y.shape, **how)
            assert not plan.frames and bool(plan.rows) == (0 < how.get("rows", 0) < 48)
            got = getattr(ours, doing)(y, **how)
            assert near(moments(got) if doing == "encode" else got, want) < 1e-12


@torch.no_grad()
def test_rows_of_an_image(ours):
    """What is read and written row by row is the same, though never without the whole image."""

    class Rows:
        shape = (3, 30, 40)

        def read(self):
            return iter(x[0].split(7, -2))

    x = clip(3, 1, 30, 40)[:1, :, 0]
    want = ours.encode(x)
    got = ours.encode_rows(Rows(), rows=8)
    assert got.size == want.size == (30, 40) and near(got.mean, want.mean) < 1e-12
    z = want.mode()
    bands = list(ours.decode_rows(z, size=want.size, rows=8))
    assert near(torch.cat(bands, -2), ours.decode(z, size=want.size)[0]) < 1e-12
    shapes = (1, 3, 30, 40), (1, 3, 1, 30, 40)
    assert ours.plan("encode", shapes[0]).peak == ours.plan("encode", shapes[1]).peak


@pytest.mark.parametrize("name", ["hunyuanimage3.comfy", "hunyuanimage3.ldm", "hunyuanimage3.checkpoint-prefixed"])
def test_published_files(name):
    found = detect(header(name)["shapes"])
    assert found.is_whole and found.family == "hunyuan_image_3"
    assert (found.latent_channels, found.spatial_ratio, found.temporal_ratio) == (32, 16, 4)
