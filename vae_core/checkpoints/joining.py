"""Several files as one VAE: two halves, or one and what lies beside it; which tensor comes from which file."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ..errors import BrokenCheckpoint, UnknownCheckpoint
from ..families import Family
from ..families.blocks.ldm import groups_of
from ..families.names import Reading
from ..families.registry import family_named
from .checkpoint import Checkpoint
from .detection import Detection, compare, detect_in

OWNS = {"encoder": ("encoder.", "quant_conv."), "decoder": ("decoder.", "post_quant_conv.")}
Source = tuple[Checkpoint, str]  # where a tensor is: the file, and its name there
Found = tuple[Checkpoint, Detection]


def join_files(checkpoints: list[Checkpoint]) -> tuple[Detection, dict[str, Source]]:
    """All files as one VAE: what it is, and where each tensor (by reference name) is."""
    if len(checkpoints) == 1:
        found = detect_in(checkpoints[0])
        return found, {new: (checkpoints[0], old) for new, old in found.names.items()}
    vaes, beside = _tell_apart(checkpoints)
    _demand_partners(vaes)
    sources: dict[str, Source] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for checkpoint, one in vaes:
        replaced = tuple(name for part in one.parts for name in OWNS[part])
        sources = {name: source for name, source in sources.items() if not name.startswith(replaced)}
        sources |= {new: (checkpoint, old) for new, old in one.names.items()}
        shapes |= one.shapes
    for checkpoint, names in beside:
        sources |= {new: (checkpoint, old) for old, new in names.items()}
        shapes |= {new: checkpoint.entries[old].shape for old, new in names.items()}
    shapes = {name: shapes[name] for name in sources}
    first = vaes[0][1]
    config = family_named(first.family).read(shapes, groups_of(first.config)) or first.config
    if vars(config).get("version"):  # which no shapes tell
        config = replace(config, version=vars(first.config)["version"])  # type: ignore[type-var]
    layout = "+".join(one.layout for _, one in vaes)
    names = {new: old for new, (_, old) in sources.items()}
    return compare(first.family, config, Reading("", layout, shapes, names)), sources


def _tell_apart(checkpoints: list[Checkpoint]) -> tuple[list[Found], list[tuple[Checkpoint, Mapping[str, str]]]]:
    """The VAEs, and of the other files what the first one's family takes from them: their names to reference names.

    Raises UnknownCheckpoint for a file that is neither.
    """
    vaes: list[Found] = []
    others: list[tuple[Checkpoint, UnknownCheckpoint]] = []
    for checkpoint in checkpoints:
        try:
            vaes.append((checkpoint, detect_in(checkpoint)))
        except UnknownCheckpoint as e:
            others.append((checkpoint, e))
    takes = family_named(vaes[0][1].family).beside if vaes else None
    beside = [(checkpoint, takes.names(checkpoint.shapes) if takes else {}) for checkpoint, _ in others]
    for (_, names), (_, error) in zip(beside, others, strict=True):
        if not names:
            raise error
    return vaes, beside


def _demand_partners(vaes: list[Found]) -> None:
    """Files that are to make one VAE must be of one family, channels and ratio, and not the same half twice."""
    of_first, first = vaes[0]
    for checkpoint, other in vaes[1:]:
        a, b = of_first.path.name, checkpoint.path.name
        if (other.family, *_fit(other)) != (first.family, *_fit(first)):
            raise BrokenCheckpoint(f"'{a}' ({first.title}) and '{b}' ({other.title}) do not make one VAE.")
        if other.parts == first.parts:
            what = f"{first.parts[0]}s" if len(first.parts) == 1 else "whole VAEs"
            raise BrokenCheckpoint(f"'{a}' and '{b}' are both {what}: give one VAE, or an encoder and a decoder.")


def _fit(found: Detection) -> tuple[int, int, int]:
    """(channels of z, ratio, groups of norms): what two halves must agree on. A bare half knows no patches."""
    patch = getattr(found.config, "patch", None) or 1
    return found.latent_channels // patch**2, found.spatial_ratio // patch, groups_of(found.config)


def read_sources(sources: Mapping[str, Source], family: Family) -> dict[str, Tensor]:
    """Every tensor on its file's memory map, by reference name."""
    reference = {(id(checkpoint), old): new for new, (checkpoint, old) in sources.items()}
    checkpoints = {id(checkpoint): checkpoint for checkpoint, _ in sources.values()}
    read = family.beside.read if family.beside else lambda _, tensor: tensor
    return {
        reference[key, old]: read(old, tensor)
        for key, checkpoint in checkpoints.items()
        for old, tensor in checkpoint.tensors(name for owner, name in sources.values() if owner is checkpoint)
    }
