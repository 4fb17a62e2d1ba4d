"""Tensors of plain numbers, as everything here computes with: dense, in memory, of fp16, bf16, fp32 or fp64."""

import torch
from torch import Tensor

# Kinds that torch's functions refuse one by one, each with an error of its own.
_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


def name_need(x: object) -> str:
    """What is needed in the place of x, for sentences: 'a tensor, not list'; '' if x is a tensor of plain numbers."""
    if not isinstance(x, Tensor):
        return f"a tensor, not {type(x).__name__}"
    if kind := name_kind(x):
        return f"a dense tensor with numbers, not a {kind} one"
    if not x.is_floating_point() or x.dtype.itemsize < 2:
        return f"a tensor of fp16, bf16, fp32 or fp64, not of {name(x)}"
    return ""


def name_kind(x: Tensor) -> str:
    """'nested', 'quantised', 'sparse', 'mkldnn', 'meta': what makes x no dense tensor in memory; '' if it is one."""
    if x.is_meta:
        return "meta"
    if x.is_nested:
        return "nested"
    if x.is_quantized:
        return "quantised"
    if x.layout in _SPARSE:
        return "sparse"
    return "" if x.layout is torch.strided else str(x.layout).removeprefix("torch.").lstrip("_")


def name(x: Tensor) -> str:
    """'float32': torch's own name of its dtype"""
    return str(x.dtype).removeprefix("torch.")


def describe(x: Tensor) -> str:
    """'float32 of shape (1, 4, 8, 8)'"""
    return f"{name(x)} of shape {tuple(x.shape)}"
