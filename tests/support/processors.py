"""Processors that this machine's may not be."""

import pytest


def pretend(patch: pytest.MonkeyPatch, *, faster_in_fp32: bool) -> None:
    """From now on half precision is widened to fp32 on a CPU, or never."""
    patch.setattr(
        "exact_vae.vae_core.devices.processor.is_faster_in_fp32", lambda dtype: faster_in_fp32 and dtype.itemsize == 2
    )
