"""Channels of images: grey, RGB, alpha.

An image here is (B, C, H, W) in [0, 1] with 1 channel (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
"""

import re

import torch
from torch import Tensor

from ..errors import BadRequest

AUTOMATIC, DROP, COMPOSITE, KEEP = ALPHA = ("automatic", "drop", "composite", "keep")


def convert_channels(
    image: Tensor, channels: int, alpha: str = AUTOMATIC, background: str = "#ffffff"
) -> tuple[Tensor, str]:
    """Give an image the number of channels that a VAE takes. Grey is repeated.

    image       (B, 1 to 4, H, W) in [0, 1], any floating dtype
    channels    3, or 4 for a VAE with alpha
    alpha       'automatic': alpha is kept if there is a channel for it and left out otherwise.
                'drop': alpha is left out; a fourth channel is 1.
                'composite': the image is laid over the background; a fourth channel is 1.
                'keep': alpha is kept.
    background  '#rrggbb', for 'composite'
    Returns (image (B, channels, H, W) in the same dtype, a note on what happened to transparency, '' if nothing did).
    Raises BadRequest for 'keep' without a channel for alpha, and for a background that is no colour.
    """
    colours, opacity = _split(image)
    if alpha == COMPOSITE:
        colours, opacity = composite_over(colours, opacity, background), torch.ones_like(opacity)
    if alpha == DROP:
        opacity = torch.ones_like(opacity)
    if channels == 4:
        return torch.cat([colours, opacity], 1), ""
    if alpha == KEEP:
        raise BadRequest(f"a VAE of {channels} channels cannot keep alpha: choose to drop or to composite it.")
    lost = alpha == AUTOMATIC and bool((opacity < 1).any())
    return colours[:, :channels], "transparency is left out" if lost else ""


def composite_over(colours: Tensor, opacity: Tensor, background: str) -> Tensor:
    """Lay colours (B, 3, H, W) with opacity (B, 1, H, W), both in [0, 1], over '#rrggbb'. -> (B, 3, H, W) in [0, 1]"""
    return torch.lerp(parse_colour(background).to(colours)[:, None, None], colours, opacity)


def parse_colour(colour: str) -> Tensor:
    """'#ff8000' or 'ff8000' -> (3,) in [0, 1], float32. Raises BadRequest for anything else."""
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", colour.strip()):
        raise BadRequest(f"'{colour}' is no colour: write it as #rrggbb, white as #ffffff.")
    return torch.tensor(list(bytes.fromhex(colour.strip().lstrip("#")))) / 255


def _split(image: Tensor) -> tuple[Tensor, Tensor]:
    """image -> (colours (B, 3, H, W), opacity (B, 1, H, W))"""
    grey = image.shape[1] < 3
    colours = image[:, :1].expand(-1, 3, -1, -1) if grey else image[:, :3]
    has_alpha = image.shape[1] in (2, 4)
    return colours, image[:, -1:] if has_alpha else torch.ones_like(image[:, :1])
