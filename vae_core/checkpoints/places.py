"""Where the weights are: in a file, in all shards of it, in a folder of diffusers, or in Hugging Face's cache."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

from ..errors import BadRequest, BrokenCheckpoint, some
from ..files.reading import demand_file, read_json

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHTS = (".safetensors", ".sft", ".gguf", *PICKLES)
SUBFOLDERS = ("", "vae", "movq", "vqgan", "vqvae")  # of a model of diffusers
VARIANTS = ("", "fp32", "bf16", "fp16", "non_ema")
STEMS = ("diffusion_pytorch_model", "ae", "vae", "model")
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
    """`~` and variables of the environment put in."""
    return Path(os.path.expandvars(path)).expanduser()


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
    demand_file(path)
    if INDEX.search(path.name):
        return Place(read_index(path), path, _config_of(path))
    if (shard := SHARD.fullmatch(path.name)) and int(shard["all"]) > 1:
        return Place(_list_siblings(path, shard), path, _config_of(path))
    return Place([path], path, _config_of(path))


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
    places = [folder / name for name in SUBFOLDERS if (folder / name).is_dir()]
    for stems in (STEMS[:1], STEMS[1:]):
        for place in places:
            for file in list_usual(place, stems):
                if file.is_file():
                    files = read_index(file) if INDEX.search(file.name) else [file]
                    return Place(files, files[0] if len(files) == 1 else place, place / "config.json")
    return Place([_find_only(folder)], folder, folder / "config.json")


def list_usual(place: AnyPath, stems: tuple[str, ...] = STEMS) -> Iterator[AnyPath]:
    """What programs call the weights of a model, the best first; an index before the file it would be."""
    for stem in stems:
        for ending in ("safetensors", "bin"):
            for variant in VARIANTS:
                marked = f".{variant}" if variant else ""
                yield place / f"{stem}.{ending}.index{marked}.json"
                yield place / f"{stem}{marked}.{ending}.index.json"
                yield place / f"{stem}{marked}.{ending}"


def _find_only(folder: Path) -> Path:
    found = _list_weights(folder)
    if not found:
        raise BadRequest(
            f"the folder '{folder}' holds no VAE: neither it nor its folder 'vae' has a {STEMS[0]}.safetensors."
        )
    if len(found) > 1:
        names = some([file.name for file in found])
        raise BadRequest(f"the folder '{folder}' holds {len(found)} files of weights ({names}): name the one you mean.")
    return found[0]


def _list_weights(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in WEIGHTS and file.is_file())


def read_index(index: Path) -> list[Path]:
    """An index names the file of every tensor; only files beside it are opened."""
    return _demand_all(
        [index.parent / name for name in read_parts(index)], f"'{index}' names files that are not beside it"
    )


def read_parts(index: Path) -> list[str]:
    """The names of the files that an index names. Raises BrokenCheckpoint if it is none."""
    try:
        return sorted({Path(name).name for name in read_json(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise BrokenCheckpoint(f"'{index}' is no index of shards: it has no 'weight_map'.") from e


def _list_siblings(path: Path, shard: re.Match[str]) -> list[Path]:
    count = int(shard["all"])
    names = [f"{shard['stem']}-{i:05}-of-{shard['all']}{shard['ending']}" for i in range(1, count + 1)]
    return _demand_all([path.parent / name for name in names], f"'{path}' is one of {count} parts, others are missing")


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
    if not folder.is_dir():
        return None
    main = folder / "refs" / "main"
    commits = [main.read_text().strip()] if main.is_file() else sorted(p.name for p in (folder / "snapshots").glob("*"))
    inside = repository["inside"] or ""
    found = [folder / "snapshots" / commit / inside for commit in commits]
    return next((one for one in found if one.exists()), None)


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(folder).expanduser()
