"""LlamaGen's VQ autoencoder against its authors' network, written anew in plain torch; random weights, float64."""

import random

import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.checkpoints.saving import layouts_of
from exact_vae.vae_core.families import llamagen
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.llamagen import LlamaGenConfig
from exact_vae.vae_core.families.registry import expected_shapes
from support.headers import header
from support.random_networks import random_weights, shake
from support.tensors import random_images
from torch import nn
from torch.nn import functional as F

EXACT = 1e-9


class Block(nn.Module):
    """FoundationVision/LlamaGen tokenizer/tokenizer_image/vq_model.py (MIT), as the classes that follow."""

    def __init__(self, c_in: int, c: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, c_in, eps=1e-6), nn.Conv2d(c_in, c, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(32, c, eps=1e-6), nn.Conv2d(c, c, 3, padding=1)
        if c_in != c:
            self.nin_shortcut = nn.Conv2d(c_in, c, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, c, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (f(h).flatten(2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * x.shape[1] ** -0.5, 2)
        return x + self.proj_out(torch.einsum("bij,bcj->bci", weights, v).view_as(x))


class Sampling(nn.Module):
    def __init__(self, c: int, up: bool):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(c, c, 3, padding=1) if up else nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.up else F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    def __init__(self, c_in: int, c: int, blocks: int, attention: bool, sampling: str):
        super().__init__()
        self.res = nn.ModuleList(Block(c_in if i == 0 else c, c) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(c) for _ in range(blocks if attention else 0))
        if sampling:
            setattr(self, sampling, Sampling(c, sampling == "upsample"))

    def forward(self, x):
        for i, block in enumerate(self.res):
            x = block(x)
            x = self.attn[i](x) if len(self.attn) else x
        for sampling in ("downsample", "upsample"):
            x = getattr(self, sampling)(x) if hasattr(self, sampling) else x
        return x


def coder(c_in: int, widths: list[int], blocks: int, c_out: int, down: bool) -> nn.Module:
    last = len(widths) - 1
    lowest = last if down else 0
    made = nn.Module()
    first = widths[0]
    made.conv_in = nn.Conv2d(c_in, first, 3, padding=1)
    made.mid = nn.ModuleList([Block(c := widths[lowest], c), Attention(c), Block(c, c)])
    made.conv_blocks = nn.ModuleList(
        Level(before, c, blocks, i == lowest, ("downsample" if down else "upsample") * (i < last))
        for i, (before, c) in enumerate(zip([first, *widths[:-1]], widths, strict=True))
    )
    made.norm_out = nn.GroupNorm(32, widths[-1], eps=1e-6)
    made.conv_out = nn.Conv2d(widths[-1], c_out, 3, padding=1)
    return made


class VQModel(nn.Module):
    def __init__(self, widths: list[int], blocks: int, z: int, embed: int, codes: int):
        super().__init__()
        self.encoder = coder(3, widths, blocks, z, down=True)
        self.decoder = coder(z, widths[::-1], blocks + 1, 3, down=False)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(codes, embed)
        self.quantize.register_buffer("codebook_used", torch.zeros(65536))
        self.quant_conv, self.post_quant_conv = nn.Conv2d(z, embed, 1), nn.Conv2d(embed, z, 1)

    def encode(self, x):
        """z before the codebook"""
        h = self.encoder.conv_in(x)
        for part in (*self.encoder.conv_blocks, *self.encoder.mid):
            h = part(h)
        return self.quant_conv(self.encoder.conv_out(F.silu(self.encoder.norm_out(h))))

    def nearest(self, z):
        codes = F.normalize(self.quantize.embedding.weight, p=2, dim=-1)
        flat = F.normalize(z.permute(0, 2, 3, 1), p=2, dim=-1)
        d = flat.square().sum(-1, keepdim=True) + codes.square().sum(-1) - 2 * flat @ codes.T
        return codes[d.argmin(-1)].permute(0, 3, 1, 2)

    def decode(self, quant):
        h = self.decoder.conv_in(self.post_quant_conv(quant))
        for part in (*self.decoder.mid, *self.decoder.conv_blocks):
            h = part(h)
        return self.decoder.conv_out(F.silu(self.decoder.norm_out(h)))


def theirs(seed: int) -> VQModel:
    pick = random.Random(seed)
    widths = [32, *(pick.choice([32, 64]) for _ in range(pick.choice([1, 2])))]
    model = shake(VQModel(widths, pick.choice([1, 2]), pick.choice([4, 6]), pick.choice([3, 5]), 40), seed)
    return model  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_equals_the_authors_network(seed):
    known = theirs(seed)
    ours = from_weights(known.state_dict(), dtype=torch.float64)
    assert (ours.family, ours.spatial_ratio) == ("llamagen", 2 ** (len(known.encoder.conv_blocks) - 1))
    x = random_images(3, ours.spatial_ratio, seed)
    z = known.encode(x)
    assert (ours.encode(x).mode() - z).abs().max() < EXACT
    codes = known.nearest(z)
    image = known.decode(codes)
    assert (ours.decode(z) - image).abs().max() < EXACT * image.abs().max()
    assert (ours.decode(codes) - image).abs().max() < EXACT * image.abs().max()  # codes are their own nearest
    assert (known.decode(z) - image).abs().max() > 1e-3 * image.abs().max()
    assert (codes - known.nearest(-z)).abs().max() > 0.1


CONFIG = LlamaGenConfig(
    z_channels=6,
    embed_dim=4,
    codes=40,
    encoder=Coder((32, 64, 64), (1, 1, 1), (False, False, True), stem=32),
    decoder=Coder((64, 64, 32), (2, 2, 2), (True, False, False)),
)


@pytest.mark.parametrize("rows", [1, 3, 16])
@torch.no_grad()
def test_bands(rows):
    vae = from_weights(random_weights("llamagen", CONFIG, torch.float64))
    x = torch.rand(1, 3, 41, 30, dtype=torch.float64) * 2 - 1
    whole, bands = vae.encode(x).mode(), vae.encode(x, rows=rows).mode()
    assert (bands - whole).abs().max() < 1e-12 * whole.abs().max()
    image = vae.decode(whole)
    assert (vae.decode(whole, rows=rows) - image).abs().max() < 1e-12 * image.abs().max()


@pytest.mark.parametrize("config", [CONFIG, llamagen.FAMILY.example])
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("llamagen", config))
    assert (found.config, found.is_whole) == (config, True)


def in_transformers(name: str) -> str:
    """transformers' convert_janus_weights_to_hf.py, `MAPPINGS`"""
    words = {"encoder.conv_blocks": "encoder.down", "decoder.conv_blocks": "decoder.up", ".res.": ".block.",
             "mid.0": "mid.block_1", "mid.1": "mid.attn_1", "mid.2": "mid.block_2"}  # fmt: skip
    for old, new in words.items():
        name = name.replace(old, new)
    return name


@torch.no_grad()
def test_the_names_of_transformers():
    weights = random_weights("llamagen", CONFIG, torch.float64)
    theirs = {f"model.vqmodel.{in_transformers(name)}": t for name, t in weights.items()}
    ours, again = from_weights(weights), from_weights(theirs)
    assert (again.family, again.config) == ("llamagen", CONFIG)
    z = torch.randn(1, 4, 5, 3, dtype=torch.float64)
    assert torch.equal(again.decode(z), ours.decode(z))


def test_it_is_not_written_as_diffusers_vq_model():
    """That would compare codes and z by their distance."""
    assert layouts_of("llamagen") == ("original",)


@pytest.mark.parametrize("name", ["llamagen-vq16.original", "janus.transformers"])
def test_its_title(name):
    title = detect(header(name)["shapes"]).title
    assert title == "VQ autoencoder of LlamaGen, 8 channels at 1/16: LlamaGen, Janus"
