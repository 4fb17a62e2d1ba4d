"""Attention of a few queries at a time where a device would else make the matrix of all scores.

Torch's kernels for CUDA that make none take heads of 256 numbers at most, but for one; a VAE's has one head, of 384 to
1024. Where that kernel is missing or switched off, as on Apple's GPUs, all scores are made: 1 GiB in fp32 at 1024 px,
256 GiB at 4096 px.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .widening import widens

SCORES = 2**27  # numbers of such a matrix at most, 512 MiB in fp32; then products are as large as any device likes them
KEYS = 32 * 2**20  # bytes in fp32 of the keys that are widened to it
MATH = 0  # SDPBackend.MATH, which makes them


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(C)) v, exactly. q (B, heads, queries, C); k, v (B, heads, keys, C); result like q.

    mask: (queries, keys), added to the scores: 0 where a query sees a key, -inf elsewhere; None: each sees all
    """
    masks: tuple[Any, ...] = () if mask is None else (mask,)
    if widens(q) and is_worth_widening(k):
        wide: Any = (x.float() for x in (q, k, v, *masks))
        return F.scaled_dot_product_attention(*wide).to(q.dtype)
    queries = count_queries(q.shape[0] * q.shape[1] * k.shape[-2])
    q, k, v = map(_make_dense, (q, k, v))
    if queries >= q.shape[-2] or not makes_scores(q.device, q.dtype, q.shape[-1]):
        return F.scaled_dot_product_attention(q, k, v, *masks)
    y = torch.empty_like(q)
    starts = range(0, q.shape[-2], queries)
    for at in starts[:1] if q.is_meta else starts:  # all take the same, and of large images are many
        some = slice(at, at + queries)
        own: Any = (each[some] for each in masks)
        y[..., some, :] = F.scaled_dot_product_attention(q[..., some, :], k, v, *own)
    return y


def _make_dense(x: Tensor) -> Tensor:
    """The same numbers, with those of a pixel side by side: of what a convolution made in another layout they are not.

    Torch's kernels that make no scores ask for it, and else all scores would be made at once. On a CPU they do not.
    """
    return x if x.device.type in ("cpu", "meta") or x.stride(-1) == 1 else x.contiguous()


def is_worth_widening(k: Tensor) -> bool:
    """Are there so few keys that they take little memory in fp32?"""
    return 4 * k.numel() <= KEYS


def count_queries(keys: int) -> int:
    """Queries at a time, so that the scores are at most SCORES; one at least. keys: of all images and heads."""
    return max(1, SCORES // max(1, keys))


def makes_scores(device: torch.device, dtype: torch.dtype, width: int = 512) -> bool:
    """Does attention with heads of this width make a matrix of scores? Yes on the meta device, where runs are planned.

    On a CPU no, whatever the width. Of other devices torch is asked; where it does not say, yes.
    """
    if device.type in ("cpu", "meta", "mps"):
        return device.type != "cpu"
    if device.type == "cuda" and not torch.cuda.is_available():
        return False  # it is planned for
    one = torch.empty(1, 1, 128, width, dtype=dtype, device=device)
    try:
        return torch._fused_sdp_choice(one, one, one) == MATH
    except (RuntimeError, AttributeError):  # private, and torch may rename it; and not every device has it
        return True
