"""Which weights are these? A short mark that is the same wherever and however they are loaded.

A digest of names, shapes and some numbers of each tensor. Numbers are taken as bf16, so that a VAE in fp32 and in bf16
have one mark; one that was rounded to fp16 on the way may have another.
"""

import hashlib

import torch
from torch import Tensor, nn

SAMPLES = 16  # of each tensor


def digest_weights(network: nn.Module, more: str = "") -> str:
    """16 hexadecimal digits. `VAE.fingerprint` computes them once for each VAE.

    more: what changes its results and is no weight, if anything
    """
    tensors = sorted(network.state_dict().items())
    digest = hashlib.sha256(repr([(name, tuple(t.shape)) for name, t in tensors]).encode())
    some = [_sample_numbers(t) for _, t in tensors if t.numel()]
    if some:
        digest.update(torch.cat(some).to(torch.bfloat16).cpu().view(torch.int16).numpy().tobytes())
    digest.update(more.encode())
    return digest.hexdigest()[:16]


def _sample_numbers(tensor: Tensor) -> Tensor:
    """Numbers evenly spaced over the tensor, as float32."""
    return tensor.detach().flatten()[:: max(1, tensor.numel() // SAMPLES)][:SAMPLES].float()
