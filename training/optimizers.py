"""The optimizers of a course: AdamW for all weights, or Muon for matrices and AdamW for the rest.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) makes the step of every matrix orthogonal, so that rare
directions, as those of fine detail, learn as fast as common ones. Its scale is that of Liu et al. 2025
(https://arxiv.org/abs/2502.16982): steps of a matrix are about as large as AdamW's, and both take one learning rate.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .recipe import MUON, Course

MOMENTUM = 0.95
ADAMW_STEP = 0.2  # the root mean square of AdamW's steps, in learning rates
ROUNDS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # of Jordan's polynomial, which takes singular values to about 1 in five rounds


class Muon(torch.optim.Optimizer):
    """For weights with results first: (results, ...). A kernel of a convolution counts as one row for each result."""

    def __init__(self, parameters: Iterable[Tensor], lr: float):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(self._find_direction(weight, weight.grad) * group["lr"])

    def _find_direction(self, weight: Tensor, gradient: Tensor) -> Tensor:
        momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        momentum.mul_(MOMENTUM).add_(gradient)
        ahead = gradient.add(momentum, alpha=MOMENTUM).flatten(1)
        return (orthogonalize(ahead) * (ADAMW_STEP * max(ahead.shape) ** 0.5)).view(weight.shape)


def orthogonalize(matrix: Tensor) -> Tensor:
    """(m, n) of any scale -> (m, n) with the same singular vectors; singular values between about 0.7 and 1.2.

    Those that are smaller than a thousandth of the whole are left smaller.
    """
    x = matrix / (matrix.norm() + 1e-12)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    for _ in range(ROUNDS):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def make_optimizers(course: Course, parameters: list[Tensor]) -> list[torch.optim.Optimizer]:
    """The optimizers that train these parameters together, all at the course's rate."""
    matrices = [p for p in parameters if p.ndim > 1] if course.optimizer == MUON else []
    rest = [p for p in parameters if p.ndim < 2] if course.optimizer == MUON else parameters
    adamw = torch.optim.AdamW(rest, course.learning_rate, betas=(0.9, 0.99), weight_decay=course.weight_decay)
    return [Muon(matrices, course.learning_rate), adamw] if matrices else [adamw]
