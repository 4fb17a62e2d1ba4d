"""What several latent nodes take: sizes, noise, latent spaces; and how they become recipes."""

from typing import Any

from ..vae_core import BadRequest
from ..vae_core.latents import (
    BATCH_SEEDS,
    CPU,
    INCREMENT,
    SOURCES,
    SPACES,
    LatentSpace,
    Tag,
    find_spaces,
    get_space,
    spectra,
)
from .encoding import LARGEST_SEED

AUTO = "auto"


def int_input(default: int, least: int, most: int, tooltip: str, **options: Any):
    return ("INT", {"default": default, "min": least, "max": most, "tooltip": tooltip, **options})


def float_input(default: float, least: float, most: float, tooltip: str, **options: Any):
    return ("FLOAT", {"default": default, "min": least, "max": most, "step": 0.01, "tooltip": tooltip, **options})


def choice_input(words: tuple[str, ...], default: str, tooltip: str, **options: Any):
    return (list(words), {"default": default, "tooltip": tooltip, **options})


def size_inputs() -> dict[str, Any]:
    """Core's names and defaults. Sizes that are no multiple of the ratio are rounded up, and cropped when decoded."""
    width, height = (
        f"{side} of the image in pixels. Any: what is no multiple of the VAE's ratio is rounded up, and cropped "
        "again when VAE Decode (Exact) decodes it."
        for side in ("Width", "Height")
    )
    return {
        "width": int_input(512, 1, 65536, width),
        "height": int_input(512, 1, 65536, height),
        "batch_size": int_input(1, 1, 4096, "How many latents."),
    }


def length_input() -> dict[str, Any]:
    length = "Frames of the clip, for VAEs of clips; 1 is an image. Rounded down to what the VAE can make."
    return {"length": int_input(1, 1, 16384, length, advanced=True)}


def seed_input() -> dict[str, Any]:
    seed = "The same seed gives the same noise on every machine."
    return {"seed": int_input(0, 0, LARGEST_SEED, seed, control_after_generate=True)}


def source_input() -> dict[str, Any]:
    source = (
        "cpu: as core draws noise. nvidia: as PyTorch draws it on an NVIDIA GPU, and A1111 there, but on any machine; "
        "equal to it but for rounding, while an image's latent has no more numbers than the GPU has threads."
    )
    return {"source": choice_input(SOURCES, CPU, source)}


def noise_inputs() -> dict[str, Any]:
    """Beside the seed. Appended to a node's inputs, for graphs that were saved before they were there."""
    kind = (
        "white: as models are trained with. pink, brown: more of it in large shapes; blue, violet: in fine grain. "
        "perlin: clouds. pyramid: white noise of all sizes. Each with variance 1 in every channel."
    )
    variation = "How far to go towards other noise, along the circle. 0: not at all."
    return {
        **source_input(),
        "spectrum": choice_input(spectra.SPECTRA, spectra.WHITE, kind),
        "variation_seed": int_input(0, 0, LARGEST_SEED, "The seed of that other noise, + i for item i.", advanced=True),
        "variation_strength": float_input(0.0, 0.0, 1.0, variation, advanced=True),
    }


def batch_seeds_input() -> dict[str, Any]:
    seeds = (
        "increment: item i has the noise of seed + i, so that each can be made again alone. single: one stream for the "
        "whole batch, as core draws it. same: all items have the noise of seed (A1111's variations)."
    )
    return {"batch_seeds": choice_input(BATCH_SEEDS, INCREMENT, seeds)}


def space_input(tooltip: str) -> dict[str, Any]:
    return {"latent_space": choice_input((AUTO, *SPACES), AUTO, tooltip)}


def choose_space(name: str, tag: Tag | None, channels: int) -> LatentSpace:
    """The latent space that is chosen, or, on 'auto', the one its tag or its channels tell. Raises BadRequest."""
    if name != AUTO:
        return get_space(name)
    fitting = find_spaces(channels, tag.ratio if tag else None)
    known = tag.space if tag and tag.space in SPACES else fitting[0] if len(fitting) == 1 else None
    if known:
        return SPACES[known]
    either = ", ".join(f"{one} ({SPACES[one].models})" for one in fitting)
    raise BadRequest(
        f"it is not known whose latent of {channels} channels this is: choose the latent_space, one of {either}."
        if either
        else f"no latent space of {channels} channels is known: its scale has to be found in its model's papers."
    )
