"""Mage-VAE against its authors' network, written anew in plain torch, nothing folded; random weights, float64."""

import math

import pytest
import torch
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.families import mage
from exact_vae.vae_core.families.mage import MageConfig
from exact_vae.vae_core.families.registry import expected_shapes
from support.headers import header
from support.random_networks import random_weights
from torch import nn
from torch.nn import functional as F

EXACT = 1e-9


def modulate(x, shift, scale):
    return x * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


def over_channels(norm, x):
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Time(nn.Module):
    """microsoft/Mage mage_flow/models/modules/mage_vae.py (MIT), as the classes that follow."""

    def __init__(self, hidden: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, t):
        angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(128, dtype=t.dtype) / 128)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


class DiCo(nn.Module):
    def __init__(self, c: int, modulated: bool):
        super().__init__()
        self.conv1, self.conv3 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.ca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1), nn.Sigmoid())
        self.conv4, self.conv5 = nn.Conv2d(c, 4 * c, 1), nn.Conv2d(4 * c, c, 1)
        self.norm1, self.norm2 = (nn.LayerNorm(c, eps=1e-6, elementwise_affine=not modulated) for _ in range(2))
        if modulated:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(c, 6 * c))

    def forward(self, x, time=None):
        plain = [torch.zeros(1, x.shape[1]).to(x)] * 2 + [torch.ones(1, x.shape[1]).to(x)]
        made = plain * 2 if time is None else self.adaLN_modulation(time).chunk(6, 1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = made
        h = F.gelu(self.conv2(self.conv1(modulate(over_channels(self.norm1, x), shift, scale))))
        x = x + gate[..., None, None] * self.conv3(h * self.ca(h))
        h = self.conv4(modulate(over_channels(self.norm2, x), shift_mlp, scale_mlp))
        return x + gate_mlp[..., None, None] * self.conv5(F.gelu(h))


class Block(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, c, eps=1e-6), nn.GroupNorm(32, c, eps=1e-6)
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Attention(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, c, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        b, c, h, w = x.shape
        rows, columns = math.ceil(h / 32), math.ceil(w / 32)
        pad = (0, columns * 32 - w, 0, rows * 32 - h)

        def patches(conv):
            y = F.pad(conv(self.norm(x)), pad, mode="replicate")
            y = y.reshape(b, c, rows, 32, columns, 32).permute(0, 2, 4, 1, 3, 5)
            return y.reshape(-1, c, 32 * 32)

        q, k, v = map(patches, (self.q, self.k, self.v))
        weights = torch.softmax(q.transpose(1, 2) @ k * c**-0.5, 2)
        y = (v @ weights.transpose(1, 2)).reshape(b, rows, columns, c, 32, 32).permute(0, 3, 1, 4, 2, 5)
        return x + self.proj_out(y.reshape(b, c, rows * 32, columns * 32)[:, :, :h, :w])


class Encoder(nn.Module):
    def __init__(self, c: MageConfig):
        super().__init__()
        self.patch_cond_embed = nn.Conv2d(3, c.head, c.patch, stride=c.patch)
        self.head_blocks = nn.ModuleList(DiCo(c.head, False) for _ in range(c.head_blocks))
        self.proj_down, self.z_proj = nn.Conv2d(c.head, c.hidden, 1), nn.Conv2d(c.z_channels, c.hidden, 1)
        self.fuse_proj = nn.Conv2d(2 * c.hidden, c.hidden, 1)
        self.t_embedder = Time(c.hidden)
        self.blocks = nn.ModuleList(DiCo(c.hidden, True) for _ in range(c.blocks))
        self.norm_out = nn.LayerNorm(c.hidden, eps=1e-6)
        self.proj_out = nn.Conv2d(c.hidden, 2 * c.z_channels, 1)

    def forward(self, z, t, x):
        x = self.patch_cond_embed(x)
        for block in self.head_blocks:
            x = block(x)
        s, time = self.fuse_proj(torch.cat([self.proj_down(x), self.z_proj(z)], 1)), self.t_embedder(t)
        for block in self.blocks:
            s = block(s, time)
        return self.proj_out(over_channels(self.norm_out, s))


class CoD(nn.Module):
    def __init__(self, z: int, c: int):
        super().__init__()
        self.conv_in, self.conv_out = nn.Conv2d(z, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        self.block = nn.Sequential(Block(c), Attention(c), Block(c), Attention(c), Block(c))
        self.norm_out = nn.GroupNorm(32, c, eps=1e-6)

    def forward(self, z):
        return self.conv_out(F.silu(self.norm_out(self.block(self.conv_in(z)))))


class PixelBlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.in_ln = nn.LayerNorm(c, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(c, c), nn.SiLU(), nn.Linear(c, c))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(c, 3 * c))

    def forward(self, x, y):
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, -1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class Denoiser(nn.Module):
    def __init__(self, c: MageConfig):
        super().__init__()
        hidden, f, self.patch = c.decoder_hidden, c.features, c.patch
        self.t_embedder = Time(hidden)
        self.y_embedder_x = nn.Conv2d(hidden, f * c.patch**2, 1)
        self.x_embedder = nn.ModuleDict({"embedder": nn.Sequential(nn.Linear(3 + f + 64, f))})
        self.s_embedder = nn.ModuleDict({"proj1": nn.Conv2d(3, c.z_channels, c.patch, stride=c.patch, bias=False),
                                         "proj2": nn.Conv2d(c.z_channels + hidden, hidden, 1)})  # fmt: skip
        self.blocks = nn.ModuleList(DiCo(hidden, True) for _ in range(c.decoder_blocks))
        self.dec_net = nn.ModuleDict(
            {"cond_embed": nn.Linear(hidden, c.patch**2 * f), "input_proj": nn.Linear(f, f),
             "res_blocks": nn.ModuleList(PixelBlock(f) for _ in range(c.pixel_blocks))}
        )  # fmt: skip
        self.final_layer = nn.ModuleDict({"norm": nn.RMSNorm(f, eps=1e-6), "linear": nn.Linear(f, 3)})
        self.y_embedder = nn.ModuleDict({"decoder": CoD(c.z_channels, hidden)})

    def waves(self):
        place = torch.linspace(0, 1, self.patch, dtype=torch.float64)
        y, x = (p.reshape(-1, 1, 1) for p in torch.meshgrid(place, place, indexing="ij"))
        frequencies = torch.linspace(0, 8, 8, dtype=torch.float64)
        fx, fy = frequencies[None, :, None], frequencies[None, None, :]
        return ((x * fx * torch.pi).cos() * (y * fy * torch.pi).cos() / (1 + fx * fy)).view(1, -1, 64)

    def forward(self, x, t, cond):
        (b, _, h, w), p = x.shape, self.patch
        s, time = self.s_embedder["proj2"](torch.cat([self.s_embedder["proj1"](x), cond], 1)), self.t_embedder(t)
        for block in self.blocks:
            s = block(s, time)
        length = s.shape[-2] * s.shape[-1]
        s = s.permute(0, 2, 3, 1).reshape(b * length, -1)
        x = torch.cat([F.unfold(x, p, stride=p), self.y_embedder_x(cond).flatten(2)], 1)
        x = x.reshape(b, -1, p * p, length).permute(0, 3, 2, 1).flatten(0, 1)
        x = self.x_embedder["embedder"](torch.cat([x, self.waves().expand(len(x), -1, -1)], -1))
        x = self.dec_net["input_proj"](x)
        y = self.dec_net["cond_embed"](s).reshape(len(s), p * p, -1)
        for block in self.dec_net["res_blocks"]:
            x = block(x, y)
        x = self.final_layer["linear"](self.final_layer["norm"](x))
        x = x.transpose(1, 2).reshape(b, length, -1).transpose(1, 2)
        return F.fold(x.contiguous(), (h, w), p, stride=p)


class Mage(nn.Module):
    def __init__(self, c: MageConfig):
        super().__init__()
        self.c, self.dconv_encoder, self.decoder_model = c, Encoder(c), Denoiser(c)

    def encode(self, x):
        """mean and logvar"""
        b, _, h, w = x.shape
        empty = torch.zeros(b, self.c.z_channels, h // self.c.patch, w // self.c.patch).to(x)
        mean, logvar = self.dconv_encoder(empty, torch.zeros(b).to(x), x).chunk(2, 1)
        return mean, logvar.clamp(-20, 10)

    def decode(self, z):
        b, _, h, w = z.shape
        empty = torch.zeros(b, 3, h * self.c.patch, w * self.c.patch).to(z)
        return self.decoder_model(empty, torch.zeros(b).to(z), self.decoder_model.y_embedder["decoder"](z))


SMALL = MageConfig(4, 4, 48, 1, 40, 2, 32, 2, 8, 2)
SMALLER = MageConfig(3, 2, 16, 2, 24, 1, 64, 3, 4, 1)


def theirs(config: MageConfig) -> Mage:
    known = Mage(config)
    weights = random_weights("mage", config, torch.float64)
    names = {f"{a}.": f"{b}." for a, b in (("encoder", "dconv_encoder"), ("decoder", "decoder_model"))}
    known.double().load_state_dict({names[n[:8]] + n[8:]: t for n, t in weights.items()}, strict=True)
    return known


@pytest.mark.parametrize("size", [(7, 5), (3, 34), (66, 2)])
@pytest.mark.parametrize("config", [SMALL, SMALLER], ids=["small", "smaller"])
@torch.no_grad()
def test_equals_the_authors_network(config, size):
    """In latents of one window of attention and of several, the last of which reach beyond the image."""
    known = theirs(config)
    ours = from_weights(known.state_dict(), dtype=torch.float64)
    assert (ours.family, ours.config) == ("mage", config)
    h, w = size
    x = torch.rand(2, 3, config.patch * h, config.patch * w, dtype=torch.float64) * 2 - 1
    mean, logvar = known.encode(x)
    got = ours.encode(x)
    assert (got.mean - mean).abs().max() < EXACT and (got.logvar - logvar).abs().max() < EXACT
    z = torch.randn(2, config.z_channels, h, w, dtype=torch.float64)
    image = known.decode(z)
    assert (ours.decode(z) - image).abs().max() < EXACT * image.abs().max()
    assert (known.decode(-z) - image).abs().max() > 1e-2 * image.abs().max()


@pytest.mark.parametrize("rows", [1, 7, 40, 300])
@torch.no_grad()
def test_bands(rows):
    """Of fewer rows than a window of attention has, and of more."""
    vae = from_weights(random_weights("mage", SMALL, torch.float64))
    x = torch.rand(1, 3, 4 * 70, 12, dtype=torch.float64) * 2 - 1
    z = torch.randn(1, 4, 70, 3, dtype=torch.float64)
    for whole, bands in (
        (vae.encode(x).mode(), vae.encode(x, rows=rows).mode()),
        (vae.decode(z), vae.decode(z, rows=rows)),
    ):
        assert (bands - whole).abs().max() < 1e-12 * whole.abs().max()


@torch.no_grad()
def test_bounds_of_the_variance_are_its_authors():
    weights = random_weights("mage", SMALL, torch.float64)
    weights["encoder.proj_out.bias"][4:] = torch.tensor([-50.0, -25, 15, 50], dtype=torch.float64)
    got = from_weights(weights).encode(torch.zeros(1, 3, 8, 8)).logvar
    assert got.amax((0, 2, 3)).tolist() == got.amin((0, 2, 3)).tolist() == [-20, -20, 10, 10]


@pytest.mark.parametrize("config", [SMALL, SMALLER, mage.FAMILY.example], ids=["small", "smaller", "Mage-Flow"])
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("mage", config))
    assert (found.config, found.is_whole) == (config, True)


def test_the_encoder_of_flux_2_beside_it_is_left_alone():
    shapes = header("mage-vae.original")["shapes"]
    unused = {f"pipeline.y_embedder.encoder.{name}": shape for name, shape in header("flux2.ldm")["shapes"].items()}
    found = detect(shapes | unused | {"pipeline.y_embedder.bottleneck.weight": (128, 128)})
    assert (found.family, found.is_whole) == ("mage", True) and len(found.names) == len(shapes)
    assert found.title == "Mage-VAE, 128 channels at 1/16: FLUX.2"
