"""Norms that look at single pixels: they need no statistics of the image, or have them in the file."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...devices.dtypes import at_least_fp32
from ...ops import Op

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of its colours, in [0, 1]


def send_numbers(numbers: Sequence[float], x: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers that no weight holds, (n,), in this dtype, to the device of x."""
    return send(torch.tensor(numbers, dtype=torch.float64, device="cpu").to(dtype), x)


def send(held: Tensor, x: Tensor) -> Tensor:
    """What the host holds, to the device of x. CUDA does not have to be waited for."""
    return held.to(x.device, non_blocking=x.device.type == "cuda")


class Standardise(Op):
    """(x - mean) / std, or the way back, rounded once. Pointwise if mean and std are. (B, C, H, W) -> same"""

    def __init__(self, mean: Tensor, std: Tensor, back: bool = False):
        self.mean, self.std, self.back = mean, std, back

    def __call__(self, x: Tensor) -> Tensor:
        exact = at_least_fp32(x.dtype)
        wide, mean, std = (t.to(x.device, exact) for t in (x, self.mean, self.std))
        return (wide * std + mean if self.back else (wide - mean) / std).to(x.dtype)


class Normalising:
    """A latent that has mean 0 and deviation 1 in every channel."""

    def normalize(self, x: Tensor) -> Tensor:
        """z (B, C, H, W) or (B, C, T, H, W) -> the latent"""
        mean, std = self._statistics(x)
        return (x - mean) / std

    def denormalize(self, x: Tensor) -> Tensor:
        """The way back."""
        mean, std = self._statistics(x)
        return x * std + mean

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the deviation of z, of shapes that go with x."""
        raise NotImplementedError


class RMSNorm(nn.Module):
    """Each pixel by the root mean square of its channels. Pointwise. (B, C, H, W) -> same"""

    eps = 1e-5

    def __init__(self, c: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        exact = at_least_fp32(x.dtype)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=exact)
        scale = torch.rsqrt(length * length / x.shape[1] + self.eps)
        y = None if torch.is_grad_enabled() else torch.empty_like(x)  # one new image, whatever the scale's dtype
        weight, bias = (p[:, None, None] for p in (self.weight, self.bias))
        return torch.addcmul(bias, torch.mul(x, scale, out=y), weight, out=y).to(x.dtype)


class BatchNorm(nn.Module):
    """Of statistics in the file. Pointwise. (B, C, H, W) -> same

    affine: do a weight and a bias follow?
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, c: int, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(c)) if affine else None
        self.bias = nn.Parameter(torch.zeros(c)) if affine else None
        self.register_buffer("running_mean", torch.zeros(c))
        self.register_buffer("running_var", torch.ones(c))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = at_least_fp32(x.dtype)
        mean, var = self.running_mean.to(exact), self.running_var.to(exact)
        weight, bias = (None if p is None else p.to(exact) for p in (self.weight, self.bias))
        return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)
