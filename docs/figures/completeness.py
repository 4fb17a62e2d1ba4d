"""Decoded samples of the prior N(0, 1). Above: the built-in VAE. Below: its twin trained without the KL term."""

import torch
from common import CHELSEA, HERON, grid, square, to_bytes, twin, vae
from exact_vae.vae_core.latents import Noise
from PIL import Image

SAMPLES = 4
RADIUS = 3.644  # of the ball where 99 % of a Gaussian in 4 dimensions lies


def figure(side: int) -> Image.Image:
    noise = Noise(0).draw((SAMPLES, 4, side // 8, side // 8))
    return grid([[to_bytes(network.decode(z[None])) for z in noise] for network in (vae(), twin())])


def facts(side: int) -> list[str]:
    lines = ["| | built-in VAE | twin without KL |", "|---|---|---|"]
    posteriors = [[network.encode(square(path, side)) for path in (HERON, CHELSEA)] for network in (vae(), twin())]
    means = [torch.cat([p.mean for p in both]) for both in posteriors]
    stds = [torch.cat([p.std for p in both]) for both in posteriors]
    spread, width = [m.std().item() for m in means], [s.median().item() for s in stds]
    inside = [(m.square().sum(1) < RADIUS**2).double().mean().item() for m in means]
    nats = [sum(p.kl().item() for p in both) / sum(p.mean.numel() for p in both) for both in posteriors]
    lines.append(f"| spread of the means | {spread[0]:.2f} | {spread[1]:.2f} |")
    lines.append(f"| median standard deviation of a posterior | {width[0]:.3f} | {width[1]:.4f} |")
    lines.append(f"| so many of these in the spread | {spread[0] / width[0]:.0f} | {spread[1] / width[1]:.0f} |")
    lines.append(f"| latent pixels where 99 % of the prior lies | {inside[0]:.0%} | {inside[1]:.0%} |")
    lines.append(f"| KL divergence from the prior, nats a value | {nats[0]:.1f} | {nats[1]:.1f} |")
    return lines
