"""Clips run a few frames at a time: what is held does not grow with them."""

import pytest
import torch
from exact_vae.vae_core.execution import clips, run
from exact_vae.vae_core.execution.bands.stores import OnDevice
from support.live_memory import LiveMemory
from support.small_networks import small


@pytest.fixture
def counted_stores(monkeypatch):
    """Bands stay tensors like any other: the rooms of a CPU would not be counted."""
    for module in (clips, run):
        monkeypatch.setattr(module, "make_store", lambda plan, device: OnDevice())


@pytest.mark.parametrize("how", [{"rows": 1000}, {"rows": 8}], ids=["whole rows", "bands"])
@pytest.mark.parametrize("kind", ["wan", "wan: 2.2", "tiny_video", "ltx_video: 2", "ltx_video: 2.3"])
@pytest.mark.parametrize("part", ["encode", "decode"])
@torch.no_grad()
def test_a_clip_of_any_length_takes_the_same_memory(counted_stores, kind, part, how):
    """Besides the latent and the pixels, and with the checks of both: three times the frames, not a byte more.

    Of LTX-Video's small decoders a frame waits for seven of the latent after it; z is made of the latent.
    """
    vae = small(kind, torch.float32)
    vae.decode(torch.randn(1, vae.latent_channels, 2, 2, 2))  # which lays out weights that are used for the first time
    besides = []
    for frames in (16, 32) if kind.startswith("ltx") else (4, 12):
        z, channels = torch.randn(1, vae.latent_channels, frames, 4, 4), vae.in_channels
        pixels = vae.clip_law.frames(frames)
        x = z if part == "decode" else torch.rand(1, channels, pixels, 4 * vae.spatial_ratio, 4 * vae.spatial_ratio)
        plan = vae.plan(part, x.shape, **how)
        assert plan.frames == 1 and bool(plan.rows) == (how["rows"] == 8)
        with LiveMemory() as alive:
            y = vae.decode(x, **how) if part == "decode" else vae.encode(x, **how).mean
        made = y.nbytes * (2 if part == "encode" and vae.network.gaussian else 1)  # mean and logvar
        z_too = part == "decode" and bool(vae.network.from_latent_ops())
        besides.append(alive.most - x.nbytes * (1 + z_too) - made)
    assert besides[0] == besides[1] > 0
