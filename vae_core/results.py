"""Checks what a run of a VAE gives: numbers that are finite, or a sentence about the memory that ran out."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from .errors import DoesNotFit, NumericalOverflow, is_out_of_memory
from .execution.progress import ProgressObserver
from .families import Half


class Run(Protocol):
    """The VAE that runs, as sentences name it."""

    name: str

    @property
    def dtype(self) -> torch.dtype: ...


def demand_finite(vae: Run, x: Tensor, half: Half) -> None:
    """x: the result of this half, of any shape. Raises NumericalOverflow unless all its numbers are finite."""
    if math.isfinite(x.amin()) and math.isfinite(x.amax()):  # torch.isfinite makes another tensor of this size
        return
    what = "the image" if half is Half.ENCODER else "the latent"
    cure = "if another file of this VAE does not, this one is damaged"
    if vae.dtype is torch.float16:
        cure = f"{half.verb} it in bf16 or fp32"
    dtype = str(vae.dtype).removeprefix("torch.")
    raise NumericalOverflow(f"'{vae.name}' overflowed in {dtype}: {what} was finite, the result is not; {cure}.")


@contextmanager
def name_memory_errors(vae: Run, half: Half, shape: Sequence[int], observer: ProgressObserver) -> Iterator[None]:
    """Raises DoesNotFit in place of torch's and Python's errors for memory that ran out: says at what, and where."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        run = describe_run(half, shape, vae.name)
        raise DoesNotFit(f"{run} ran out of memory{observer.where}: use a smaller image or batch, or bf16.") from e


def describe_run(half: Half, shape: Sequence[int], name: str) -> str:
    """ "decoding 1 x 512x512 with 'ae.safetensors'\""""
    return f"{half.doing} {shape[0]} x {shape[-1]}x{shape[-2]} with '{name}'"
