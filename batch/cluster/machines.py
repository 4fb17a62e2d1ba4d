"""What each machine of a cluster must be and see: two kinds of processors round differently."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from ...vae_core import BadRequest, __version__


@dataclass(frozen=True)
class Kind:
    """What the bits of a latent depend on, beside the job."""

    processor: str
    torch: str
    exact_vae: str


def know_kind(device: str) -> Kind:
    """The kind of this machine, with this device."""
    if device == "cpu":
        return Kind(f"cpu {torch.backends.cpu.get_cpu_capability()}", torch.__version__, __version__)
    return Kind(torch.cuda.get_device_name(device), torch.__version__, __version__)


def demand_kind(kind: Kind, device: str) -> None:
    """Raises BadRequest if this machine is of another kind than the one that the job was planned for."""
    here = know_kind(device)
    different = [
        f"{one.name.replace('_', '-')}: {vars(kind)[one.name]} there, {vars(here)[one.name]} here"
        for one in fields(Kind)
        if vars(kind)[one.name] != vars(here)[one.name]
    ]
    if different:
        raise BadRequest(
            f"the machines of the cluster are not alike, so '{platform.node()}' would give other bits "
            f"({', '.join(different)}): give the job machines of one kind."
        )


def demand_visible(places: Sequence[Path]) -> None:
    """Raises BadRequest if this machine does not see a place of the job."""
    for place in places:
        if not place.exists():
            raise BadRequest(
                f"the machine '{platform.node()}' of the cluster does not see '{place}': all machines need it under "
                "this path, in a folder that they share or in an object store."
            )
