"""Raw, scaled and normalised latents."""

import inspect

import pytest
import torch
from diffusers import AutoencoderKLMochi, AutoencoderKLQwenImage, AutoencoderKLWan
from exact_vae.vae_core import BadRequest, LatentMismatch
from exact_vae.vae_core.latents.conventions import CONVENTIONS, convert
from exact_vae.vae_core.latents.spaces import SPACES


def latent(space, frames=None, dtype=torch.float64):
    middle = () if frames is None else (frames,)
    return torch.randn(2, SPACES[space].channels, *middle, 3, 5, dtype=dtype)


@pytest.mark.parametrize("space", SPACES)
def test_every_way_there_and_back(space):
    x = latent(space)
    for origin in CONVENTIONS:
        for target in CONVENTIONS:
            there = convert(x, SPACES[space], origin, target)
            assert torch.allclose(convert(there, SPACES[space], target, origin), x, atol=1e-12)


@pytest.mark.parametrize(("space", "scale", "shift"), [("sd1", 0.18215, 0), ("sd3", 1.5305, 0.0609)])
def test_one_scale(space, scale, shift):
    """As diffusers' pipelines: (z - shift_factor) * scaling_factor."""
    x = latent(space)
    assert torch.allclose(convert(x, SPACES[space], "raw", "scaled"), (x - shift) * scale, atol=1e-12)
    assert torch.equal(convert(x, SPACES[space], "scaled", "normalised"), x)


@pytest.mark.parametrize(
    ("space", "cls"), [("wan21", AutoencoderKLWan), ("wan21", AutoencoderKLQwenImage), ("mochi", AutoencoderKLMochi)]
)
def test_statistics_of_channels(space, cls):
    """As diffusers' pipelines: (z - latents_mean) / latents_std, whose numbers are the class's own."""
    defaults = inspect.signature(cls.__init__).parameters
    mean, std = (
        torch.tensor(defaults[f"latents_{name}"].default, dtype=torch.float64)[:, None, None, None]
        for name in ("mean", "std")
    )
    x = latent(space, frames=2)
    for target in ("scaled", "normalised"):
        assert torch.allclose(convert(x, SPACES[space], "raw", target), (x - mean) / std, atol=1e-12)


def test_statistics_and_a_scale():
    """Playground 2.5, as diffusers' SDXL pipeline: (z - mean) * scaling_factor / std."""
    x, space = latent("playground25"), SPACES["playground25"]
    mean, std = (torch.tensor(n, dtype=torch.float64)[:, None, None] for n in (space.mean, space.std))
    assert torch.allclose(convert(x, space, "raw", "scaled"), (x - mean) * 0.5 / std, atol=1e-12)
    assert torch.allclose(convert(x, space, "raw", "normalised"), (x - mean) / std, atol=1e-12)


def test_half_precision_is_not_kept():
    assert convert(latent("sd1", dtype=torch.bfloat16), SPACES["sd1"], "raw", "scaled").dtype is torch.float32


def test_a_space_by_its_name():
    x = latent("sdxl")
    assert torch.equal(convert(x, "sdxl", "raw", "scaled"), convert(x, SPACES["sdxl"], "raw", "scaled"))
    with pytest.raises(BadRequest, match="there is no latent space 'sd5': choose one of sd1, "):
        convert(x, "sd5", "raw", "scaled")


def test_what_cannot_be():
    with pytest.raises(BadRequest, match="a latent is not 'half': choose one of raw, scaled, normalised"):
        convert(latent("sd1"), SPACES["sd1"], "raw", "half")
    with pytest.raises(LatentMismatch, match=r"latents of SDXL.* have 4 channels \(this one is of SD 3"):
        convert(latent("sd3"), SPACES["sdxl"], "raw", "scaled")
    with pytest.raises(LatentMismatch, match=r"this latent has the shape \(3,\)"):
        convert(torch.zeros(3), SPACES["sd1"], "raw", "scaled")
