"""Latent Inspect: statistics, warnings and images of a latent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from .. import vae_core
from ..vae_core import LatentMismatch, images, latents, reports
from . import host
from .entrance import checks_inputs
from .images import demand_same_vae, latent_of, tag_of, to_image
from .inputs import int_input
from .several import split_latents, take_image


@checks_inputs(any_numbers=("samples",))
class LatentInspect:
    DESCRIPTION = (
        "Shows what is in a latent: the model it belongs to, the mean and spread of each channel, and warnings (NaN or "
        "infinity, never sampled, scaled instead of raw, made by another VAE). Draws its channels side by side, and a "
        "preview in colour without decoding it."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["inspect latent", "latent info", "latent statistics", "debug latent", "latent preview",
                      "latent channels", "latent to rgb", "view latent"]  # fmt: skip
    RETURN_TYPES = ("STRING", "IMAGE", "IMAGE")
    RETURN_NAMES = ("report", "channels", "preview")
    OUTPUT_TOOLTIPS = (
        "The text that the node shows.",
        "The channels of each item, side by side. Grey is their mean, black and white are three standard deviations "
        "away.",
        "A small image in colour. With a VAE the colours are true. Without one they are those of the model if its "
        "factors are published, and false colours otherwise.",
    )
    FUNCTION = "inspect"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        vae = (
            "The VAE of the latent, for a preview in true colours. It is run once on small images, to find the colours "
            "of its channels."
        )
        scale = "Size of a latent pixel in the images, in pixels."
        return {
            "required": {"samples": ("LATENT", {"tooltip": "The latent. It is not changed."})},
            "optional": {"vae": ("VAE", {"tooltip": vae}), "scale": int_input(4, 1, 64, scale)},
        }

    def inspect(self, samples, vae=None, scale=4):
        others = [latent_of(one) for one in split_latents(samples)]
        samples, which = take_image(samples, host.geometry(vae)[0] if vae is not None else None)
        latent, tag = latent_of(samples), tag_of(samples)
        found = host.look(vae) if vae is not None else None
        mark = found.fingerprint if isinstance(found, vae_core.VAE) else None
        is_image = latent.ndim in (4, 5)
        frames = images.flatten_frames(latent if is_image else _as_rows(latent)).float().nan_to_num(0, 0, 0)
        grid = images.channel_grid(frames, scale).movedim(1, -1).contiguous()
        colours = draw_preview(frames, tag, vae if is_image else None)
        colours = colours.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
        text = reports.describe_latent(latent, tag, mark) if is_image else reports.describe_numbers(latent)
        beside = [reports.describe_numbers(one) for one in others if one is not latent]
        text = "\n".join([which, text, "", *(f"beside it: {one}" for one in beside)]) if which else text
        shown = (host.result(grid), host.result(to_image(colours)))
        return host.show_text(text, text, *shown, images=shown)


def _as_rows(latent: Tensor) -> Tensor:
    """A latent of no image, as of sound, (B, C, n): its channels as rows, (B, C, 1, n)."""
    if latent.ndim not in (2, 3):
        raise LatentMismatch(f"a latent of shape {tuple(latent.shape)} cannot be drawn: it has 2 to 5 dimensions.")
    return latent.reshape(*latent.shape[:2], 1, -1)


def draw_preview(latent: Tensor, tag: latents.Tag | None, vae: Any) -> Tensor:
    """latent (N, C, h, w) -> pixels (N, 3, h, w), about [-1, 1].

    The colours are those of the VAE; without one, those of published factors; without these, false colours.
    """
    space = latents.SPACES.get(tag.space or "") if tag else None
    if tag and space:
        latent, tag = latents.convert(latent, space, tag.convention, latents.RAW), replace(tag, convention=latents.RAW)
    if vae is not None:
        codec = host.from_socket(vae, *_probe(vae))
        demand_same_vae(tag, codec)
        return latents.preview(latent, latents.fit(codec))
    factors = latents.published_factors(tag.space or "", space) if tag and space else None
    return latents.preview(latent, factors) if factors else latents.false_colours(latent)


def _probe(vae: Any) -> tuple[vae_core.Half, tuple[int, ...]]:
    """(half, shape) of what `fit` runs the VAE on."""
    channels, ratio = host.geometry(vae)
    config = getattr(host.facts(vae), "config", None)
    if config and "encoder" not in config.parts:
        return vae_core.Half.DECODER, (latents.IMAGES, channels, latents.CELLS, latents.CELLS)
    return vae_core.Half.ENCODER, (1, 3, latents.CELLS * ratio, latents.CELLS * ratio)
