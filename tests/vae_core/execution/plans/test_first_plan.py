"""What a first plan costs beside counting."""

import subprocess
import sys

import pytest

PLANNED = """
import sys, torch
from exact_vae.vae_core.execution.plans.choose import make_request
from exact_vae.vae_core.families import Half
from exact_vae.vae_core.families.registry import build, family_named

for name in {families!r}:
    config = family_named(name).example
    build(name, config)
    if "sympy" in sys.modules:
        sys.exit("loaded before")
    for half, channels, side in ((Half.ENCODER, 3, 128), (Half.DECODER, config.latent_channels, 4)):
        for frames in ((), (3,)) if config.temporal_ratio else ((),):
            request = make_request(name, config, half, (1, channels, *frames, side, side), torch.float32)
            request.whole, request.plan_bands(16), next(iter(request.propose((), on_cpu=True)))
            assert "sympy" not in sys.modules, (name, half, frames)
"""


def test_a_first_plan_loads_no_compiler():
    """Torch's takes longer to load than a first plan takes in all."""
    families = ("kl", "dc_ae", "wan", "ltx_video", "ltx_diffusion", "tiny_video", "cosmos")
    done = subprocess.run([sys.executable, "-c", PLANNED.format(families=families)], capture_output=True, text=True)
    if "loaded before" in done.stderr:
        pytest.skip("this torch loads it to build a network")
    assert done.returncode == 0, done.stderr[-2000:]
