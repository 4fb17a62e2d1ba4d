"""What diffusers' pipelines ask the config of a VAE for, by their names.

Pipelines work on z, which the decoder reads, and scale it themselves: FLUX.2's is not patchified, and LTX-Video's not
normalised. So where a latent of ours is more than z, pipelines are told a scale of 1.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import BadRequest
from ..families import kandinsky6, ltx_video
from ..families.cosmos import CosmosVAE
from ..families.kl import LatentNorm
from ..families.wan import WanConfig
from ..latents.spaces import LatentSpace, find_spaces, get_space
from ..vae import VAE

UNSCALED = LatentSpace("", 0, 0)  # of z that no pipeline scales
TINY = ("tiny", "tiny_video", "taesdv")  # their z is scaled as it is


def list_facts(vae: VAE, latent_space: str | None = None) -> dict[str, Any]:
    """The config by which pipelines of diffusers run this VAE, by diffusers' names.

    latent_space   whose latents it makes, a name in SPACES; None: what the VAE knows of itself
    Raises BadRequest if neither says so and the scale of its latents depends on it.
    """
    space = _find_space(vae, latent_space)
    ratio, channels = z_ratio(vae), z_channels(vae)
    widths = _list_widths(vae, ratio)
    return {
        "in_channels": vae.in_channels,
        "out_channels": vae.out_channels,
        "latent_channels": channels,
        "z_dim": channels,
        "block_out_channels": widths,
        "encoder_block_out_channels": widths,
        "sample_size": 32 * ratio,  # only SD's upscalers and PixArt look at it
        "scaling_factor": space.scale,
        "shift_factor": space.shift,
        "force_upcast": False,  # fp16 is made safe inside
        "timestep_conditioning": False,  # LTX-Video's decoder is always told the same time here
        "batch_norm_eps": LatentNorm.eps,
        "temperal_downsample": list_steps(vae),
        **_name_ratios(vae, ratio),
        **_list_statistics(vae, space, channels),
    }


def z_channels(vae: VAE) -> int:
    """Channels of z, 32 of FLUX.2's 128 of a latent."""
    return vae.latent_channels // _patch(vae) ** 2


def pixel_range(vae: VAE) -> float:
    """Of pixels that a pipeline gives this VAE and takes from it, counted from black, to those in [-1, 1]."""
    return kandinsky6.RANGE if vae.family == kandinsky6.FAMILY.name else 1.0


def z_ratio(vae: VAE) -> int:
    """Pixels to one of z in each direction, 8 where a latent of FLUX.2 has 16."""
    return vae.spatial_ratio // _patch(vae)


def _patch(vae: VAE) -> int:
    """Pixels of z in each direction to one of the latent: 2 where FLUX.2's latents are patchified outside of z."""
    in_z = vars(vae.config).get("z_channels", vae.latent_channels)
    return round((vae.latent_channels / in_z) ** 0.5)


def demand_space(vae: VAE, name: str) -> None:
    """Raise BadRequest for a latent space of other channels than the VAE's, and for one that is not there."""
    space = get_space(name)
    if space.channels != vae.latent_channels and not _is_unscaled(vae):
        raise BadRequest(
            f"latents of '{name}' have {space.channels} channels, those of '{vae.name}' {vae.latent_channels}: "
            "give the latent_space whose latents it makes."
        )


def demand_place(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> None:
    """Raise BadRequest if a VAE with our config cannot take the place of one with theirs: of other channels."""
    for fact in ("latent_channels", "z_dim"):
        if isinstance(wanted := theirs.get(fact), int) and wanted != ours[fact]:
            raise BadRequest(
                f"'{name}' has {ours[fact]} latent channels, the VAE that it would take the place of has {wanted}."
            )


def _is_unscaled(vae: VAE) -> bool:
    """Does it give latents as diffusion models see them, so that no space decides on a scale?"""
    return bool(vae.network.to_latent_ops()) or vae.family in TINY


def _find_space(vae: VAE, name: str | None) -> LatentSpace:
    if _is_unscaled(vae):
        return UNSCALED
    name = name or vae.latent_space
    if name is None:
        known = ", ".join(find_spaces(vae.latent_channels, vae.spatial_ratio, vae.family)) or "a name in SPACES"
        raise BadRequest(
            f"'{vae.name}' does not say whose latents it makes, so its scale is not known: give latent_space "
            f"({known}), or like=pipe.vae, the VAE whose place it takes."
        )
    return get_space(name)


def _list_widths(vae: VAE, ratio: int) -> list[int]:
    """One width for each level: pipelines take the ratio from their number, 2 ** (number - 1)."""
    coder = vars(vae.config).get("encoder") or vars(vae.config).get("decoder")
    widths: list[int] = list(getattr(coder, "widths", ()))
    levels = ratio.bit_length()
    return widths if len(widths) == levels else [widths[-1] if widths else vae.latent_channels] * levels


def list_steps(vae: VAE) -> list[bool]:
    """For each halving of the image: are frames halved too? Pipelines count them for both ratios."""
    if isinstance(vae.config, WanConfig):
        levels = vae.config.encoder or (vae.config.decoder or ())[::-1]
        return [level.in_time and vae.temporal_ratio is not None for level in levels if level.resampled]
    halvings, in_time = z_ratio(vae).bit_length() - 1, (vae.temporal_ratio or 1).bit_length() - 1
    return [i >= halvings - in_time for i in range(halvings)]


def _name_ratios(vae: VAE, ratio: int) -> dict[str, int]:
    in_time = vae.temporal_ratio or 1
    return {
        "scale_factor_spatial": ratio,
        "spatial_compression_ratio": ratio,
        "scale_factor_temporal": in_time,
        "temporal_compression_ratio": in_time,
    }


def _list_statistics(vae: VAE, space: LatentSpace, channels: int) -> Mapping[str, list[float] | None]:
    """Mean and deviation of z, which pipelines of Wan and Qwen-Image want as lists; None where there are none."""
    if space.std:
        return {"latents_mean": list(space.mean), "latents_std": list(space.std)}
    if isinstance(vae.network, ltx_video.LTXVideoVAE):
        named = zip(("latents_mean", "latents_std"), ltx_video.STATISTICS, strict=True)
        found = vae.network.get_submodule("per_channel_statistics")
        return {ours: found.get_buffer(name).tolist() for ours, name in named}
    if isinstance(vae.network, CosmosVAE):
        mean, std = vae.network.statistics()
        return {"latents_mean": mean.tolist(), "latents_std": std.tolist()}
    if vae.family in ("tiny_video", "wan"):
        return {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    return {"latents_mean": None, "latents_std": None}
