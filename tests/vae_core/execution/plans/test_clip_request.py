"""What is counted for clips that run in parts, and what is not."""

from unittest import mock

import pytest
import torch
from exact_vae.vae_core import Half
from exact_vae.vae_core.execution import make_request
from exact_vae.vae_core.execution.plans import request
from exact_vae.vae_core.execution.plans.banded_run import BandedRun
from support.small_networks import SMALL


@pytest.mark.parametrize("on_cpu", [True, False])
def test_parts_of_a_clip_are_run_in_bands_for_a_single_count(on_cpu):
    """None of their norms is ever computed twice, so what that would take is not counted."""
    family, config = SMALL["cogvideox"]
    clip = make_request(family, config, Half.DECODER, (1, 4, 7, 12, 8 + on_cpu), torch.float32)
    with mock.patch.object(request, "BandedRun", side_effect=BandedRun) as counted:
        plans = list(clip.propose(("disk",), on_cpu=on_cpu, rows=8))
    assert all(plan.frames and not plan.twice for plan in plans)
    assert counted.call_count == 1
