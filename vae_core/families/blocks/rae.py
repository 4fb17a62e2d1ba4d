"""Blocks of RAE: its encoders, which are other people's, and its decoder.

Zheng et al. 2025 (https://arxiv.org/abs/2510.11690). Reference: huggingface/diffusers autoencoder_rae.py and
huggingface/transformers (Apache-2.0).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops import Conv2d, Ops, PixelShuffle, chain
from .base import Table
from .norms import IMAGENET
from .vit import FromTokens, Layer, Linear, Norm, ToTokens, fit_positions, gelu_tanh, make_positions

HEAD = 64  # channels of an encoder's attention head
# Of encoders with other heads, which are 16: https://huggingface.co/google/siglip2-so400m-patch16-256 (config.json) ...
OF_16_HEADS = (("siglip2", 1152), ("siglip2", 1536), ("mae", 1280))
DECODER_EPS = 1e-12
UNITS = 16  # the square that the decoder's positions are in, however many patches it has


class Kind(NamedTuple):
    """What an encoder's shapes do not say, and its published sizes.

    colours    mean and standard deviation of [0, 1] that it was trained with
    patch      pixels
    positions  patches in a row of the square that its table is for
    """

    patch: int
    positions: int
    eps: float
    activation: Callable[[Tensor], Tensor] = F.gelu
    antialias: bool = False
    colours: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET


KINDS = {
    "dinov2": Kind(14, 37, 1e-6, antialias=True),
    "siglip2": Kind(16, 16, 1e-6, activation=gelu_tanh, colours=((0.5,) * 3, (0.5,) * 3)),
    "mae": Kind(16, 14, 1e-12),
}


def count_heads(kind: str, width: int) -> int:
    """Attention heads of an encoder, which its tensors do not tell."""
    return 16 if (kind, width) in OF_16_HEADS else width // HEAD


@dataclass(frozen=True)
class Encoder:
    kind: str  # in KINDS
    layers: int
    hidden: int  # channels within a layer
    patch: int
    positions: int  # patches in a row of the square that its table of positions is for


@dataclass(frozen=True)
class Decoder:
    channels: int
    layers: int
    hidden: int
    heads: int
    positions: bool  # does the file hold them? diffusers' do not


class Embeddings(nn.Module):
    """An image's patches as tokens, after those that stand for no pixels. (B, 3, H, W) -> (B, C, 1, tokens)"""

    def __init__(self, z: int, grid: int, e: Encoder):
        super().__init__()
        table = e.positions**2
        self.patch_embeddings = nn.ModuleDict({"projection": Conv2d(3, z, e.patch, stride=e.patch, pad=(0, 0))})
        if e.kind == "siglip2":
            self.position_embedding = Table(table, z)
        else:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, z))
            self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + table, z))
        if e.kind == "dinov2":
            self.mask_token = nn.Parameter(torch.zeros(1, z))  # of its training; nothing reads it
            self.register_tokens = nn.Parameter(torch.zeros(1, 4, z))
        self.kind, self.grid = e.kind, grid

    def ops(self) -> Ops:
        extra, table = self._read()
        positions = fit_positions(table, self.grid, KINDS[self.kind].antialias).to(table.dtype)
        return self.patch_embeddings["projection"], ToTokens(extra, positions, self.grid)

    @property
    def extra(self) -> int:
        """Tokens that stand for no pixels: one for the whole image, and registers."""
        return {"dinov2": 5, "mae": 1, "siglip2": 0}[self.kind]

    def _read(self) -> tuple[Tensor, Tensor]:
        """These tokens, (k, C), and the table of positions, (n^2, C)."""
        if self.kind == "siglip2":
            table = self.position_embedding.weight
            return table[:0], table
        first, table = self.position_embeddings[0, :1], self.position_embeddings[0, 1:]
        registers = self.register_tokens[0] if self.kind == "dinov2" else table[:0]
        return torch.cat([self.cls_token[0] + first, registers]), table


class ViTEncoder(nn.Module):
    """pixels (B, 3, H, W), standardised -> features (B, z_channels, grid, grid)"""

    def __init__(self, z: int, grid: int, e: Encoder):
        super().__init__()
        kind = KINDS[e.kind]
        make = partial(Layer, z, count_heads(e.kind, z), e.hidden, kind.eps, kind.activation, e.kind == "dinov2")
        self.embeddings = Embeddings(z, grid, e)
        self.layers = nn.ModuleList(make() for _ in range(e.layers))
        self.last = Norm(z, kind.eps, affine=False)
        self.grid = grid

    def ops(self) -> Ops:
        return chain(self.embeddings, *self.layers, self.last, FromTokens(self.embeddings.extra, self.grid))


class ViTDecoder(nn.Module):
    """features (B, z_channels, grid, grid) -> pixels (B, 3, H, W), standardised"""

    def __init__(self, z: int, grid: int, patch: int, d: Decoder):
        super().__init__()
        self.decoder_embed = Linear(z, d.channels)
        self.trainable_cls_token = nn.Parameter(torch.zeros(1, 1, d.channels))
        if d.positions:
            self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, d.channels))
        self.layers = nn.ModuleList(Layer(d.channels, d.heads, d.hidden, DECODER_EPS) for _ in range(d.layers))
        self.decoder_norm = Norm(d.channels, DECODER_EPS)
        self.decoder_pred = Linear(d.channels, 3 * patch**2)
        self.grid, self.patch, self.holds_positions = grid, patch, d.positions

    def ops(self) -> Ops:
        first, positions = self._find_positions()
        tokens = ToTokens(self.trainable_cls_token[0] + first, positions, self.grid)
        end = (self.decoder_norm, self.decoder_pred, FromTokens(1, self.grid), PixelShuffle("yxc", n=self.patch))
        return chain(self.decoder_embed, tokens, *self.layers, *end)

    def _find_positions(self) -> tuple[Tensor, Tensor]:
        """Of the token that stands for no pixels, (1, C), and of the others, (grid^2, C)."""
        if self.holds_positions:
            return self.decoder_pos_embed[0, :1], self.decoder_pos_embed[0, 1:]
        like = self.trainable_cls_token
        made = make_positions(like.shape[-1], self.grid, UNITS, like.device).to(like.dtype)
        return torch.zeros_like(made[:1]), made
