"""Load VAE: every file the library knows, wherever the host keeps it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ..vae_core import VAE, UnsupportedCheckpoint, from_weights, load
from ..vae_core.checkpoints import built_in, in_space, read_as_light
from ..vae_core.dtypes import DTYPES
from ..vae_core.latents import TINY_FILES
from . import host
from .core_vaes import point_to_core

PIXEL_SPACE, NONE, AUTOMATIC = "pixel_space", "none", "automatic"
SPACE_CHOICES = [AUTOMATIC, *dict.fromkeys(TINY_FILES.values())]  # the spaces that there are tiny VAEs for
CHECKPOINTS = "checkpoints/"
DEVICES = ("auto", "cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3")


class VAELoader:
    DESCRIPTION = (
        "Loads a VAE of any supported family: what it is, its channels and its ratio are read from the shapes of its "
        "weights. A file with missing, surplus or misshapen weights is refused, by name. Also takes the VAE out of a "
        "full checkpoint, and joins an encoder and a decoder of two files. The node shows what was loaded."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["load vae", "vae loader", "open vae", "taesd", "flux vae", "sdxl vae"]
    RETURN_TYPES = ("VAE",)
    OUTPUT_TOOLTIPS = ("The VAE. It works in every node that takes one, core's too.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae_name": (
                    list_names(),
                    {
                        "tooltip": "Files of models/vae; tiny VAEs of models/vae_approx, two halves as one; VAEs in "
                        "models/checkpoints; a small VAE built into this pack; pixel_space for models that work on "
                        "pixels and have no VAE."
                    },
                )
            },
            "optional": {
                "dtype": (
                    ["auto", *DTYPES],
                    {
                        "default": "auto",
                        "tooltip": "What the VAE computes in. auto: bf16 on a GPU that has it, otherwise fp32. "
                        "In fp16 layers are scaled down, which changes no image, so that VAEs like SDXL's do not "
                        "overflow; on a CPU, where it has no fast kernels, fp32 is used instead.",
                    },
                ),
                "device": (
                    list(DEVICES),
                    {
                        "default": "auto",
                        "advanced": True,
                        "tooltip": "Where the VAE runs. auto: where the host runs it.",
                    },
                ),
                "other_half": (
                    [NONE, *host.files("vae"), *host.files("vae_approx")],
                    {
                        "default": NONE,
                        "advanced": True,
                        "tooltip": "A file of only an encoder or only a decoder, which takes the place of that half of "
                        "vae_name, or joins it.",
                    },
                ),
                "latent_space": (
                    SPACE_CHOICES,
                    {
                        "default": AUTOMATIC,
                        "advanced": True,
                        "tooltip": "For tiny VAEs, whose weights do not say whose latents they were trained on: the "
                        "model's, whose raw latents the VAE then gives and takes as other VAEs do. automatic: what the "
                        "file or its author's name for it says, otherwise the VAE's own, scaled latents.",
                    },
                ),
                "light": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "advanced": True,
                        "tooltip": "For tiny VAEs of clips. Off: read as TAEHV's author made them (taehv, taew2_1). "
                        "On: as one of LightX2V's (lighttaehy1_5), which has other activations and another range of "
                        "pixels. Nothing in the file tells which; the wrong one gives wrong colours.",
                    },
                ),
            },
        }

    def load(self, vae_name, dtype="auto", device="auto", other_half=NONE, latent_space=AUTOMATIC, light=False):
        made = host.to_socket(make_loader(vae_name, other_half, latent_space, light), dtype, device)
        return host.told(f"{host.look(made).title}; {host.runs_in(made)}", made)


def list_names() -> list[str]:
    """All that can be chosen, without opening a file."""
    approx, halves = host.files("vae_approx"), {}
    for name in approx:
        halves.setdefault(_stem(name), []).append(name)
    pairs = {stem: both for stem, both in halves.items() if _is_pair(both)}
    paired = {name for both in pairs.values() for name in both}
    alone = [name for name in approx if name not in paired]
    return [
        *host.files("vae"),
        *pairs,
        *alone,
        built_in.NAME,
        PIXEL_SPACE,
        *(CHECKPOINTS + name for name in host.files("checkpoints")),
    ]


def make_loader(name: str, other_half: str = NONE, latent_space: str = AUTOMATIC, light: bool = False) -> host.Load:
    """How to load what was chosen: called once, and again if the host wants a copy on another device."""
    space = None if latent_space == AUTOMATIC else latent_space
    if name == PIXEL_SPACE:
        return partial(_pixel_space, space, light)
    return partial(_load, [*find_paths(name), *(find_paths(other_half) if other_half != NONE else ())], space, light)


def find_paths(name: str) -> Sequence[Path]:
    """The file, or both, behind a name that `names` lists."""
    if name == built_in.NAME:
        return [built_in.VAE_FILE]
    if name in host.files("vae"):
        return [host.path("vae", name)]
    if name.startswith(CHECKPOINTS):
        return [host.path("checkpoints", name.removeprefix(CHECKPOINTS))]
    both = [file for file in host.files("vae_approx") if _stem(file) == name]
    return [host.path("vae_approx", file) for file in sorted(both, key=_is_decoder)] or [host.path("vae_approx", name)]


def _load(
    files: Sequence[Path], space: str | None, light: bool, dtype: torch.dtype | None, device: torch.device
) -> VAE:
    try:
        return load(*files, dtype=dtype, device=device, latent_space=space, light=light)
    except UnsupportedCheckpoint as e:
        raise point_to_core(e) from None


def _pixel_space(space: str | None, light: bool, dtype: torch.dtype | None, device: torch.device) -> VAE:
    vae = from_weights({"pixel_space_vae": torch.tensor(1.0)}, PIXEL_SPACE).to(device, dtype or torch.float32)
    vae = in_space(vae, space) if space else vae
    return read_as_light(vae) if light else vae


def _stem(name: str) -> str:
    """'taesd_encoder.pth' and 'taesd_decoder.safetensors' -> 'taesd'."""
    return name.rpartition(".")[0].removesuffix("_encoder").removesuffix("_decoder") or name


def _is_decoder(name: str) -> bool:
    return name.rpartition(".")[0].endswith("_decoder")


def _is_pair(both: list[str]) -> bool:
    return len(both) == 2 and _is_decoder(both[0]) != _is_decoder(both[1])
