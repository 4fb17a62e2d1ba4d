"""Files of weights: what is inside without reading it, then the tensors themselves from a memory map.

    *.safetensors                       the header is parsed and checked here, the tensors come from safetensors
    *.ckpt *.pt *.pth *.bin             pickles, read with weights_only=True or not at all
    a folder, an index, a shard         all files that belong to it

What a file is its first bytes say, whatever its name ends in. Nothing in it is trusted; files/safetensors_header.py and
pickles.py say what is checked.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadRequest, BrokenCheckpoint, UnknownCheckpoint, say_why
from ..families.blocks.ldm import GROUPS
from ..families.registry import norm_groups, usual_settings
from ..files.marks import FileMark
from ..files.reading import demand_file, parse_json, pause_collection, read_settings
from ..files.safetensors_header import explain_kind, read_header
from ..files.safetensors_writing import WORDS
from ..plain import name_kind
from .checkpoint import NORM_GROUPS, NOTE, Checkpoint, Entry, combine, join_scales
from .downloads import find_or_fetch
from .ggufs import read_gguf
from .pickles import read_pickle
from .places import PICKLES
from .seals import demand_held, read_seals

CONFIG = "config"  # in a file's metadata: as JSON, the configs of the networks in it
BORDER = "exact_vae.border"  # in a file's metadata: of the VAE's convolutions, see `load`
PROTOCOLS = (b"\2", b"\3", b"\4", b"\5")  # of pickles, after a first byte of 128
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".incomplete", ".aria2")  # as browsers and others say
INSIDE = "inside"  # in the metadata of what was read from a pickle: the keys that its weights were under


def open_checkpoint(path: str | Path, download: bool = False) -> Checkpoint:
    """What is in a file, in all shards of one, or in a folder of a diffusers model; see `downloads.find_or_fetch`.

    Raises BadRequest if there is nothing to open, BrokenCheckpoint and UnknownCheckpoint if it is no file of weights.
    """
    try:
        place = find_or_fetch(path, download)
        said = _read_config(place.config) if place.config else {}
        parts = [_open(file) for file in place.files]
        found = parts[0] if len(parts) == 1 else combine(parts, place.path)
        return join_scales(replace(found, metadata={**found.metadata, **said}) if said else found)
    except OSError as e:
        raise BadRequest(f"'{path}' cannot be read: {e.strerror or e}.") from e


def _open(path: Path) -> Checkpoint:
    if path.suffix.lower() in UNFINISHED:
        raise BrokenCheckpoint(f"'{path}' is a download that has not ended: finish it, or download it again.")
    with demand_file(path).open("rb") as file:
        start = file.read(9)
    if start[:4] == b"GGUF":
        return _open_gguf(path)
    if start[8:] == b"{" and start[4:8] == bytes(4):  # the length of a header, then the header
        return _open_safetensors(path)
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in PROTOCOLS and len(start) == 9):
        return _open_pickle(path)
    if path.suffix.lower() in PICKLES:
        if sentence := explain_kind(path):
            raise BrokenCheckpoint(sentence)
        return _open_pickle(path)
    return _open_safetensors(path)


def _read_config(config: Path) -> Mapping[str, str]:
    """What shapes cannot tell and a folder's config can, as metadata. Refuses activations that no published VAE has."""
    try:
        facts = read_settings(config) if config.exists() else {}
    except ValueError as e:
        raise BrokenCheckpoint(f"'{config}' cannot be read: {say_why(e)}.") from e
    if not isinstance(facts, dict):
        raise BrokenCheckpoint(f"'{config}' cannot be read: it is no table of settings.")
    _demand_usual_facts(config, facts)
    return _note_groups(facts)


def _note_groups(facts: Mapping[str, Any]) -> Mapping[str, str]:
    groups = norm_groups(facts)
    return {} if groups in (None, GROUPS) else {NORM_GROUPS: str(groups)}


def _demand_usual_facts(source: Path, facts: Mapping[str, Any]) -> None:
    for name, value in usual_settings(facts).items():
        if facts.get(name, value) != value:
            raise UnknownCheckpoint(f"'{source}' has {name} {facts[name]!r}: only VAEs with {value!r} are supported.")


def _read_inner_config(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What a file itself says of its VAE: Lightricks' have the configs of their networks in their metadata."""
    try:
        said = parse_json(metadata.get(CONFIG, "null"))
    except ValueError:
        return {}  # it is another program's
    facts = said.get("vae") if isinstance(said, dict) else None
    return facts if isinstance(facts, dict) else {}


def _open_safetensors(path: Path) -> Checkpoint:
    mark = FileMark.of(path)
    with pause_collection():
        header, metadata = read_header(path)
        entries = {name: Entry(tuple(info["shape"]), info["dtype"], path) for name, info in header.items()}
    facts = _read_inner_config(metadata)
    _demand_usual_facts(path, facts)
    return Checkpoint(path, entries, {**metadata, **_note_groups(facts)}, marks={path: mark})


def _open_gguf(path: Path) -> Checkpoint:
    mark, packed = FileMark.of(path), read_gguf(path)
    entries = {
        name: Entry(shape, packed.dtype(name), path, size=packed.bytes(name)) for name, shape in packed.shapes.items()
    }
    kinds = sorted(set(packed.quantised.values()))
    note = {NOTE: f"{len(packed.quantised)} tensors in {', '.join(kinds)}, blocks of GGUF"} if kinds else {}
    return Checkpoint(path, entries, note, marks={path: mark}, packed={path: packed})


def _open_pickle(path: Path) -> Checkpoint:
    mark = FileMark.of(path)
    weights, inside = read_pickle(path)
    if odd := {name_kind(t) or str(t.dtype) for t in weights.values() if name_kind(t) or t.dtype not in WORDS}:
        raise UnknownCheckpoint(f"'{path}' holds tensors of {', '.join(sorted(odd))}: a VAE's are plain numbers.")
    demand_held(path, weights.items())
    entries = {name: Entry(tuple(t.shape), WORDS[t.dtype], path) for name, t in weights.items()}
    note = {INSIDE: inside} if inside else {}
    return Checkpoint(path, entries, note, weights, {path: mark}, {path: read_seals(path)})
