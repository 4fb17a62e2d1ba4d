"""A VAE that is there may be used on any stream of its device (support/fake_streams.py)."""

import pytest
import torch
from exact_vae.vae_core import Half, from_weights
from support.fake_cuda import demand_guard, fake_cuda
from support.fake_streams import Streams
from support.random_networks import random_weights
from support.slow import mark_slow
from support.small_networks import SMALL

# Convolutions of images, of clips, transposed ones; linear layers; weights that are changed when they are read.
QUICK = ["kl", "wan", "hunyuan_video_15", "rae", "tiny_video", "consistency"]


def run(vae, half: Half, streams: Streams) -> None:
    """One image or clip, on a stream of its own."""
    config, channels = vae.config, vae.in_channels if half is Half.ENCODER else vae.latent_channels
    side = (config.image_size or 2 * vae.spatial_ratio) // (vae.spatial_ratio if half is Half.DECODER else 1)
    with torch.cuda.stream(torch.cuda.Stream()):
        x = torch.empty(1, channels, side, side, device="cuda")
        _ = vae.encode(x).mean if half is Half.ENCODER else vae.decode(x)


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("kind", mark_slow(SMALL, SMALL.keys() - QUICK))
def test_no_call_waits_for_another(kind, half):
    """The first lays out weights, which the second reads."""
    demand_guard()
    weights = random_weights(*SMALL[kind], torch.bfloat16)
    streams = Streams()
    with fake_cuda(streams=streams):
        vae = from_weights(weights, SMALL[kind][0], torch.bfloat16, torch.device("cuda"))
        streams.current.synchronize()  # the weights are there
        run(vae, half, streams)
        run(vae, half, streams)
    assert not streams.races
