"""Load VAE: a VAE of any family that the library supports, from any of the host's folders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from .. import vae_core
from ..vae_core import checkpoints, families, latents
from ..vae_core.devices import DTYPES
from . import host
from .entrance import checks_inputs
from .frames import CLIP, FRAMES, SEPARATE
from .inputs import bool_input, choice_input
from .vae_files import PIXEL_SPACE, find_paths, list_names

NONE, AUTOMATIC = "none", "automatic"
ENCODED_APART = "ComfyUI's nodes encode separate images"


@checks_inputs()
class VAELoader:
    DESCRIPTION = (
        "Loads a VAE of any supported family. Its family, channels and ratio are read from the names and shapes of its "
        "weights. If weights are missing, surplus or misshapen, the error names them. The node also takes the VAE out "
        "of a full checkpoint, and joins an encoder and a decoder from two files. It shows what was loaded."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["load vae", "vae loader", "open vae", "taesd", "flux vae", "sdxl vae", "fp16 fix", "black image",
                      "seamless", "tileable", "got 16 channels, expected 4"]  # fmt: skip
    RETURN_TYPES = ("VAE",)
    OUTPUT_TOOLTIPS = ("The VAE. It works in every node that takes a VAE, including ComfyUI's own.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        name = (
            "A file of models/vae; a tiny VAE of models/vae_approx, whose two halves are one entry; the VAE inside a "
            "file of models/checkpoints; the small VAE built into this pack; or pixel_space, for models that work on "
            "pixels and have no VAE."
        )
        dtype = (
            "The precision the VAE computes in. auto: bf16 on a GPU that supports it, otherwise fp32. In fp16, layers "
            "are scaled down inside, so that VAEs like SDXL's do not overflow; the image stays the same. A CPU has no "
            "fast fp16 and uses fp32 instead."
        )
        device = (
            "The device the VAE runs on. auto: the one ComfyUI chooses, which also stands in for one that a workflow "
            "names and this machine does not have."
        )
        half = "A file with only an encoder or only a decoder. It replaces that half of vae_name, or completes it."
        space = (
            "For tiny VAEs, whose weights do not say which model's latents they use. Choose the model, and the VAE "
            "works with its raw latents, as other VAEs do. automatic: what the file, or its author's name for it, "
            "says; otherwise the VAE's own, scaled latents."
        )
        light = (
            "For tiny VAEs of clips. Off: read the file as one of TAEHV's author (taehv, taew2_1). On: read it as one "
            "of LightX2V (lighttaehy1_5), with other activations and another range of pixels. Nothing in the file "
            "tells them apart, and the wrong choice gives wrong colours."
        )
        border = (
            "What the VAE's 3 x 3 convolutions read beyond the image. automatic: zeros, as nearly all VAEs were "
            "trained, unless the file says otherwise. reflect: the image mirrored, for VAEs trained so (some EQ VAEs). "
            "circular: what lies at the other side, so that a texture continues there without a seam; circular x: on "
            "the left and right only, as a panorama; circular y: above and below only. Not for VAEs of clips."
        )
        frames = (
            "What several images are to a VAE of clips in ComfyUI's own nodes. clip: the frames of one clip. separate "
            "images: each becomes a latent of its own. The encoders of this pack have this input themselves."
        )
        halves = [NONE, *host.files("vae"), *host.files("vae_approx")]
        spaces = [AUTOMATIC, *latents.list_tiny_spaces()]
        return {
            "required": {"vae_name": (list_names(), {"tooltip": name})},
            "optional": {
                "dtype": choice_input(("auto", *DTYPES), "auto", dtype),
                "device": choice_input(("auto", *host.list_devices()), "auto", device, advanced=True),
                "other_half": choice_input(halves, NONE, half, advanced=True),
                "latent_space": choice_input(spaces, AUTOMATIC, space, advanced=True),
                "light": bool_input(False, light, advanced=True),
                "border": choice_input((AUTOMATIC, *families.BORDERS), AUTOMATIC, border, advanced=True),
                "frames": choice_input(FRAMES, CLIP, frames, advanced=True),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, device="auto"):
        return device is None or host.explain_device(str(device)) or True  # None: it comes from another node

    def load(self, vae_name, dtype="auto", device="auto", other_half=NONE, latent_space=AUTOMATIC, light=False,
             border=AUTOMATIC, frames=CLIP):  # fmt: skip
        load = make_loader(vae_name, other_half, latent_space, light, border)
        device, elsewhere = host.find_device(device)
        made = host.to_socket(load, dtype, device, separate_images=frames == SEPARATE)
        vae = host.look(made)
        line = f"{vae.latent_channels} channels at 1/{vae.spatial_ratio}, {host.runs_in(made)}"
        apart = ENCODED_APART if frames == SEPARATE and vae.clip_law else ""
        return host.show_text("; ".join(filter(None, (line, elsewhere, apart))), made)


class Reading(NamedTuple):
    """How to read what no weights tell, see `vae_core.load`."""

    latent_space: str | None
    light: bool
    border: str | None


def make_loader(
    name: str, other_half: str = NONE, latent_space: str = AUTOMATIC, light: bool = False, border: str = AUTOMATIC
) -> host.Load:
    """A function that loads what was chosen. The host calls it again for a copy on another device."""
    space, beyond = (None if chosen == AUTOMATIC else chosen for chosen in (latent_space, border))
    how = Reading(space, light, beyond)
    if name == PIXEL_SPACE:
        return partial(_pixel_space, how)
    return partial(_load, [*find_paths(name), *(find_paths(other_half) if other_half != NONE else ())], how)


def _load(files: Sequence[Path], how: Reading, dtype: torch.dtype | None, device: torch.device) -> vae_core.VAE:
    return vae_core.load(*files, dtype=dtype, device=device, **how._asdict())


def _pixel_space(how: Reading, dtype: torch.dtype | None, device: torch.device) -> vae_core.VAE:
    """It has no convolutions, so every border is right."""
    vae = vae_core.from_weights({"pixel_space_vae": torch.tensor(1.0)}, PIXEL_SPACE).to(device, dtype or torch.float32)
    vae = checkpoints.in_space(vae, how.latent_space) if how.latent_space else vae
    return checkpoints.read_as_light(vae) if how.light else vae
