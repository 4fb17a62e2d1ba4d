"""Mage-VAE of Mage-Flow: convolutions and means of the image instead of attention, run as one step of diffusion.

Reference: microsoft/Mage mage_flow/models/modules/mage_vae.py (MIT). Its latents are those of FLUX.2, normalised.

The surprise: both halves are diffusion models that are run once, of an empty image and at the time t = 0. So all that
depends on the time, or on the empty image, is a constant. Constants are made of the weights for every run, so the
weights stay those of the file. The file also holds FLUX.2's encoder, which nothing reads.
"""

# Blocks in brackets:
#   encoder   16x16 pixels 3->768 (2) | 768->384 (21) | out 384->256
#   decoder   z 128->384: 3x3, two attentions in windows | told of it (21), 384 -> 16x16 pixels of 32 (3) | 32->3

from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..devices.dtypes import at_least_fp32
from ..ops import Conv2d, Ops, PixelShuffle, chain
from .blocks.base import Bordered, Family, Member, Network
from .blocks.ldm import GROUPS
from .blocks.mage import Colours, Conditioner, DiCoBlock, Norm, PixelBlock, TimeEmbedder, make_conv, multiply
from .names import mage
from .shapes import Shapes, count, size, vote

FREQUENCIES = 8  # of waves over a patch, in each direction
LOGVAR = (-20.0, 10.0)  # bounds of its authors, within which the usual ones lie


@dataclass(frozen=True)
class MageConfig(Bordered):
    z_channels: int
    patch: int  # pixels to one of the latent
    head: int  # channels of the encoder's first blocks
    head_blocks: int
    hidden: int  # channels of the encoder's other blocks
    blocks: int
    decoder_hidden: int  # channels of the decoder's blocks
    decoder_blocks: int
    features: int  # channels of a pixel
    pixel_blocks: int
    in_channels: int = 3
    out_channels: int = 3
    parts: tuple[str, ...] = ("encoder", "decoder")
    temporal_ratio: int | None = None

    @property
    def latent_channels(self) -> int:
        return self.z_channels

    @property
    def spatial_ratio(self) -> int:
        return self.patch

    @property
    def decoded_ratio(self) -> int:
        return self.patch


def detect(shapes: Shapes) -> MageConfig | None:
    def agree(*places: tuple[str, int]) -> int:
        return vote(size(shapes, name, axis) for name, axis in places) or 0

    first, again = "encoder.patch_cond_embed.weight", "decoder.s_embedder.proj1.weight"
    found = MageConfig(
        z_channels=agree(("encoder.z_proj.weight", 1), (again, 0), ("decoder.y_embedder.decoder.conv_in.weight", 1)),
        patch=agree((first, 2), (first, 3), (again, 2), (again, 3)),
        head=agree((first, 0), ("encoder.patch_cond_embed.bias", 0), ("encoder.proj_down.weight", 1)),
        head_blocks=count(shapes, "encoder.head_blocks."),
        hidden=agree(("encoder.proj_down.weight", 0), ("encoder.z_proj.bias", 0), ("encoder.norm_out.weight", 0)),
        blocks=count(shapes, "encoder.blocks."),
        decoder_hidden=agree(*((f"decoder.blocks.0.conv{i}.bias", 0) for i in (1, 2, 3, 5))),
        decoder_blocks=count(shapes, "decoder.blocks."),
        features=agree(*((f"decoder.dec_net.input_proj.{t}", 0) for t in ("weight", "bias")),
                       ("decoder.final_layer.norm.weight", 0)),
        pixel_blocks=count(shapes, "decoder.dec_net.res_blocks."),
        in_channels=agree((first, 1), (again, 1)),
        out_channels=agree(*((f"decoder.final_layer.linear.{t}", 0) for t in ("weight", "bias"))),
    )  # fmt: skip
    whole = all(value for value in vars(found).values() if isinstance(value, int))
    return found if whole and found.decoder_hidden % GROUPS == 0 else None


class Encoder(nn.Module):
    """pixels (B, 3, H, W) in [-1, 1] -> moments (B, 2 * z_channels, h, w)"""

    def __init__(self, c: MageConfig):
        super().__init__()
        self.patch_cond_embed = Conv2d(c.in_channels, c.head, c.patch, stride=c.patch, pad=(0, 0))
        self.head_blocks = nn.ModuleList(DiCoBlock(c.head, modulated=False) for _ in range(c.head_blocks))
        self.proj_down, self.z_proj = Conv2d(c.head, c.hidden, 1), Conv2d(c.z_channels, c.hidden, 1)
        self.fuse_proj = Conv2d(2 * c.hidden, c.hidden, 1)
        self.t_embedder = TimeEmbedder(c.hidden)
        self.blocks = nn.ModuleList(DiCoBlock(c.hidden, modulated=True) for _ in range(c.blocks))
        self.norm_out, self.proj_out = Norm(c.hidden), Conv2d(c.hidden, 2 * c.z_channels, 1)

    def ops(self) -> Ops:
        time = self.t_embedder()
        blocks = (op for block in self.blocks for op in block.modulated_by(time))  # type: ignore[operator]
        head = (self.patch_cond_embed, *self.head_blocks, self.proj_down, self._fuse(time.dtype))
        return chain(*head, *blocks, self.norm_out, self.proj_out, clamp_logvar)

    def _fuse(self, exact: torch.dtype) -> Conv2d:
        """Of the image, and beside it of what `z_proj` makes of an empty latent, its bias."""
        own, empty = self.fuse_proj.weight.chunk(2, 1)
        constant, bias = (conv.bias.to(exact) for conv in (self.z_proj, self.fuse_proj))  # type: ignore[union-attr]
        return make_conv(own, bias + multiply(empty[..., 0, 0], constant))


def clamp_logvar(moments: Tensor) -> Tensor:
    """(B, 2C, h, w), the second half within the bounds of its authors. Pointwise."""
    mean, logvar = moments.permute(0, 2, 3, 1).chunk(2, -1)
    return torch.cat([mean, logvar.clamp(*LOGVAR)], -1).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """`proj1` sees the empty image only, and has no bias: it makes zeros."""

    def __init__(self, c: MageConfig):
        super().__init__()
        self.proj1 = Conv2d(c.in_channels, c.z_channels, c.patch, stride=c.patch, pad=(0, 0), bias=False)
        self.proj2 = Conv2d(c.z_channels + c.decoder_hidden, c.decoder_hidden, 1)


class PixelNet(nn.Module):
    """What each pixel of a patch is, by its own features and those that the blocks have found beside them."""

    def __init__(self, c: MageConfig):
        super().__init__()
        self.cond_embed = nn.Linear(c.decoder_hidden, c.patch**2 * c.features)
        self.input_proj = nn.Linear(c.features, c.features)
        self.res_blocks = nn.ModuleList(PixelBlock(c.features) for _ in range(c.pixel_blocks))


class Decoder(nn.Module):
    """z (B, z_channels, h, w) -> pixels (B, 3, H, W) in [-1, 1]"""

    def __init__(self, c: MageConfig):
        super().__init__()
        hidden, pixels = c.decoder_hidden, c.patch**2
        waves = c.in_channels + c.features + FREQUENCIES**2
        self.t_embedder = TimeEmbedder(hidden)
        self.y_embedder_x = Conv2d(hidden, c.features * pixels, 1)
        self.x_embedder = nn.ModuleDict({"embedder": nn.ModuleDict({"0": nn.Linear(waves, c.features)})})
        self.s_embedder = PatchEmbed(c)
        self.blocks = nn.ModuleList(DiCoBlock(hidden, modulated=True) for _ in range(c.decoder_blocks))
        self.dec_net = PixelNet(c)
        self.final_layer = Colours(c.features, c.out_channels)
        self.y_embedder = nn.ModuleDict({"decoder": Conditioner(c.z_channels, hidden)})
        self.hidden, self.patch, self.features, self.colours = hidden, c.patch, c.features, c.in_channels

    def ops(self) -> Ops:
        """What the blocks find lies before what they are told, which is read again at the end."""
        time = self.t_embedder()
        blocks = (op for block in self.blocks for op in block.modulated_by(time, self.hidden))  # type: ignore[operator]
        pixels = (self._spread(), PixelShuffle(n=self.patch), *self.dec_net.res_blocks, self.final_layer)
        return chain(self.y_embedder["decoder"], self._begin(), *blocks, *pixels)

    def _begin(self) -> Conv2d:
        """What the blocks begin with, of what they are told and of an empty image, of which `proj1` makes zeros.

        What they are told follows, as it is.
        """
        proj: Any = self.s_embedder.proj2
        own = proj.weight[:, -self.hidden :]
        same = torch.eye(self.hidden, dtype=own.dtype, device=own.device)[..., None, None]
        return make_conv(torch.cat([own, same]), F.pad(proj.bias, (0, self.hidden)))

    def _spread(self) -> Conv2d:
        """What is known of a patch to what is known of its pixels: of what the blocks have found, then of the rest."""
        embed = self.dec_net.cond_embed
        found = (t.unflatten(0, (-1, self.features)).transpose(0, 1).flatten(0, 1) for t in (embed.weight, embed.bias))
        weight, bias = (torch.cat(both) for both in zip(found, self._features(), strict=True))
        return make_conv(weight[..., None, None], bias, groups=2)

    def _features(self) -> tuple[Tensor, Tensor]:
        """Weight (f * pixels, C) and bias of the features of a patch's pixels: three layers, in one.

        The first makes features, in the order (channel, pixel). The next is of the pixel's colours, which are zeros,
        of these and of waves, by its place in the patch. The last is of its result.
        """
        dtype = self.y_embedder_x.weight.dtype
        exact = at_least_fp32(dtype)
        layer: Any = self.x_embedder["embedder"]["0"]  # type: ignore[index]
        own, waves = layer.weight.to(exact)[:, self.colours :].split((self.features, FREQUENCIES**2), 1)
        last = self.dec_net.input_proj
        held: Any = (self.y_embedder_x.weight[..., 0, 0], self.y_embedder_x.bias)
        weight, bias = (t.to(exact).unflatten(0, (self.features, -1)) for t in held)
        at = make_waves(self.patch, own) @ waves.T + layer.bias.to(exact)  # (pixels, f)
        mixed = last.weight.to(exact) @ own
        weight = torch.einsum("gf,fpc->gpc", mixed, weight)
        bias = mixed @ bias + last.weight.to(exact) @ at.T + last.bias.to(exact)[:, None]
        return weight.flatten(0, 1).to(dtype), bias.flatten().to(dtype)


def make_waves(patch: int, like: Tensor) -> Tensor:
    """Products of cosines over a patch, damped: (pixels, 64), in the dtype and place of `like`. As `fetch_pos` does."""
    places = torch.linspace(0, 1, patch, dtype=like.dtype, device=like.device)
    frequencies = torch.linspace(0, FREQUENCIES, FREQUENCIES, dtype=like.dtype, device=like.device)
    cosines = torch.cos(pi * places[:, None] * frequencies)
    waves = cosines[None, :, :, None] * cosines[:, None, None, :]  # row, column, frequency of columns, of rows
    return (waves / (1 + frequencies[:, None] * frequencies)).flatten(2).flatten(0, 1)


class MageVAE(Network):
    def __init__(self, c: MageConfig):
        super().__init__()
        self.encoder, self.decoder = Encoder(c), Decoder(c)

    def encode_ops(self) -> Ops:
        return chain(self.encoder)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


FAMILY = Family(
    name="mage",
    title="Mage-VAE",
    detect=detect,
    build=MageVAE,
    example=MageConfig(
        z_channels=128,
        patch=16,
        head=768,
        head_blocks=2,
        hidden=384,
        blocks=21,
        decoder_hidden=384,
        decoder_blocks=21,
        features=32,
        pixel_blocks=3,
    ),
    layouts=(mage.ORIGINAL_NAMES, mage.MODULE, mage.DIFFUSERS_NAMES),
    members=(Member("Mage-Flow (Mage-VAE)", 128, 16),),
)
