"""What can go wrong, said in one sentence to the person who can act.

VAEError                     nodes and the command line print it as it is
├── UnknownCheckpoint        no family fits: names the nearest and what it lacks
│   └── UnsupportedCheckpoint   recognised by name, but not run (yet)
├── BrokenCheckpoint         unreadable, or a family fits but tensors are missing, unexpected, misshapen
├── LatentMismatch           this latent is not this VAE's: names both
├── BadPixels                NaN, Inf, wrong range or shape on the way in
├── NumericalOverflow        the result is not finite: says whether the input or the VAE did it
├── BadRequest               an option that cannot be met: a device, a dtype, a file, a half that is not there
└── DoesNotFit               even the smallest plan exceeds the budget: says by how much
"""

import torch

__all__ = [
    "BadPixels",
    "BadRequest",
    "BrokenCheckpoint",
    "DoesNotFit",
    "LatentMismatch",
    "NumericalOverflow",
    "UnknownCheckpoint",
    "UnsupportedCheckpoint",
    "VAEError",
    "is_out_of_memory",
    "some",
]


class VAEError(Exception):
    """What you gave, what was found, what to do: one sentence."""


class UnknownCheckpoint(VAEError):
    """No family of VAEs fits the names and shapes in the file."""


class UnsupportedCheckpoint(UnknownCheckpoint):
    """The file is recognised, but its network is not one this library runs. title: whose VAE it is."""

    def __init__(self, sentence: str, title: str = ""):
        super().__init__(sentence)
        self.title = title


class BrokenCheckpoint(VAEError):
    """The file cannot be read, or its tensors are not those its family needs."""


class LatentMismatch(VAEError):
    """A latent of another VAE, or no latent at all."""


class BadPixels(VAEError):
    """Pixels that are not finite, not in range, or not of the right shape."""


class NumericalOverflow(VAEError):
    """The network's result is not finite."""


class BadRequest(VAEError):
    """An option, a path or a device that cannot be met."""


class DoesNotFit(VAEError):
    """More memory is needed than there is."""


def some(names, most: int = 3) -> str:
    """'a, b, c and 5 more', for sentences about many names."""
    names = list(names)
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def is_out_of_memory(e: BaseException) -> bool:
    """Without memory on a CPU torch raises a plain RuntimeError: its words are all there is to tell it by."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(e, (torch.OutOfMemoryError, MemoryError)) or any(word in str(e) for word in words)
