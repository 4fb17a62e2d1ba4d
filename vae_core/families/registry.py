"""Every family this library runs, and what is asked of one by its name.

For every file at most one family answers, so their order does not matter.
"""

from collections.abc import Mapping
from functools import lru_cache

import torch

from ..errors import BadRequest
from ..latents import spaces as latents
from . import (
    asymmetric,
    dc_ae,
    effnet,
    hunyuan_image,
    hunyuan_image_3,
    hunyuan_video,
    hunyuan_video_15,
    kl,
    paella,
    pixel,
    svd,
    tiny,
    tiny_video,
    vq,
    wan,
)
from .blocks.base import Config, Family, Network
from .blocks.half import Half

FAMILIES: tuple[Family, ...] = (
    kl.FAMILY,
    asymmetric.FAMILY,
    svd.FAMILY,
    vq.FAMILY,
    hunyuan_image.FAMILY,
    dc_ae.FAMILY,
    wan.FAMILY,
    hunyuan_video.FAMILY,
    hunyuan_video_15.FAMILY,
    hunyuan_image_3.FAMILY,
    tiny.FAMILY,
    paella.FAMILY,
    effnet.FAMILY,
    tiny_video.FAMILY,
    pixel.FAMILY,
)


def family_named(name: str) -> Family:
    return next(f for f in FAMILIES if f.name == name)


def title(family: str, config: Config) -> str:
    """'Autoencoder-KL (2-D), 4 channels at 1/8: SD 1.x, ... or SDXL, ...'"""
    channels, ratio = config.latent_channels, config.spatial_ratio
    known = family_named(family)
    models = latents.name_models(channels, ratio, family) if known.published(config) else ""
    kind = f"{known.title}, {channels} channels at 1/{ratio}"
    return f"{kind}: {models}" if models else kind


def spaces(family: str, config: Config) -> tuple[str, ...]:
    """The latent spaces that a VAE of these sizes may have, names in latents.SPACES."""
    published = family_named(family).published(config)
    return latents.find_spaces(config.latent_channels, config.spatial_ratio, family) if published else ()


def demand_part(config: Config, name: str, half: Half) -> None:
    """Raise BadRequest unless a VAE of this config has this half."""
    if half.noun not in config.parts:
        has = config.parts[0]
        raise BadRequest(f"'{name}' holds only the {has}: load it together with the file of its {half.noun}.")


def build(family: str, config: Config) -> Network:
    """The network on the meta device: names and shapes, no memory."""
    with torch.device("meta"):
        return family_named(family).build(config)


@lru_cache(maxsize=8)
def expected_shapes(family: str, config: Config) -> Mapping[str, tuple[int, ...]]:
    """Every tensor a network of this config has, by reference name."""
    return {name: tuple(t.shape) for name, t in build(family, config).state_dict().items()}
