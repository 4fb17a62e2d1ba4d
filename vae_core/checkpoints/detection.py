"""Which VAE is this? Read from names and shapes alone."""

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import BrokenCheckpoint, UnknownCheckpoint, UnsupportedCheckpoint, some
from ..families import FAMILIES, ClipLaw, Config, Facts
from ..families.blocks.ldm import GROUPS, list_odd_widths
from ..families.names import Reading, Readings, find_prefixes
from ..families.names.ldm import HALVES as BARE_HALVES
from ..families.others import recognise_other
from ..families.registry import clip_law, expected_shapes, family_named, spaces, title
from ..families.shapes import Named, text_of
from ..families.unsupported import recognise
from ..latents.spaces import find_tiny_space
from .checkpoint import UNREAD, Checkpoint
from .files import open_checkpoint
from .latent_space_hints import whose
from .places import expand
from .versions import demand_version, find_version

FIT = 0.5  # a family fits if this share of its tensors is there, in shape


@dataclass(frozen=True, eq=False)
class Detection(Facts):
    """A family, its config, and how the file names its tensors.

    layout, prefix                   see families/names
    missing, unexpected, misshapen   reference names the file lacks; its own names that are too many, or of a shape
                                     that the rest of the file contradicts
    and the facts of the config: latent_channels, spatial_ratio, temporal_ratio, in_channels, out_channels
    """

    family: str
    config: Config
    layout: str
    prefix: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict, repr=False)  # reference name -> the file's name
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)  # by reference name

    @property
    def title(self) -> str:
        return title(self.family, self.config)

    @property
    def clip_law(self) -> ClipLaw | None:
        """Which frames of a clip become which of its latent; None for a VAE of images."""
        return clip_law(self.family, self.config)

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)


@dataclass(frozen=True, eq=False)
class Inspection(Detection):
    """A detection, and what the file's header says of the VAE's tensors."""

    path: Path = Path()
    files: tuple[Path, ...] = ()
    tensors: int = 0  # of the VAE
    others: int = 0  # of whatever else is in a full checkpoint
    bytes: int = 0  # of the VAE's tensors
    dtypes: Mapping[str, int] = field(default_factory=dict)  # in safetensors' words: {'F32': 248}
    metadata: Mapping[str, str] = field(default_factory=dict)
    latent_space: str | None = None  # its name in latents.SPACES, if that is known


def detect(shapes: Mapping[str, tuple[int, ...]], norm_groups: int = GROUPS) -> Detection:
    """The one family these names and shapes belong to, bare or inside a full checkpoint.

    shapes       name -> shape, as in the file
    norm_groups  of the norms of an Autoencoder-KL or VQ autoencoder, which its tensors do not tell, but a config.json
                 (`norm_num_groups`)
    Raises UnknownCheckpoint, naming the nearest family and what it lacks, or UnsupportedCheckpoint for a VAE that is
    known but not run. What is missing or too many is reported, not raised.
    """
    plain = set(map(type, shapes.values())) <= {tuple}
    verdict = _judge(
        tuple(shapes.items() if plain else ((name, tuple(shape)) for name, shape in shapes.items())), norm_groups
    )
    if isinstance(verdict, UnknownCheckpoint):
        raise copy(verdict)
    return verdict


@lru_cache(maxsize=16)  # models that were fine-tuned have the same names and shapes, and a folder is full of them
def _judge(shapes: tuple[tuple[str, tuple[int, ...]], ...], norm_groups: int) -> Detection | UnknownCheckpoint:
    try:
        return _detect(Named(shapes), norm_groups)
    except UnknownCheckpoint as e:
        return e.with_traceback(None)


def _detect(shapes: Mapping[str, tuple[int, ...]], norm_groups: int) -> Detection:
    readings = Readings(shapes)
    if (found := _best(_detections(readings, norm_groups))) and _share(found) >= FIT:
        return _find_average(shapes, found, norm_groups) or found
    _demand_not_foreign(readings)
    _demand_not_other(shapes, vaes=True)
    deeper = Readings(shapes, find_prefixes(shapes))
    if found := _only(list(_detections(deeper, norm_groups))):
        return found
    _demand_not_foreign(deeper)
    _demand_not_other(shapes)
    _demand_known_norms(chain(*(each.guesses(family_named("kl").layouts) for each in (readings, deeper))), norm_groups)
    raise UnknownCheckpoint(_nearest((readings, deeper), len(shapes)))


def _find_average(shapes: Mapping[str, tuple[int, ...]], found: Detection, norm_groups: int) -> Detection | None:
    """The same VAE as training averaged it, which is the one that is used, under a prefix that says so."""
    if "ema" not in text_of(shapes):
        return None
    averages = [prefix for prefix in find_prefixes(shapes) if "ema" in prefix]
    alike = _detections(Readings(shapes, averages), norm_groups)
    return next((one for one in alike if one.is_whole and one.config == found.config), None)


def _demand_not_foreign(readings: Readings) -> None:
    for own in readings.own.values():
        if row := recognise(own):
            raise UnsupportedCheckpoint(row.refuse(), row.title)


def _demand_not_other(shapes: Mapping[str, tuple[int, ...]], vaes: bool = False) -> None:
    if row := recognise_other(shapes, vaes):
        raise UnknownCheckpoint(f"no VAE was found among these {len(shapes)} tensors, which are {row.sentence}")


def _demand_known_norms(readings: Iterable[Reading], groups: int) -> None:
    """Raise UnknownCheckpoint for what is built as latent diffusion's, with norms of as many groups as nobody told."""
    for reading in readings:
        if odd := list_odd_widths(reading.shapes, groups):
            widths = some([str(n) for n in odd])
            raise UnknownCheckpoint(
                f"it is like the Autoencoder-KL of latent diffusion, whose norms have {groups} groups, but {groups} "
                f"does not divide its {widths} channels: how many groups its norms have the tensors do not tell. Put "
                "its config.json of diffusers beside it, which says norm_num_groups."
            )


def inspect(path: str | Path, subfolder: str = "", download: bool = False) -> Inspection:
    """What a file is, from its header alone: no tensor is read.

    subfolder, download: see `load`. Raises what `detect` does, BrokenCheckpoint for a damaged file and BadRequest for
    one that is not there.
    """
    return inspect_checkpoint(open_checkpoint(expand(path) / subfolder, download))


def inspect_checkpoint(checkpoint: Checkpoint) -> Inspection:
    found = detect_in(checkpoint)
    names = set(found.names.values())
    own = [name for name in checkpoint.entries if name in names]
    return Inspection(
        **vars(found),
        path=checkpoint.path,
        files=checkpoint.files,
        tensors=len(own),
        others=len(checkpoint.entries) - len(own),
        bytes=checkpoint.bytes(own),
        dtypes=checkpoint.dtypes(own),
        metadata=checkpoint.metadata,
        latent_space=space_of(found, checkpoint),
    )


def space_of(found: Detection, checkpoint: Checkpoint) -> str | None:
    """Whose latents they are, by what lies around the VAE in its file or folder."""
    is_tiny = family_named(found.family).scaling is not None
    named = find_tiny_space(checkpoint.path.name, found.family) if is_tiny else None
    fitting = spaces(found.family, found.config)
    return whose(fitting, checkpoint.entries, checkpoint.metadata, checkpoint.path, named)


def detect_in(checkpoint: Checkpoint) -> Detection:
    """`detect`, its sentences beginning with the file's name, and of the version that the file says or is named by."""
    try:
        found = detect(checkpoint.shapes, checkpoint.norm_groups)
    except UnknownCheckpoint as e:
        e.args = (f"'{checkpoint.path}': {e}",)
        raise e from None
    version = find_version(found.family, found.config, checkpoint)
    return replace(found, config=replace(found.config, version=version)) if version else found  # type: ignore[type-var]


def demand_whole(found: Detection, path: Path | str) -> None:
    """Raise BrokenCheckpoint, naming the tensors, unless every one is there in shape and none is too many.

    Raises UnknownCheckpoint for a whole one that is run differently by its version, if nothing tells that.
    """
    if found.is_whole:
        demand_version(found.family, found.config, path)
        return
    if told := [name for name in found.unexpected if UNREAD.search(name)]:
        raise UnknownCheckpoint(
            f"'{path}' is a VAE ({found.title}) whose weights were quantised in a way that is not read "
            f"({some(told)}): take the file that it was made of."
        )
    faults = [
        f"{len(names)} of its tensors {verb} ({some(names)})"
        for names, verb in (
            (found.missing, "are missing" if len(found.missing) > 1 else "is missing"),
            (found.misshapen, "have the wrong shape" if len(found.misshapen) > 1 else "has the wrong shape"),
            (found.unexpected, "are unexpected" if len(found.unexpected) > 1 else "is unexpected"),
        )
        if names
    ]
    raise BrokenCheckpoint(
        f"'{path}' is broken: it is a VAE ({found.title}), but {' and '.join(faults)}; get or convert the file again."
    )


def compare(family: str, config: Config, reading: Reading) -> Detection:
    """The detection, with all that the config and the file disagree on."""
    want, have = expected_shapes(family, config), reading.shapes
    modules = {reading.module(name) for name in have if name in want}
    return Detection(
        family=family,
        config=config,
        layout=reading.layout,
        prefix=reading.prefix,
        missing=tuple(name for name in want if name not in have),
        unexpected=tuple(
            reading.names[name] for name in have if name not in want and _is_inside(reading.module(name), modules)
        ),
        misshapen=tuple(
            f"{reading.names[name]} {list(have[name])} instead of {list(want[name])}"
            for name in have
            if name in want and not _are_same_numbers(have[name], want[name])
        ),
        names={name: old for name, old in reading.names.items() if name in want},
        shapes={name: shape for name, shape in have.items() if name in want},
    )


def _is_inside(module: str, modules: set[str]) -> bool:
    """Is a tensor of this module one of the network's? What lies beside its modules is nothing that it would read."""
    return module in modules or module.isdecimal()


def _are_same_numbers(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """Does a reshape by ones lead from one to the other, with no axis of another meaning?

    Norms come as (C,), (C, 1, 1), (1, C, 1, 1) ...; convolutions of one pixel as (C, C), (C, C, 1) ...; those of one
    frame with the frame or without: (C, C, 1, 3, 3), (C, C, 3, 3); and those of frames alone as (C, C, 3).
    """
    if have == want or _strip_ones(have) == _strip_ones(want):
        return True
    if len(want) == 1:
        return [n for n in have if n > 1] == [n for n in want if n > 1]
    window = max(len(have), len(want)) - 2
    return have[:2] == want[:2] and _widen(have[2:], window) == _widen(want[2:], window)


def _strip_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without ones at its end."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _widen(window: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """With ones before it."""
    return (*(1,) * (axes - len(window)), *window)


def _detections(readings: Readings, norm_groups: int) -> Iterator[Detection]:
    for prefix, own in readings.own.items():
        for family in FAMILIES.of(own):
            for reading in readings.under(prefix, family.layouts):
                if (config := family.read(reading.shapes, norm_groups)) is not None:
                    yield compare(family.name, config, reading)


def _best(detections: Iterable[Detection]) -> Detection | None:
    """The one that has the largest share of its tensors, the first of several; no more is read than it takes."""
    best, most = None, -1.0
    for found in detections:
        if (share := _share(found)) > most:
            best, most = found, share
        if most == 1:
            break
    return best


def _only(detections: list[Detection]) -> Detection | None:
    """The best one. Raises UnknownCheckpoint if there are others, whole too, and it is no average of training."""
    found = _best(detections)
    if found is None or _share(found) < FIT:
        return None
    rivals = {one.prefix for one in detections if one.is_whole and one.prefix != found.prefix}
    if rivals and "ema" not in found.prefix:
        places = ", ".join(f"'{prefix}'" for prefix in sorted({found.prefix, *rivals}))
        raise UnknownCheckpoint(f"several VAEs are in it, under {places}: save the one you mean as a file of its own.")
    return found


def _share(found: Detection) -> float:
    """The share of the tensors the config asks for that the file has in shape."""
    wanted = len(expected_shapes(found.family, found.config))
    return (wanted - len(found.missing) - len(found.misshapen)) / max(wanted, 1)


def _nearest(files: Iterable[Readings], tensors: int) -> str:
    """Which family comes nearest, by names, and what it lacks.

    files: the file under its prefixes, the common ones and others. tensors: how many are in it
    """
    best: tuple[int, str, list[str], int] = (-1, "", [], 0)
    for family in FAMILIES:
        want = expected_shapes(family.name, family.example)
        whole = [layout for layout in family.layouts if layout.name not in ("encoder", "decoder")]
        # Bare halves by reference names alone: in diffusers' names a U-Net would seem to be most of a VAE.
        for reading in chain.from_iterable(readings.guesses([*whole, *BARE_HALVES]) for readings in files):
            present = sum(name in reading.shapes for name in want)
            if present > best[0]:
                missing = [name for name in want if name not in reading.shapes]
                best = (present, family.title, missing, len(want))
    present, name, missing, wanted = best
    if present <= 0:
        return f"no VAE was found among these {tensors} tensors: none has a name that a VAE's has."
    lacks = f"{some(missing)} are missing" if missing else "their shapes are not those of such a network"
    return (
        f"no VAE was found among these {tensors} tensors; nearest is {name}, {present} of whose {wanted} names are "
        f"there, but {lacks}."
    )


def to_json(found: Inspection) -> dict[str, Any]:
    """All of an inspection as plain JSON values."""
    facts = {name: getattr(found, name) for name in (
        "family", "title", "latent_channels", "spatial_ratio", "decoded_ratio", "temporal_ratio", "in_channels",
        "out_channels", "latent_space", "layout", "prefix", "parts", "tensors", "others", "bytes", "dtypes", "missing",
        "unexpected", "misshapen", "metadata")}  # fmt: skip
    config: Any = found.config
    return {"path": str(found.path), "files": [str(f) for f in found.files], **facts, "config": asdict(config)}
