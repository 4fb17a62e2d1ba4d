"""Every family this library runs, and what is asked of one by its name.

A family's module is imported when it is first asked for, so that importing the library, or reading a file of one
family, does not read all.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from operator import itemgetter
from typing import Any, overload

import torch

from ..errors import BadPixels, BadRequest, LatentMismatch
from ..latents import spaces as latents
from ..ops import Window
from .blocks.base import BORDERS, ZEROS, ClipLaw, Config, Family, Network
from .blocks.half import Half
from .shapes import Shapes, text_of

_LDM = ("down.", "up.", "down_blocks.", "up_blocks.")

# Each family by the name of its module, with parts of names: every file of the family has one of them; () is any file.
# A file that has none is not shown to the family. For every file at most one family answers, so order is only speed.
SIGNS: Mapping[str, tuple[str, ...]] = {
    "kl": _LDM,
    "asymmetric": ("decoder.encoder.", "condition_encoder."),
    "svd": ("time_stack.", "temporal_res_block.", "mix_factor", "time_mix_conv.", "time_conv_out."),
    "vq": _LDM,
    "consistency": ("embed_image.", "decoder_unet."),
    "mage": ("patch_cond_embed.", "dec_net."),
    "llamagen": ("conv_blocks.", "quantize."),
    "kvae": ("spatial_conv.",),
    "rae": ("decoder_embed.", "patch_embedding"),
    "hunyuan_image": _LDM,
    "dc_ae": ("stages.", "down_blocks.", "up_blocks."),
    "wan": ("downsamples.", "upsamples.", "mid_block.resnets.0.norm1.gamma"),
    "ltx_video": ("res_blocks.", "resnets.0.conv1.conv."),
    "ltx_diffusion": ("conv_in_x_t.",),
    "seedvr2": ("upscale_conv.",),
    "cogvideox": (".norm_layer.", ".conv1.conv."),
    "allegro": (".temp_convs.",),
    "kvae_video": ("spatial_conv.",),
    "kandinsky6": ("spatial_conv.",),
    "cosmos": ("conv_in.0.conv3d.", "conv_in.conv_s."),
    "minimax_h3": ("transformer_blocks.", "down.", "down_blocks."),
    "easyanimate": (".convs.0.norm1.",),
    "vidtok": ("_temporal.",),
    "mochi": ("block_in.", ".stack."),
    "hunyuan_video": _LDM,
    "hunyuan_video_15": _LDM,
    "hunyuan_image_3": _LDM,
    "tiny": (),
    "paella": ("in_block.", "down_blocks.", "vquantizer."),
    "effnet": ("backbone.", "previewer.", "blocks."),
    "tiny_video": (),
    "taesdv": (),
    "pixel": ("pixel_space_vae",),
}


class Families(Sequence[Family]):
    """All families, each read from its module when it is reached."""

    def __len__(self) -> int:
        return len(SIGNS)

    @overload
    def __getitem__(self, index: int) -> Family: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Family]: ...

    def __getitem__(self, index: int | slice) -> Family | Sequence[Family]:
        names = list(SIGNS)[index]
        return family_named(names) if isinstance(names, str) else [family_named(name) for name in names]

    def of(self, shapes: Shapes) -> Iterator[Family]:
        """Those that a file with these names (without prefix) may be of."""
        names = text_of(shapes)
        return (family_named(name) for name, signs in SIGNS.items() if not signs or any(s in names for s in signs))


FAMILIES = Families()


def family_named(name: str) -> Family:
    return import_module(f"{__package__}.{name}").FAMILY


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


def usual_settings(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that a config.json of diffusers may not contradict. facts: what it says."""
    family = _family_of(facts)
    return family.config_json.settings(facts) if family and family.config_json else {}


def norm_groups(facts: Mapping[str, Any]) -> Any:
    """What a config.json of diffusers says of the groups of norms, if its family has any number; else None."""
    family = _family_of(facts)
    return facts.get("norm_num_groups") if family and family.grouped else None


def _family_of(facts: Mapping[str, Any]) -> Family | None:
    kind = str(facts.get("_class_name"))
    known = [(family, family.config_json.classes) for family in FAMILIES if family.config_json] if facts else []
    fitting = [(len(name), family) for family, names in known for name in names if kind.startswith(name)]
    return max(fitting, key=itemgetter(0))[1] if fitting else None  # AutoencoderKL begins many


def demand_part(config: Config, name: str, half: Half) -> None:
    """Raise BadRequest unless a VAE of this config has this half."""
    if half.noun not in config.parts:
        has = config.parts[0]
        raise BadRequest(f"'{name}' holds only the {has}: load it together with the file of its {half.noun}.")


def demand_size_of(config: Config, name: str, half: Half, shape: Sequence[int]) -> None:
    """Raise BadPixels or LatentMismatch unless a VAE of this config and name knows pixels or latents of this size.

    shape: (..., H, W). All know every size but those whose vision transformer was made for one.
    """
    h, w = shape[-2:]
    side, n = config.image_size, (config.image_size or 0) // config.spatial_ratio
    if side and half is Half.ENCODER and (h, w) != (side, side):
        raise BadPixels(
            f"this image is {w}x{h}: '{name}' knows images of {side}x{side} alone, so crop or resize it to that first."
        )
    if side and half is Half.DECODER and (h, w) != (n, n):
        raise LatentMismatch(
            f"this latent is {w}x{h}: '{name}' knows latents of {n}x{n} alone, of images of {side}x{side}."
        )


def build(family: str, config: Config) -> Network:
    """The network on the meta device: names and shapes, no memory. Raises BadRequest for a border it cannot have."""
    with torch.device("meta"):
        network = family_named(family).build(config)
    if config.border != ZEROS:
        _set_border(network, config.border)
    return network


def _set_border(network: Network, border: str) -> None:
    """Of every convolution that pads as much on one side as on the other, as torch's `padding_mode` does.

    LDM's halving convolutions, which pad zeros below and at the right only, keep them: whoever changes `padding_mode`
    changes nothing about those.
    """
    if border not in BORDERS:
        raise BadRequest(f"there is no border '{border}': choose {', '.join(BORDERS)}.")
    windows = [window for window in network.modules() if isinstance(window, Window)]
    if network.clip_law or any(window.border != "constant" for window in windows):
        raise BadRequest(
            f"this VAE cannot have the border '{border}': those of clips, Paella's and KVAE's keep their own."
        )
    padded = [window for window in windows if window.rows[0] == window.rows[1] > 0]
    if not padded:
        raise BadRequest(f"this VAE cannot have the border '{border}': no convolution of it reads beyond the image.")
    for window in padded:
        window.border = border


@lru_cache(maxsize=32)
def clip_law(family: str, config: Config) -> ClipLaw | None:
    """Which frames of a clip become which of its latent; None for a VAE of images."""
    return build(family, config).clip_law


@lru_cache(maxsize=128)  # an unknown file is compared with each family's example, and a folder holds many kinds
def expected_shapes(family: str, config: Config) -> Mapping[str, tuple[int, ...]]:
    """Every tensor that a network of this config has, by reference name."""
    return {name: tuple(t.shape) for name, t in build(family, config).state_dict().items()}
