"""Channels of images: grey, RGB, alpha. Images are (B, C, H, W) in [0, 1], C 1 (grey), 2 (and alpha), 3 or 4."""

import re

import torch
from torch import Tensor

from ..errors import BadRequest

AUTOMATIC, DROP, COMPOSITE, KEEP = ALPHA = ("automatic", "drop", "composite", "keep")


def convert_channels(
    image: Tensor, channels: int, alpha: str = AUTOMATIC, background: str = "#ffffff"
) -> tuple[Tensor, str]:
    """image -> (one of so many channels, what was done to its transparency, '' if nothing).

    alpha   'automatic': kept if there is a channel for it, otherwise left out; 'drop': left out, all is opaque;
            'composite': the image laid on the background, '#rrggbb'; 'keep': kept, or BadRequest
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
    """colours (B, 3, H, W) laid on a background, as far as they are opaque."""
    return torch.lerp(parse_colour(background).to(colours)[:, None, None], colours, opacity)


def parse_colour(colour: str) -> Tensor:
    """'#ff8000' or 'ff8000' -> (3,) in [0, 1]"""
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", colour.strip()):
        raise BadRequest(f"'{colour}' is no colour: write it as #rrggbb, white as #ffffff.")
    return torch.tensor(list(bytes.fromhex(colour.strip().lstrip("#")))) / 255


def _split(image: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) and its opacity (B, 1, H, W)"""
    grey = image.shape[1] < 3
    colours = image[:, :1].expand(-1, 3, -1, -1) if grey else image[:, :3]
    has_alpha = image.shape[1] in (2, 4)
    return colours, image[:, -1:] if has_alpha else torch.ones_like(image[:, :1])
