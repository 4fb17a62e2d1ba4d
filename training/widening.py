"""Gives a network more latent channels. Those it has keep their numbers; the new ones begin unread, and are trained."""

from dataclasses import replace

import torch
from torch import Tensor

from ..vae_core.errors import BadRequest
from ..vae_core.families.kl import AutoencoderKL, KLConfig
from .growing import FIRST_LOGVAR


@torch.no_grad()
def widen(network: AutoencoderKL, config: KLConfig, z_channels: int, seed: int) -> AutoencoderKL:
    """A network of so many latent channels that encodes into its first ones, and decodes, what this one does.

    config: the network's. Raises BadRequest if its latents are patches, or have as many channels already.
    """
    z = config.z_channels
    if config.patch or config.embed_dim != z or z_channels <= z:
        raise BadRequest(f"latents of {config.latent_channels} channels cannot be widened to {z_channels}.")
    torch.manual_seed(seed)
    wide = AutoencoderKL(replace(config, z_channels=z_channels, embed_dim=z_channels))
    if wide.quant_conv:
        wide.quant_conv.get_parameter("bias").chunk(2)[1].fill_(FIRST_LOGVAR)
    narrow = network.state_dict()
    for name, tensor in wide.state_dict().items():
        _put(narrow[name], tensor, z)
    return wide


def _put(narrow: Tensor, wide: Tensor, z: int) -> None:
    """Copy a weight or a bias. Old results read nothing of new channels; new results stay as they are."""
    results = _find_places(len(narrow), len(wide), z)
    if narrow.ndim == 1:
        wide[results] = narrow
        return
    wide[results] = 0
    wide[results[:, None], _find_places(narrow.shape[1], wide.shape[1], z)] = narrow


def _find_places(narrow: int, wide: int, z: int) -> Tensor:
    """Where each old channel is among the new ones. Moments are two halves: means, and logarithms of variances."""
    half = torch.arange(z)
    return torch.cat((half, wide // 2 + half)) if narrow == 2 * z < wide else torch.arange(narrow)
