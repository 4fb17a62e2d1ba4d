"""TAESDV against a plain walk through its layers, frame by frame with a memory, random weights, float64."""

import pytest
import torch
from exact_vae.vae_core import ClipLaw, detect, from_weights, load
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.families.taesdv import TaesdvConfig
from exact_vae.vae_core.families.tiny import Coder
from exact_vae.vae_core.latents.spaces import SPACES
from exact_vae.vae_core.ops import splits_in_time
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights
from support.tensors import near
from torch.nn import functional as F

EXACT = 1e-12
SMALL = TaesdvConfig(4, Coder((8,) * 3, (1, 2, 2)), Coder((8,) * 3, (2, 2, 1)))


def weights_of(config: TaesdvConfig = SMALL, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Somewhat larger than they come, so that nothing fades."""
    return {n: 1.5 * t for n, t in random_weights("taesdv", config, dtype).items()}


def walk(weights: dict[str, torch.Tensor], half: str, x: torch.Tensor, memory: dict[int, torch.Tensor]) -> torch.Tensor:
    """One half on one frame (1, C, H, W). memory: what each block of the decoder saw last; it is written to."""
    own = {n.removeprefix(f"{half}."): t for n, t in weights.items() if n.startswith(f"{half}.")}
    layers = sorted({int(n.split(".")[0]) for n in own})

    def conv(name: str, x: torch.Tensor, **how) -> torch.Tensor:
        return F.conv2d(x, own[f"{name}.weight"], own.get(f"{name}.bias"), padding=1, **how)

    x = 3 * torch.tanh(x / 3) if half == "decoder" else x
    for i in layers:
        if f"{i}.conv.0.weight" in own:
            before = memory.get(i, torch.zeros_like(x))
            memory[i] = x
            y = torch.cat([x, before], 1) if half == "decoder" else x
            y = conv(f"{i}.conv.4", F.relu(conv(f"{i}.conv.2", F.relu(conv(f"{i}.conv.0", y)))))
            x = F.relu(x + y)
        elif f"{i}.bias" in own:
            x = conv(str(i), x)
            x = F.relu(x) if half == "decoder" and i == layers[0] else x
        elif half == "encoder":
            x = conv(str(i), x, stride=2)
        else:
            x = conv(str(i), F.interpolate(x, scale_factor=2, mode="nearest"))
    return x


def walk_clip(weights: dict[str, torch.Tensor], half: str, x: torch.Tensor) -> torch.Tensor:
    """x: (1, C, T, H, W)"""
    memory: dict[int, torch.Tensor] = {}
    return torch.stack([walk(weights, half, frame, memory) for frame in x.unbind(2)], 2)


def clip(frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(2, 3, frames, 12, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_equals_a_walk_through_the_layers(frames):
    weights = weights_of()
    ours = from_weights(weights)
    assert (ours.family, ours.config, ours.network.clip_law) == ("taesdv", SMALL, ClipLaw())
    x = clip(frames)
    z = torch.cat([walk_clip(weights, "encoder", one[None]) for one in x])
    assert near(ours.encode(2 * x - 1).mode(), z) < EXACT
    pixels = torch.cat([walk_clip(weights, "decoder", one[None]) for one in 3 * z])
    assert pixels.shape[2] == frames
    assert near((ours.decode(3 * z) + 1) / 2, pixels) < EXACT


@pytest.mark.parametrize("how", [{"rows": 3}, {"rows": 5, "keep": "disk"}, {"rows": 1000}], ids=str)
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(how):
    weights = weights_of()
    ours = from_weights(weights)
    x = clip(5)
    z = 3 * torch.cat([walk_clip(weights, "encoder", one[None]) for one in x])
    assert splits_in_time(ours.network.decode_ops())
    assert ours.plan("decode", z.shape, **how).frames == 1
    want = torch.cat([walk_clip(weights, "decoder", one[None]) for one in z])
    assert near((ours.decode(z, **how) + 1) / 2, want) < EXACT
    assert near(ours.encode(2 * x - 1, **how).mode(), z / 3) < EXACT


@torch.no_grad()
def test_images_are_clips_of_one_frame_and_see_no_other():
    weights = weights_of()
    ours = from_weights(weights)
    z = torch.randn(2, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    want = torch.cat([walk_clip(weights, "decoder", one[None, :, None])[:, :, 0] for one in z])
    assert near((ours.decode(z) + 1) / 2, want) < EXACT
    assert near((ours.decode(z, rows=3) + 1) / 2, want) < EXACT


OTHER = Coder((8, 8), (1, 1))
CONFIGS = {"whole": SMALL, "decoder": TaesdvConfig(4, None, SMALL.decoder), "others": TaesdvConfig(16, OTHER, OTHER)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("taesdv", config))
    assert (found.family, found.config, found.is_whole) == ("taesdv", config, True)


def test_one_bent_tensor_does_not_make_it_another_family():
    shapes = dict(header("taesdv.original")["shapes"])
    shapes["decoder.3.conv.0.weight"] = (64, 64, 3, 3)
    found = detect(shapes)
    assert found.family == "taesdv"
    assert found.misshapen == ("decoder.3.conv.0.weight [64, 64, 3, 3] instead of [64, 128, 3, 3]",)
    shapes = dict(header("taesd.module")["shapes"])
    shapes["decoder.3.conv.0.weight"] = (64, 128, 3, 3)
    assert detect(shapes).family == "tiny"


@torch.no_grad()
def test_raw_latents(tmp_path):
    """Its one space has 4 channels at 1/8, so a file of any name is of that; its own latents are scaled."""
    config = TaesdvConfig(4, Coder((8,) * 4, (1,) * 4), Coder((8,) * 4, (1,) * 4))
    weights = weights_of(config, torch.float32)
    save_file(weights, tmp_path / "taesdv.safetensors")
    ours = load(tmp_path / "taesdv.safetensors")
    assert ours.latent_space == "svd"
    x = clip(2).float()[:, :, :, :8]
    z = ours.encode(2 * x - 1).mode()
    assert torch.allclose(z * SPACES["svd"].scale, from_weights(weights).encode(2 * x - 1).mode(), atol=1e-5)
