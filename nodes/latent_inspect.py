"""Latent Inspect: what is in a latent, in numbers and in images."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..vae_core import VAE, Half
from ..vae_core.images import channel_grid
from ..vae_core.latents import (
    CELLS,
    IMAGES,
    RAW,
    SPACES,
    Tag,
    convert,
    false_colours,
    fit,
    flatten_frames,
    preview,
    published_factors,
)
from ..vae_core.reports import describe_latent
from . import host
from .images import demand_same_vae, latent_of, tag_of, to_image
from .latent_inputs import int_input


class LatentInspect:
    DESCRIPTION = (
        "Says what is in a latent: whose it is, mean and spread of each channel, and what is odd about it (broken "
        "numbers, never sampled, scaled where it should be raw, of another VAE). Shows its channels side by side, and "
        "a preview in colour without decoding it."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["inspect latent", "latent info", "latent statistics", "debug latent", "latent preview",
                      "latent channels", "latent to rgb", "view latent"]  # fmt: skip
    RETURN_TYPES = ("STRING", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "channels", "preview")
    OUTPUT_TOOLTIPS = (
        "The lines that the node shows.",
        "The channels of each item, side by side: grey at their mean, black and white three standard deviations away.",
        "A small image in colour: with a VAE its colours; without one those of its models if they are published, "
        "otherwise false colours.",
    )
    FUNCTION = "inspect"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        vae = (
            "The VAE of the latent. It shows the true colours: it is run once on small images, to find what its "
            "channels look like."
        )
        scale = "How large a latent pixel is drawn, in pixels."
        return {
            "required": {"samples": ("LATENT", {"tooltip": "The latent. It is not changed."})},
            "optional": {"vae": ("VAE", {"tooltip": vae}), "scale": int_input(4, 1, 64, scale)},
        }

    def inspect(self, samples, vae=None, scale=4):
        latent, tag = latent_of(samples), tag_of(samples)
        found = host.look(vae) if vae is not None else None
        mark = found.fingerprint if isinstance(found, VAE) else None
        frames = flatten_frames(latent).float().nan_to_num(0, 0, 0)
        grid = channel_grid(frames, scale).movedim(1, -1).contiguous()
        colours = draw_preview(frames, tag, vae).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
        text = describe_latent(latent, tag, mark)
        return host.told(text, text, host.result(grid), host.result(to_image(colours)))


def draw_preview(latent: Tensor, tag: Tag | None, vae: Any) -> Tensor:
    """latent (N, C, h, w) -> pixels (N, 3, h, w): by the VAE, published factors of its space, or in false colours."""
    space = SPACES.get(tag.space or "") if tag else None
    if tag and space:
        latent, tag = convert(latent, space, tag.convention, RAW), replace(tag, convention=RAW)
    if vae is not None:
        codec = host.from_socket(vae, *_probe(vae))
        demand_same_vae(tag, codec)
        return preview(latent, fit(codec))
    factors = published_factors(tag.space or "", space) if tag and space else None
    return preview(latent, factors) if factors else false_colours(latent)


def _probe(vae: Any) -> tuple[Half, tuple[int, ...]]:
    """What `fit` runs the VAE on: the half, and the shape."""
    channels, ratio = host.geometry(vae)
    config = getattr(host.look(vae), "config", None)
    if config and "encoder" not in config.parts:
        return Half.DECODER, (IMAGES, channels, CELLS, CELLS)
    return Half.ENCODER, (1, 3, CELLS * ratio, CELLS * ratio)
