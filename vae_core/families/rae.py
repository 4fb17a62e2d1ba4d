"""RAE: the features of a vision transformer that was trained to understand images are the latent; another decodes them.

Zheng et al. 2025 (https://arxiv.org/abs/2510.11690). Reference: huggingface/diffusers autoencoder_rae.py and
huggingface/transformers (Apache-2.0), bytetriper/RAE src/stage1 (MIT).

The surprise: it knows one size of image. Its authors squeeze every image to that square; here others are refused.

What its authors publish is the decoder alone. Its tensors do not tell whose features it decodes, hence the colours that
it was trained with: its file's or folder's name does (`find_version`), or the encoder that is loaded with it. The
statistics of the latent are in a file of their own, too (`stat.pt`); without it, latents are the features themselves.
"""

# 256 px, DINOv2-B with registers, ViT-XL:
#   encoder   256 -> 224 px, bicubic | 14x14 pixels 3->768 | 5 other tokens | 12 layers | norm
#   decoder   768->1152 | 1 other token | 28 layers | norm | 1152 -> 16x16 pixels of 3

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..ops import Affine, Ops, chain
from .blocks.base import Beside, ConfigJson, Family, Halves, Member, Network
from .blocks.norms import Standardise, send_numbers
from .blocks.rae import HEAD, KINDS, Decoder, Encoder, ViTDecoder, ViTEncoder
from .blocks.vit import Resize
from .names import rae
from .shapes import Shapes, count, has_unread_half, size, vote

GRID = 16  # patches in a row of the published ones, but for that of 512 px; their statistics tell, or their positions
PATCH = 16  # pixels of the decoder's patch in all published ones
HEADS = {1152: 16, 512: 16}  # of decoders with other heads: the authors' ViT-XL, diffusers' default
UNTOLD = "unknown"  # the version of a decoder that might be any encoder's
WIDTHS = {384: "dinov2", 1152: "siglip2", 1280: "mae"}  # of features that only one of the encoders has, in any size
EPS = 1e-5  # beside the standard deviation of the latent, as diffusers has it


@dataclass(frozen=True)
class RAEConfig(Halves):
    z_channels: int
    encoder: Encoder | None
    decoder: Decoder | None
    grid: int = GRID
    patch: int = PATCH  # pixels of the image to one of the latent
    colours: bool = True  # does the file hold their mean and standard deviation?
    mean: tuple[int, ...] = (1,)  # shapes of the latent's statistics in the file; () if they are not there
    std: tuple[int, ...] = (1,)
    version: str = ""  # of a decoder that holds no colours: the encoder's kind
    in_channels: int = 3
    out_channels: int = 3

    @property
    def spatial_ratio(self) -> int:
        return self.patch

    @property
    def image_size(self) -> int | None:
        return self.grid * self.patch

    @property
    def kind(self) -> str:
        """Whose features the latent is, in KINDS; '' if that is not told, nor needed."""
        return self.encoder.kind if self.encoder else self.version


def detect(shapes: Shapes) -> RAEConfig | None:
    encoder, decoder = _read_encoder(shapes), _read_decoder(shapes)
    colours = any(name in shapes for name in ("encoder_mean", "encoder_std"))
    z = vote([size(shapes, "decoder.decoder_embed.weight", 1), *_encoder_widths(shapes)])
    # An encoder alone may be anybody's, and so may a decoder: that of a masked autoencoder hides patches.
    known = colours or (decoder and (encoder or "decoder.mask_token" not in shapes))
    if not z or has_unread_half(shapes, encoder, decoder) or not known or not (encoder or decoder):
        return None
    if encoder and z % HEAD:
        return None
    mean, std = (shapes.get(name, ()) for name in ("_latents_mean", "_latents_std"))
    grid = _read_grid(shapes, mean, std)
    mean, std = mean or std, std or mean  # if one is there, so must be the other
    pixels = vote(size(shapes, f"decoder.decoder_pred.{t}") for t in ("weight", "bias"))
    patch = isqrt(pixels // 3) if pixels else PATCH
    mean, std = (shape if _is_statistic(shape, z, grid) else (1,) for shape in (mean, std))
    version = "" if colours or encoder else WIDTHS.get(z, UNTOLD)
    return RAEConfig(z, encoder, decoder, grid, patch, colours, mean, std, version) if patch else None


def find_version(file: Path) -> str | None:
    """Whose features a decoder alone decodes, by its own name, its folder's, or those of the authors' folders.

    'RAE/siglip2_decoder.pt', 'siglip2_decoder/model.pt', 'decoders/mae/base_p16/ViTXL_n08/model.pt'
    """
    above = file.parts[-4:-2] if file.parent.name.lower().startswith("vit") else ()
    words = {word for part in (*above, *file.parts[-2:]) for word in re.split(r"[^a-z0-9]+", part.lower())}
    found = [kind for kind in KINDS if kind in words]
    return found[0] if len(found) == 1 else None


def read_beside(name: str, tensor: Tensor) -> Tensor:
    """A tensor of the files beside a decoder as the reference has it: the authors add EPS to a variance."""
    return (tensor.double() + EPS).sqrt() - EPS if name == rae.VARIANCE else tensor


def _encoder_widths(shapes: Shapes) -> list[int | None]:
    patches = "encoder.embeddings.patch_embeddings.projection"
    return [size(shapes, f"{patches}.weight"), size(shapes, f"{patches}.bias"),
            size(shapes, "encoder.layers.0.attention.q_proj.bias")]  # fmt: skip


def _read_encoder(shapes: Shapes) -> Encoder | None:
    patches, table = "encoder.embeddings.patch_embeddings.projection.weight", "encoder.embeddings.position_embeddings"
    kind = "dinov2" if "encoder.embeddings.register_tokens" in shapes else "mae"
    positions = (size(shapes, table, 1) or 1) - 1
    if "encoder.embeddings.position_embedding.weight" in shapes:
        kind, positions = "siglip2", size(shapes, "encoder.embeddings.position_embedding.weight") or 0
    usual = KINDS[kind]
    found = Encoder(
        kind=kind,
        layers=count(shapes, "encoder.layers."),
        hidden=_read_hidden(shapes, "encoder"),
        patch=vote([size(shapes, patches, 2), size(shapes, patches, 3)]) or usual.patch,
        positions=isqrt(positions) or usual.positions,
    )
    return found if all(vars(found).values()) else None


def _read_decoder(shapes: Shapes) -> Decoder | None:
    names = ("decoder_embed.weight", "decoder_embed.bias", "decoder_norm.weight", "decoder_norm.bias")
    width = vote(size(shapes, f"decoder.{name}") for name in names) or 0
    heads = find_heads(width)
    found = Decoder(
        channels=width,
        layers=count(shapes, "decoder.layers."),
        hidden=_read_hidden(shapes, "decoder"),
        heads=heads,
        positions="decoder.decoder_pos_embed" in shapes,
    )
    return found if heads and found.layers and found.hidden and width % 4 == 0 and width % heads == 0 else None


def find_heads(width: int) -> int:
    """Attention heads of a decoder, which its tensors do not tell."""
    return HEADS.get(width, width // HEAD)


def _read_hidden(shapes: Shapes, half: str) -> int:
    places = (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1))
    return vote(size(shapes, f"{half}.layers.0.mlp.{name}", axis) for name, axis in places) or 0


def _read_grid(shapes: Shapes, *statistics: tuple[int, ...]) -> int:
    """Patches in a row, by whatever is of one size: positions of the decoder, statistics of each place."""
    held = (size(shapes, "decoder.decoder_pos_embed", 1) or 1) - 1
    sides = [shape[-1] for shape in statistics if len(shape) > 2 and 1 < shape[-1] == shape[-2] <= 1024]
    return vote([*sides, isqrt(held) or None]) or GRID


def _is_statistic(shape: tuple[int, ...], z: int, grid: int) -> bool:
    """() , or one number for all, for each channel, or for each channel and place."""
    last = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    return not shape or last in ((1,), (z, 1, 1), (z, grid, grid))


class RAE(Network):
    """The latent is the features, standardised by what the file says of them. Its noise is of training alone."""

    gaussian = False

    def __init__(self, c: RAEConfig):
        super().__init__()
        self.encoder = ViTEncoder(c.z_channels, c.grid, c.encoder) if c.encoder else None
        self.decoder = ViTDecoder(c.z_channels, c.grid, c.patch, c.decoder) if c.decoder else None
        if c.colours:
            self.register_buffer("encoder_mean", torch.zeros(1, 3, 1, 1))
            self.register_buffer("encoder_std", torch.ones(1, 3, 1, 1))
        if c.mean:
            self.register_buffer("_latents_mean", torch.zeros(c.mean))
        if c.std:
            self.register_buffer("_latents_std", torch.ones(c.std))
        self.config = c

    def encode_ops(self) -> Ops:
        c, e = self.config, self.config.encoder
        assert e
        side, own = c.grid * c.patch, c.grid * e.patch
        resize = Resize(side, own) if side != own else None
        return chain(Affine(0.5, 0.5), resize, Standardise(*self._colours()), self.encoder)

    def to_latent_ops(self) -> Ops:
        return (Standardise(*self._statistics()),) if self.config.mean or self.config.std else ()

    def from_latent_ops(self) -> Ops:
        return (Standardise(*self._statistics(), back=True),) if self.config.mean or self.config.std else ()

    def decode_ops(self) -> Ops:
        return chain(self.decoder, Standardise(*self._colours(), back=True), Affine(2.0, -1.0))

    def _colours(self) -> tuple[Tensor, Tensor]:
        if self.config.colours:
            return self.get_buffer("encoder_mean"), self.get_buffer("encoder_std")
        like = next(self.parameters())
        mean, std = (send_numbers(t, like, torch.float32) for t in KINDS[self.config.kind].colours)
        return mean[None, :, None, None], std[None, :, None, None]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """What is not there changes nothing."""
        either = self.get_buffer("_latents_mean" if self.config.mean else "_latents_std")
        mean = self.get_buffer("_latents_mean") if self.config.mean else torch.zeros_like(either)
        std = self.get_buffer("_latents_std") if self.config.std else torch.ones_like(either)
        return mean, std + EPS


def is_published(c: RAEConfig) -> bool:
    """Diffusion models were trained on DINOv2's features alone, with statistics of each place."""
    return c.kind == "dinov2" and len(c.mean) > 2 and len(c.std) > 2


def remark(c: RAEConfig) -> str:
    if c.mean or c.std:
        return ""
    return "it decodes features; a diffusion model's latents need their statistics (stat.pt), loaded together with it"


def read_config_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The size of the image follows from the statistics, where these are of each place.

    Those of the published ones are so many that they are not read here: theirs is one of two sizes.
    """
    mean: Any = facts.get("latents_mean")
    placed = isinstance(mean, list) and mean and isinstance(mean[0], list) and mean[0] and isinstance(mean[0][0], list)
    grids = [len(mean[0])] if placed and len(mean[0]) > 1 else [GRID, 2 * GRID]
    patch, width = (facts.get(name) for name in ("encoder_patch_size", "decoder_hidden_size"))
    sides = [grid * patch for grid in grids] if isinstance(patch, int) else []
    side = facts.get("encoder_input_size")
    sized = {"encoder_input_size": side if side in sides else sides[0]} if sides else {}
    heads = {"decoder_num_attention_heads": find_heads(width)} if isinstance(width, int) else {}
    return {"scaling_factor": 1.0, "reshape_to_2d": True, "num_channels": 3, **sized, **heads}


FAMILY = Family(
    name="rae",
    title="RAE (representation autoencoder)",
    detect=detect,
    build=RAE,
    example=RAEConfig(
        768,
        Encoder("dinov2", layers=12, hidden=3072, patch=14, positions=37),
        Decoder(1152, layers=28, hidden=4096, heads=16, positions=False),
        mean=(768, 16, 16),
        std=(768, 16, 16),
    ),
    layouts=(rae.ORIGINAL_NAMES, rae.DIFFUSERS_NAMES, rae.DECODER_NAMES),
    versions=tuple(KINDS),
    find_version=find_version,
    beside=Beside(rae.from_beside, read_beside),
    remark=remark,
    published=is_published,
    members=(  # nyu-visionx/RAE-...
        Member("RAE of DINOv2-B, SigLIP2 and MAE (images of 256 px, and one of DINOv2-B of 512 px)", 768, 16),
        Member("RAE of DINOv2-S (images of 256 px)", 384, 16),
        Member("RAE of DINOv2-L (images of 256 px)", 1024, 16),
    ),
    config_json=ConfigJson(("AutoencoderRAE",), read_config_json),
)
