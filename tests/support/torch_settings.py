"""What a program may set in torch for the whole process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from exact_vae.vae_core.devices.numerics import list_switches


def settings() -> tuple:
    """All that a program may set, and that this library might leave otherwise."""
    switches = tuple(switch.read() for switch in list_switches())
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    return (*switches, *modes, torch.get_default_dtype(), torch.empty(0).device, torch.backends.cudnn.benchmark)


def is_exact() -> bool:
    """Is torch set to compute all digits?"""
    return all(switch.read() in switch.exact for switch in list_switches())


@contextmanager
def tf32_allowed() -> Iterator[None]:
    """As programs allow it, by torch's old words; its new ones follow."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    try:
        with torch.backends.cudnn.flags(torch.backends.cudnn.enabled, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision("highest")
