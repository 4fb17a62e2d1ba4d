"""Where a VAE runs, and where nodes keep what they pass on."""

# pyright: reportMissingImports=false

import torch
from torch import Tensor

from ...vae_core import dtypes
from .place import in_comfyui


def result(x: Tensor) -> Tensor:
    """A tensor as nodes pass it on: where the host keeps intermediate results, in the dtype it keeps them."""
    if in_comfyui():
        from comfy import model_management

        return x.to(model_management.intermediate_device(), model_management.intermediate_dtype())
    return x.to("cpu", torch.float32)


def device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda:0' ... -> the device a VAE runs on."""
    if name == "auto" and in_comfyui():
        from comfy import model_management

        return model_management.vae_device()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return dtypes.demand_device(name)
