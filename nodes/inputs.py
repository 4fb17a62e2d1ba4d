"""Inputs that several nodes share: numbers, choices, sizes, noise, latent spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..vae_core import BadRequest, latents

AUTO = "auto"


def int_input(default: int, least: int, most: int, tooltip: str, **options: Any):
    """Declare an INT. options: further options of ComfyUI, such as `advanced`."""
    return ("INT", {"default": default, "min": least, "max": most, "tooltip": tooltip, **options})


def float_input(default: float, least: float, most: float, tooltip: str, **options: Any):
    """Declare a FLOAT. options: further options of ComfyUI, such as `advanced`."""
    return ("FLOAT", {"default": default, "min": least, "max": most, "step": 0.01, "tooltip": tooltip, **options})


def bool_input(default: bool, tooltip: str, **options: Any):
    """Declare a BOOLEAN. options: further options of ComfyUI, such as `advanced`."""
    return ("BOOLEAN", {"default": default, "tooltip": tooltip, **options})


def text_input(default: str, tooltip: str, **options: Any):
    """Declare a STRING. options: further options of ComfyUI, such as `advanced`."""
    return ("STRING", {"default": default, "tooltip": tooltip, **options})


def choice_input(words: Sequence[str], default: str, tooltip: str, **options: Any):
    """Declare a menu. options: further options of ComfyUI, such as `advanced`."""
    return (list(words), {"default": default, "tooltip": tooltip, **options})


def seed_number(tooltip: str, control_after_generate: bool = False, **options: Any):
    """Declare an INT that is a seed. options: further options of ComfyUI, such as `advanced`.

    control_after_generate  does the editor change it after a run? Of a seed that says nothing it does.
    """
    return int_input(0, 0, latents.SEEDS - 1, tooltip, control_after_generate=control_after_generate, **options)


def size_inputs() -> dict[str, Any]:
    """width, height and batch_size, with ComfyUI's names and defaults."""
    width, height = (
        f"{side} of the image in pixels. If it is not a multiple of the VAE's ratio, the latent is rounded up, and VAE "
        "Decode (Exact) crops the image to this size."
        for side in ("Width", "Height")
    )
    return {
        "width": int_input(512, 1, 65536, width),
        "height": int_input(512, 1, 65536, height),
        "batch_size": int_input(1, 1, 4096, "Number of latents."),
    }


def length_input() -> dict[str, Any]:
    length = "Number of frames, for VAEs of clips. 1 is an image. It is rounded down to a number the VAE can make."
    return {"length": int_input(1, 1, 16384, length, advanced=True)}


def seed_input() -> dict[str, Any]:
    seed = "The same seed gives the same noise on every machine."
    return {"seed": seed_number(seed, control_after_generate=True)}


def source_input() -> dict[str, Any]:
    source = (
        "cpu: draw noise as ComfyUI does. nvidia: draw it as PyTorch and A1111 do on an NVIDIA GPU, on any machine. It "
        "is equal to rounding while an image's latent has no more numbers than the GPU has threads."
    )
    return {"source": choice_input(latents.SOURCES, latents.CPU, source)}


def noise_inputs() -> dict[str, Any]:
    """Source, spectrum and variation. They stand last, so that graphs saved without them still load."""
    kind = (
        "white: the noise that models are trained with. pink, brown: more large shapes. blue, violet: more fine grain. "
        "perlin: clouds. pyramid: a sum of white noise of all sizes. All have variance 1 in every channel."
    )
    second = "Seed of the second noise. Item i of the batch uses this seed + i."
    variation = "How far to go towards a second noise: 0 is not at all, 1 is all the way."
    return {
        **source_input(),
        "spectrum": choice_input(latents.spectra.SPECTRA, latents.spectra.WHITE, kind),
        "variation_seed": seed_number(second, advanced=True),
        "variation_strength": float_input(0.0, 0.0, 1.0, variation, advanced=True),
    }


def batch_seeds_input() -> dict[str, Any]:
    seeds = (
        "increment: item i is drawn from seed + i, so that each can be made again alone. single: the whole batch is "
        "drawn from one stream, as ComfyUI does. same: every item is drawn from the seed, as for A1111's variations."
    )
    return {"batch_seeds": choice_input(latents.BATCH_SEEDS, latents.INCREMENT, seeds)}


def space_input(tooltip: str) -> dict[str, Any]:
    return {"latent_space": choice_input((AUTO, *latents.SPACES), AUTO, tooltip)}


def choose_space(name: str, tag: latents.Tag | None, channels: int) -> latents.LatentSpace:
    """The chosen latent space; for 'auto', the one of the tag or of the channels. Raises BadRequest if several fit."""
    if name != AUTO:
        return latents.get_space(name)
    fitting = latents.find_spaces(channels, tag.ratio if tag else None)
    known = tag.space if tag and tag.space in latents.SPACES else fitting[0] if len(fitting) == 1 else None
    if known:
        return latents.SPACES[known]
    either = ", ".join(f"{one} ({latents.SPACES[one].models})" for one in fitting)
    raise BadRequest(
        f"several models have latents with {channels} channels: choose the latent_space, one of {either}."
        if either
        else f"no latent space with {channels} channels is known, so this latent cannot be converted."
    )
