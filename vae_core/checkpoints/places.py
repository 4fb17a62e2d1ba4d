"""Where the weights are: in a file, in all shards of it, in a folder of diffusers, or in Hugging Face's cache."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import NamedTuple, NoReturn, TypeVar

from ..errors import BadRequest, BrokenCheckpoint, some
from ..files.reading import NO_NAME, demand_file, read_json
from ..files.safetensors_header import explain_kind

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHTS = (".safetensors", ".sft", ".gguf", *PICKLES)
FLAX = ".msgpack"
SUBFOLDERS = ("", "vae", "movq", "vqgan", "vqvae")  # of a model of diffusers
VARIANTS = ("", "fp32", "bf16", "fp16", "non_ema")
STEMS = ("diffusion_pytorch_model", "ae", "vae", "model", "pytorch_model")
SETTINGS = ("config.json", "model_index.json")
ADDRESS = re.compile(r"(https?|file|hf):[/\\]")  # as a path of this system shows it
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<all>\d{5})(?P<ending>\.\w+)")
INDEX = re.compile(r"\.index(\.\w+)?\.json$")
REPOSITORY = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:/(?P<inside>.+))?")

AnyPath = TypeVar("AnyPath", bound=PurePath)


class Place(NamedTuple):
    """files: all that hold the weights. path: what they are called together. config: beside them, if it is there."""

    files: list[Path]
    path: Path
    config: Path | None = None


def expand(path: str | Path) -> Path:
    """`~` and variables of the environment put in. Raises BadRequest for an empty name: it is not this folder."""
    said = os.path.expandvars(path)
    if not said:
        raise BadRequest(f"{NO_NAME}.")
    return Path(os.path.expanduser(said))


def find_weights(path: str | Path) -> Place:
    """The files of weights that a path stands for, as `expand` gives it.

    A repository of Hugging Face, 'owner/name' or 'owner/name/vae', is looked up in the local cache. Raises BadRequest
    if there is nothing, or more than one to choose from.
    """
    path = expand(path)
    if path.is_dir():
        return _find_in_folder(path)
    if not path.exists() and (cached := _find_in_cache(path)):
        return find_weights(cached)
    _demand_weights(path)
    if INDEX.search(path.name):
        return Place(read_index(path), path, _config_of(path))
    if (shard := SHARD.fullmatch(path.name)) and int(shard["all"]) > 1:
        return Place(_demand_siblings(path, _name_siblings(path, shard)), path, _config_of(path))
    return Place([path], path, _config_of(path))


def _demand_weights(path: Path) -> None:
    """Raise BadRequest unless there is a file that may hold weights."""
    if ADDRESS.match(str(path)):
        raise BadRequest(
            f"'{path}' is an address, not a file: give the path of the file, or for a repository of Hugging Face its "
            "'owner/name'."
        )
    _demand_target(path)
    demand_file(path)
    if path.name in SETTINGS:
        raise BadRequest(f"'{path}' holds settings of a model, no weights: give its folder, '{path.parent}'.")


def _demand_target(path: Path) -> None:
    if path.is_symlink() and not os.path.lexists(target := _follow(path)):
        raise BadRequest(f"'{path}' is a link to '{target}', which is not there: copy or download the file again.")


def _follow(link: Path) -> str:
    return os.path.normpath(link.parent / os.readlink(link))


def _config_of(path: Path) -> Path | None:
    """The config.json beside a file that bears diffusers' name, or is the only file of weights there."""
    config = path.with_name("config.json")
    if not config.is_file():
        return None
    return config if path.name.startswith(STEMS[0]) or _list_weights(path.parent) == [path] else None


def holds_usual(place: Path) -> bool:
    """Is there a file, or an index, that diffusers calls the weights of a model?"""
    return any(file.is_file() for file in list_usual(place, STEMS[:1]))


def _find_in_folder(folder: Path) -> Place:
    if (snapshot := _find_snapshot(folder)) is not None:
        return _find_in_folder(snapshot)
    places = list_places(folder)
    for stems in (STEMS[:1], STEMS[1:]):
        for place in places:
            for file in list_usual(place, stems):
                if file.is_file():
                    files = read_index(file) if INDEX.search(file.name) else [file]
                    return Place(files, files[0] if len(files) == 1 else place, place / "config.json")
    files = next(filter(None, map(_list_weights, places)), [])
    if not files:
        _refuse_empty(folder, places)
    shard = SHARD.fullmatch(files[0].name)
    parts = _name_siblings(files[0], shard) if shard else []
    if set(files) <= set(parts):  # parts of one model without their index
        return Place(_demand_siblings(files[0], parts), folder, files[0].with_name("config.json"))
    if len(files) > 1:
        names = some([file.name for file in files])
        there = files[0].parent
        raise BadRequest(f"the folder '{there}' holds {len(files)} files of weights ({names}): name the one you mean.")
    return Place(files, folder, files[0].with_name("config.json"))


def list_places(folder: Path) -> list[Path]:
    """Where in a folder a VAE may be: SUBFOLDERS, however their letters are written."""
    found = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    return [folder, *(found[name] for name in SUBFOLDERS if name in found)]


def _refuse_empty(folder: Path, places: list[Path]) -> NoReturn:
    for entry in (entry for place in places for entry in sorted(place.iterdir())):
        if entry.suffix.lower() in WEIGHTS:
            _demand_target(entry)
        if entry.suffix == FLAX and (sentence := explain_kind(entry)):
            raise BrokenCheckpoint(sentence)
    others = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and _list_weights(entry)]
    hint = f"; weights are in its folder {some(others)}: name the one you mean" if others else ""
    raise BadRequest(
        f"the folder '{folder}' holds no VAE: neither it nor its folder 'vae' has a {STEMS[0]}.safetensors{hint}."
    )


def list_usual(place: AnyPath, stems: tuple[str, ...] = STEMS) -> Iterator[AnyPath]:
    """What programs call the weights of a model, the best first; an index before the file it would be."""
    for stem in stems:
        for ending in ("safetensors", "bin"):
            for variant in VARIANTS:
                marked = f".{variant}" if variant else ""
                yield place / f"{stem}.{ending}.index{marked}.json"
                yield place / f"{stem}{marked}.{ending}.index.json"
                yield place / f"{stem}{marked}.{ending}"


def _list_weights(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in WEIGHTS and file.is_file())


def read_index(index: Path) -> list[Path]:
    """An index names the file of every tensor; only files in its folder are opened, at any depth."""
    parts = [PurePosixPath(part) for part in read_parts(index)]
    files = [index.parent / (part if (index.parent / part).is_file() else part.name) for part in parts]
    return _demand_all(files, f"'{index}' names files that are not beside it")


def read_parts(index: Path) -> list[str]:
    """The files that an index names, as from its folder. Raises BrokenCheckpoint if it is none.

    Of a path that begins elsewhere, as those of other people's machines do, only the name is left.
    """
    try:
        parts = map(PureWindowsPath, read_json(index)["weight_map"].values())
        return sorted({p.name if p.anchor or ".." in p.parts else p.as_posix() for p in parts})
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BrokenCheckpoint(f"'{index}' is no index of shards: it has no 'weight_map'.") from e


def _name_siblings(path: Path, shard: re.Match[str]) -> list[Path]:
    """All parts of the model that a file, whose name the match is of, is one of."""
    numbers = range(1, int(shard["all"]) + 1)
    return [path.with_name(f"{shard['stem']}-{i:05}-of-{shard['all']}{shard['ending']}") for i in numbers]


def _demand_siblings(path: Path, parts: list[Path]) -> list[Path]:
    return _demand_all(parts, f"'{path}' is one of {len(parts)} parts, others are missing")


def _demand_all(files: list[Path], what: str) -> list[Path]:
    if lost := [file.name for file in files if not file.is_file()]:
        raise BadRequest(f"{what}: {some(lost)}.")
    return files


def _find_in_cache(path: Path) -> Path | None:
    """A snapshot in the cache of huggingface_hub, whose layout is documented:
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    repository = REPOSITORY.fullmatch(path.as_posix())
    if not repository:
        return None
    folder = _cache() / f"models--{repository['owner']}--{repository['name']}"
    return _find_snapshot(folder, repository["inside"] or "")


def _find_snapshot(folder: Path, inside: str = "") -> Path | None:
    """What is inside of a repository in that cache: of the commit that is its newest, if that is known."""
    if not (folder / "snapshots").is_dir():
        return None
    main = folder / "refs" / "main"
    commits = [main.read_text().strip()] if main.is_file() else sorted(p.name for p in (folder / "snapshots").glob("*"))
    found = [folder / "snapshots" / commit / inside for commit in commits]
    return next((one for one in found if os.path.lexists(one)), None)


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(os.path.expanduser(folder))
