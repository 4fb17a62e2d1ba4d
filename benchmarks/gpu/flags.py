"""Sets torch's own flags around a measurement, and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def set_tf32(allowed: bool) -> Iterator[None]:
    """May convolutions and products of matrices in fp32 read 10 bits of each number only?"""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = bool(matmul.allow_tf32)
    matmul.allow_tf32 = allowed
    try:
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allowed):
            yield
    finally:
        matmul.allow_tf32 = before
