"""One way to run a request, as it is counted beforehand."""

from dataclasses import dataclass

from .budget import format_bytes
from .places import DEVICE, DISK, SYSTEM


@dataclass(frozen=True)
class Plan:
    """One way to run a request, and what it takes.

    images    of the batch at a time
    rows      of the image in a band; 0: images run whole
    keep      where bands are held that are read more than once: 'device', 'system memory' or 'disk'
    twice     group norms (by their number among all of them) whose input is computed twice instead of held
    peak      bytes on the device at most: input, activations and result, without weights
    held      bytes elsewhere at most, in system memory or on disk
    work      multiplications of one image
    shape     of the result for one image: (C, H, W)
    numbers   in a band
    frames    of a clip's latent at a time; 0: all of them
    begins    frames of the input in the first part of a clip, if a network is defined by its parts; 0: as in the others
    strips    how many bands there are; 0: images run whole
    largest   numbers of the largest tensor on the device
    scores    numbers of the largest matrix of attention scores, on devices that make them
    compiled  bytes of the peak that a CPU's backend keeps of the convolutions that it has compiled
    gaps      bytes of the peak that a CPU's heap has more than is alive, between what is there before an op
    heap      bytes that a CPU's process may grow before an op: beyond, gaps in its heap are given back; 0: no limit
    note      what else is to be said of the run; '' as a rule
    """

    images: int
    rows: int
    keep: str
    twice: tuple[int, ...]
    peak: int
    held: int
    work: float
    shape: tuple[int, ...]
    numbers: int = 0
    frames: int = 0
    largest: int = 0
    scores: int = 0
    heap: int = 0
    note: str = ""
    begins: int = 0
    strips: int = 0
    compiled: int = 0
    gaps: int = 0

    @property
    def alive(self) -> int:
        """Bytes of the peak that tensors take, and what torch takes beside them."""
        return self.tensors - self.gaps

    @property
    def tensors(self) -> int:
        """Bytes of the peak without what the backend keeps."""
        return self.peak - self.compiled

    def __str__(self) -> str:
        """'bands of 32 rows, kept in system memory; at most 812 MiB (and 4.0 GiB of system memory)'"""
        more = f" (and {format_bytes(self.held)} of {self.keep})" if self.held else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.how}; at most {format_bytes(self.peak)}{more}{note}"

    @property
    def summary(self) -> str:
        """'exact, in 24 strips, up to 812 MiB and 4.0 GiB of system memory', for who only wants it done"""
        return f"exact, {self.pieces}, {self.cost}"

    @property
    def cost(self) -> str:
        """'up to 812 MiB and 4.0 GiB of system memory', and the note"""
        more = f" and {format_bytes(self.held)} of {self.keep}" if self.held else ""
        note = f"; {self.note}" if self.note else ""
        return f"up to {format_bytes(self.peak)}{more}{note}"

    @property
    def pieces(self) -> str:
        """'in 24 strips', 'in one piece', '2 images at a time', '3 latent frames at a time, in 24 strips'"""
        strips = f"in {self.strips} strip{'s' * (self.strips > 1)}" if self.rows else ""
        images = f"{self.images} images at a time" if self.images > 1 else ""
        frames = f"{self.frames} latent frame{'s' * (self.frames > 1)} at a time" if self.frames else ""
        return ", ".join(filter(None, (frames or images, strips))) or "in one piece"

    @property
    def failure(self) -> str:
        """'in one piece it ran out of memory', to say beside the plan that is tried after it"""
        return f"{self.pieces} it ran out of memory"

    @property
    def unsure_failure(self) -> str:
        """'in one piece it failed', where the error may be of memory or not"""
        return f"{self.pieces} it failed"

    @property
    def how(self) -> str:
        """'bands of 32 rows, kept in system memory'"""
        how = "whole" if not self.rows else f"bands of {self.rows} rows, kept {_where(self.keep)}"
        one = f", {self.images} at a time" if self.images > 1 else ""
        one = f", {self.frames} latent frame{'s' * (self.frames > 1)} at a time" if self.frames else one
        again = ", the largest computed twice" if self.twice else ""
        return f"{how}{one}{again}"


def _where(keep: str) -> str:
    return {DEVICE: "on the device", SYSTEM: "in system memory", DISK: "on disk"}[keep]
