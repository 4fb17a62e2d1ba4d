"""The VAEs whose results are compared: every family, with weights and inputs that are the same on every machine.

All numbers are whole ones from torch's integer generator, times powers of two, with 8 bits at most: fp32, bf16 and fp16
hold them exactly. So one true result serves all dtypes, and what differs from it was lost in computing.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

LARGEST = 127  # of the whole numbers: they have 8 bits with their sign
WIDTHS = ("widths", "width", "stem", "outer")  # fields of configs that are counts of channels
LEAST_WIDTH = 32  # group norms have as many groups
BUILT_IN = "built-in"  # in a family's stead: the pack's own VAE, the only one here whose weights were trained


class Case(NamedTuple):
    """A VAE and the image, or the clip, that it is given.

    narrower  by which the published counts of channels are divided
    size      (H, W) in pixels
    frames    of the clip; 1: an image
    changes   of the family's example, to make it another member
    """

    title: str
    family: str
    size: tuple[int, int] = (128, 128)
    frames: int = 1
    narrower: int = 1
    changes: Mapping[str, Any] = {}

    @property
    def config(self) -> Any:
        from exact_vae.vae_core import load
        from exact_vae.vae_core.families import FAMILIES

        if self.family == BUILT_IN:
            return load().config
        example = next(family.example for family in FAMILIES if family.name == self.family)
        return narrow(replace(example, **self.changes), self.narrower)

    @property
    def pixels_shape(self) -> tuple[int, ...]:
        """(1, C, H, W) or (1, C, T, H, W)"""
        return (1, self.config.in_channels, *((self.frames,) if self.frames > 1 else ()), *self.size)


SD = Case("SD-class", "kl", (320, 256))
CASES = (
    SD,
    Case("built-in VAE", BUILT_IN, (160, 128)),
    Case("Wan 2.1, a clip", "wan", (96, 96), frames=9),
    Case("FLUX.2", "kl", changes={"z_channels": 32, "embed_dim": 32, "patch": 2}),
    Case("Qwen-Image, an image", "wan", (256, 192)),
    Case("HunyuanVideo", "hunyuan_video", frames=5, narrower=2),
    Case("HunyuanVideo 1.5", "hunyuan_video_15", (96, 96), frames=9, narrower=4),
    Case("HunyuanImage 2.1", "hunyuan_image", (192, 192), narrower=2),
    Case("Sana (DC-AE f32c32)", "dc_ae", (192, 192), narrower=2),
    Case("SVD", "svd", (96, 96), frames=3),
    Case("asymmetric", "asymmetric", (96, 96)),
    Case("VQ", "vq", (96, 128)),
    Case("HunyuanImage 3.0", "hunyuan_image_3", (96, 96), narrower=4),
    Case("TAESD", "tiny", (256, 256)),
    Case("TAEHV", "tiny_video", frames=9),
    Case("LTX-Video", "ltx_video", frames=9, narrower=4),
    Case("LTX-2.5's diffusion decoder", "ltx_diffusion", (64, 64), frames=9, narrower=4),
    Case("SeedVR2", "seedvr2", (96, 96), frames=5, narrower=2),
    Case("CogVideoX", "cogvideox", (64, 64), frames=9, narrower=4),
    Case("Cosmos 1.0", "cosmos", (96, 96), frames=9, narrower=2),
    Case("Allegro", "allegro", (64, 64), frames=4, narrower=4),
    Case("MiniMax-H3", "minimax_h3", (64, 64), frames=22, narrower=16),
    Case("EasyAnimate", "easyanimate", (64, 64), frames=5, narrower=4),
    Case("VidTok", "vidtok", (64, 64), frames=5, narrower=4),
    Case("Mochi", "mochi", (64, 64), frames=7, narrower=4),
    Case("KVAE 2-D", "kvae", (96, 96), narrower=2),
    Case("KVAE 3-D", "kvae_video", (64, 64), frames=5, narrower=4),
    Case("Kandinsky 6 super-resolution", "kandinsky6", (64, 64), frames=5, narrower=8),
    Case("LlamaGen VQ-16", "llamagen", (128, 96)),
    Case("Mage-VAE", "mage", (128, 128), narrower=2),
    Case("SD's consistency decoder", "consistency", (64, 64), narrower=2),
    Case("RAE", "rae", (256, 256), narrower=4),
    Case("TAESDV", "taesdv", frames=3),
    Case("Stable Cascade, stage A", "paella"),
    Case("Stable Cascade, EffNet", "effnet", (256, 256)),
    Case("pixel space", "pixel", (64, 64)),
)
TINY_CASES = (
    SD._replace(size=(48, 32), narrower=4),
    Case("Wan 2.1, a clip", "wan", (32, 32), frames=5, narrower=3),
)


def narrow(config: Any, by: int) -> Any:
    """The same config with so many times fewer channels, but never fewer than a group norm needs.

    Of transformers, whose heads go by their channels, with so many times fewer layers.
    """
    if by == 1 or not is_dataclass(config):
        return config
    changes = {field.name: _narrow_field(field.name, getattr(config, field.name), by) for field in fields(config)}
    return replace(config, **changes)  # type: ignore[type-var]


def _narrow_field(name: str, value: Any, by: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_narrow_field(name, one, by) for one in value)
    if name in WIDTHS and isinstance(value, int) and not isinstance(value, bool):
        return max(min(value, LEAST_WIDTH), value // by)
    return max(1, value // by) if name == "layers" else narrow(value, by)


def make_weights(case: Case) -> dict[str, Tensor]:
    """Every tensor of the network by the family's reference name, in fp32; of such sizes that the signal keeps its."""
    from exact_vae.vae_core import load
    from exact_vae.vae_core.families import build

    if case.family == BUILT_IN:
        return {name: t.bfloat16().float() for name, t in load().network.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tuple(t.shape) for name, t in build(case.family, case.config).state_dict().items()}
    return {name: _draw_weight(name, shape, generator) for name, shape in shapes.items()}


def _draw_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) > 1:
        return draw(shape, generator, (math.prod(shape[1:]) or 1) ** -0.5)
    if name.endswith("running_var"):
        return draw(shape, generator, 0.25).abs() + 0.5
    if name.endswith("weight"):
        return _round_to_8_bits(draw(shape, generator, 0.0625) + 1)
    return draw(shape, generator, 0.0625)


def draw(shape: tuple[int, ...], generator: torch.Generator, deviation: float) -> Tensor:
    """Evenly spread numbers around 0 with about this standard deviation, fp32; whole ones times a power of two."""
    largest = deviation * math.sqrt(3)
    unit = 2.0 ** (math.ceil(math.log2(largest)) - 7)
    most = min(LARGEST, round(largest / unit))
    return torch.empty(shape, dtype=torch.float32).random_(-most, most + 1, generator=generator).mul_(unit)


def draw_pixels(case: Case) -> Tensor:
    """In [-1, 1], fp32: waves of several lengths, and noise."""
    shape = case.pixels_shape
    noise = draw(shape, torch.Generator().manual_seed(1), 0.1)
    rows, columns = (torch.arange(n) for n in shape[-2:])
    waves = (rows[:, None] // 8 + columns // 4) % 16 / 16 - 0.5
    return _round_to_8_bits((waves + noise).clamp(-1, 1))


def _round_to_8_bits(x: Tensor) -> Tensor:
    """Of numbers in [-2, 2]: to multiples of the last digit that bf16 has for 1."""
    return (x * 128).round() / 128


def draw_latent(shape: tuple[int, ...]) -> Tensor:
    """About (-1.7, 1.7), fp32."""
    return draw(shape, torch.Generator().manual_seed(2), 1.0)


def list_cases(tiny: bool) -> tuple[Case, ...]:
    return TINY_CASES if tiny else CASES


def iterate_parts(case: Case, latent_shape: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """What each half is given: ('encode', pixels), ('decode', latent)."""
    yield "encode", draw_pixels(case)
    yield "decode", draw_latent(latent_shape)
