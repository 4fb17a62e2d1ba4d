"""Networks of their published sizes on a CUDA device that is not there: what they take beside what is planned.

Small networks of the tests have few channels beside few frames, and bands that are tall beside an image. What is known
of earlier frames, and what is left of a band, weigh more here.
"""

from typing import Any

import pytest
import torch
from exact_vae.vae_core import VAE, Half, from_weights
from support.fake_cuda import demand_guard, fake_cuda
from support.headers import header, header_names
from support.slow import slow

BF16, SIZE, CLIP = torch.bfloat16, (192, 160), 9  # pixels, and frames
SHARE = 1.002  # of the plan at most: statistics of norms, and the like
BEFORE = {"mage": 25 * 2**20}  # bytes: in fp32, for a moment, while weights of a run are made before it
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "bands": {"rows": 16},
    "high bands": {"rows": 64},
    "bands in system memory": {"rows": 16, "keep": "system memory"},
    "high bands in system memory": {"rows": 64, "keep": "system memory"},
}
FILES = [name for name in header_names() if "family" in header(name)["expected"]]
IN_EVERY_RUN = [("wan21.original", "bands in system memory"), ("sdxl.ldm", "high bands"),
                ("hunyuanimage21-refiner.comfy", "high bands"), ("cosmos-cv8x8x8.diffusers", "whole")]  # fmt: skip
CASES = [pytest.param(name, way, marks=() if (name, way) in IN_EVERY_RUN else slow) for name in FILES for way in WAYS]


@pytest.mark.parametrize(("name", "way"), CASES)
def test_no_more_is_taken_than_planned(name, way):
    """Nor is the device waited for."""
    demand_guard()
    weights = {key: torch.zeros(shape, dtype=BF16) for key, shape in header(name)["shapes"].items()}
    with fake_cuda(free=2**40) as watch:
        vae = from_weights(weights, name, BF16, torch.device("cuda"))
        for half in ("encode", "decode"):
            for frames in (0, CLIP) if vae.clip_law else (0,):
                if Half.of(half).noun in vae.config.parts:
                    demand_as_planned(watch, vae, half, frames, WAYS[way])


def demand_as_planned(watch: Any, vae: VAE, half: str, frames: int, how: dict[str, Any]) -> None:
    encodes, plans = half == "encode", []
    ratio, channels = (1, vae.in_channels) if encodes else (vae.spatial_ratio, vae.latent_channels)
    t = vae.clip_law.latents(frames) if frames and not encodes and vae.clip_law else frames
    size = (vae.image_size,) * 2 if vae.image_size else SIZE
    x = torch.empty(1, channels, *([t] if t else []), *(n // ratio for n in size), device="cuda")
    watch.forget()
    before = watch.now
    made = vae.encode(x, on_plan=plans.append, **how).mean if encodes else vae.decode(x, on_plan=plans.append, **how)
    assert made.device.type == "cuda" and not watch.waits_inside, half
    assert watch.peak - before <= max(SHARE * plans[0].peak, BEFORE.get(vae.family, 0)), (half, frames, str(plans[0]))
