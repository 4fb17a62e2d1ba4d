"""What the Doctor has found out of a VAE on a device, and the way around what is wrong there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from ..devices.dtypes import DTYPES, name_dtype
from ..families import Half
from .machine import Machine

FORMAT = 1  # of the file
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Finding:
    """Of one half in one dtype.

    right    are its numbers? None if there was no memory to tell
    seconds  of the larger chart; None if it did not run
    why      it is wrong: '6.6 dB, worst in the text'; '' if it is not
    """

    right: bool | None
    seconds: float | None
    why: str = ""


class Way(NamedTuple):
    """Where a half runs, and in what."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Verdict:
    """What holds of one VAE on one device, for as long as neither changes.

    vae       its fingerprint; name: of its file
    findings  'bf16' -> 'encode' -> what was found, of dtypes and halves that were examined
    sentence  all of it, for people
    """

    machine: Machine
    vae: str
    name: str
    findings: Mapping[str, Mapping[str, Finding]]
    sentence: str

    def finding(self, half: Half, dtype: torch.dtype) -> Finding | None:
        return self.findings.get(name_dtype(dtype), {}).get(half.verb)

    @property
    def faults(self) -> list[str]:
        """'fp32 encode', for each that is wrong."""
        halves = ((dtype, half, one) for dtype, found in self.findings.items() for half, one in found.items())
        return [f"{dtype} {half}" for dtype, half, one in halves if one.right is False]

    def seconds_of(self, dtype: str) -> float:
        """Of all halves in this dtype."""
        return sum(one.seconds or 0.0 for one in self.findings[dtype].values())

    def find_way_around(self, half: Half, way: Way) -> Way | None:
        """Another way to run this half, of as many digits at least; None if nothing is wrong with this one.

        On the same device in the fastest dtype that is right; otherwise on the CPU in fp32. What is wrong on a CPU
        itself runs there in fp64, by which it was found out.
        """
        found = self.finding(half, way.dtype)
        if found is None or found.right is not False:
            return None
        as_exact = [dtype for dtype in DTYPES.values() if torch.finfo(dtype).eps <= torch.finfo(way.dtype).eps]
        seconds = {dtype: one.seconds for dtype in as_exact if (one := self.finding(half, dtype)) and one.right}
        if seconds:
            return Way(way.device, min(seconds, key=lambda dtype: seconds[dtype] or 0.0))
        return Way(CPU, torch.float64 if way.device.type == "cpu" else torch.float32)

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self)
        return {"format": FORMAT, **self.machine._asdict(), **{k: facts[k] for k in facts if k != "machine"}}


def from_json(facts: Any) -> Verdict:
    """The verdict that `to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if facts["format"] != FORMAT:
        raise ValueError(f"its format is {facts['format']}")
    words = {name: _read_text(facts, name) for name in (*Machine._fields, "vae", "name", "sentence")}
    findings = {
        dtype: {Half.of(half).verb: _read_finding(one) for half, one in found.items()}
        for dtype, found in facts["findings"].items()
    }
    machine = Machine(*(words.pop(name) for name in Machine._fields))
    return Verdict(machine, words["vae"], words["name"], findings, words["sentence"])


def _read_text(facts: Mapping[str, Any], name: str) -> str:
    if not isinstance(facts[name], str):
        raise TypeError(f"its '{name}' is no text")
    return facts[name]


def _read_finding(facts: Mapping[str, Any]) -> Finding:
    seconds = facts["seconds"]
    if facts["right"] not in (True, False, None) or not (seconds is None or isinstance(seconds, (int, float))):
        raise TypeError("a finding is no finding")
    return Finding(facts["right"], seconds, _read_text(facts, "why"))
