"""Pixel space: the codec that is a change of range."""

import torch
from exact_vae.vae_core import from_weights


def test_pixels_are_their_own_latent():
    vae = from_weights({"pixel_space_vae": torch.tensor(1.0)})
    x = torch.rand(2, 3, 7, 5) * 2 - 1
    posterior = vae.encode(x)
    assert torch.equal(posterior.mode(), x)
    assert torch.equal(vae.decode(posterior.mode()), x)
    assert (vae.latent_channels, vae.spatial_ratio, vae.family) == (3, 1, "pixel")
    assert posterior.kl().tolist() == [0, 0]
