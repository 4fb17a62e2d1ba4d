"""The loss: squared error at four scales and of the mean colour, the error of the gradients, the KL divergence."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..vae_core import Posterior
from .recipe import Course

SCALES = (2, 4, 8)


class Loss(NamedTuple):
    total: Tensor
    squared: Tensor  # mean squared error, pixels in [-1, 1]
    nats: Tensor  # Kullback-Leibler divergence per latent value


def compute_loss(decoded: Tensor, x: Tensor, posterior: Posterior, course: Course) -> Loss:
    """decoded, x: (B, 3, H, W) in [-1, 1], H and W multiples of 8; the course gives the weights."""
    error = decoded - x
    squared = error.square().mean()
    blurred = torch.stack([F.avg_pool2d(error, n).square().mean() for n in SCALES]).sum()
    across, down = error.diff(dim=-1).abs().mean(), error.diff(dim=-2).abs().mean()
    nats = posterior.kl().sum()
    colour = error.mean((-2, -1)).square().mean()
    fidelity = squared + course.coarse_weight * blurred + course.edge_weight * (across + down)
    total = fidelity + course.colour_weight * colour + course.kl_weight * nats / x.numel()
    return Loss(total, squared.detach(), nats.detach() / posterior.mean.numel())
