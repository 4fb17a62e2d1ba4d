"""Repositories of Hugging Face, fetched into its cache by huggingface_hub: only when a caller asks for it."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BadRequest
from .places import INDEX, REPOSITORY, SUBFOLDERS, WEIGHTS, Place, expand, find_weights, list_usual, read_parts

CONFIG = "config.json"


def find_or_fetch(path: str | Path, download: bool = False) -> Place:
    """`places.find_weights`; and with `download`, what is a repository of Hugging Face and not in its cache is fetched.

    Raises BadRequest.
    """
    try:
        return find_weights(path)
    except BadRequest as e:
        path = expand(path)
        repository = None if path.exists() else REPOSITORY.fullmatch(path.as_posix())
        if not repository or (path.suffix.lower() in WEIGHTS and not download):
            raise
        if not download:
            hint = "if it is a repository of Hugging Face, --download (download=True) fetches it"
            raise BadRequest(f"{str(e).rstrip('.')}; {hint}.") from e
    return find_weights(fetch_repository(f"{repository['owner']}/{repository['name']}", repository["inside"] or ""))


def fetch_repository(name: str, inside: str = "") -> Path:
    """The files of one VAE, and nothing else of the repository; returns where they are, a file or a folder.

    name    'owner/name'
    inside  a file or a folder of the repository; '': where diffusers and authors keep a VAE
    Raises BadRequest if huggingface_hub is missing, or the repository cannot be read, or has no VAE there.
    """
    if not find_spec("huggingface_hub"):
        raise BadRequest(f"'{name}' cannot be downloaded without huggingface_hub: pip install huggingface_hub.")
    hub = import_module("huggingface_hub")
    try:
        files = set(hub.list_repo_files(name))
        chosen = _choose(files, name, inside)
        found = [Path(hub.hf_hub_download(name, file)) for file in (chosen, *_list_beside(hub, files, name, chosen))]
    except BadRequest:
        raise
    except Exception as e:  # the hub's own errors, and those of the library that it asks the network with
        why = next(iter(str(e).splitlines()), "") or type(e).__name__
        raise BadRequest(f"'{name}' could not be downloaded from Hugging Face: {why}") from e
    return found[0] if inside in files or INDEX.search(chosen) is None else found[0].parent


def _choose(files: set[str], name: str, inside: str) -> str:
    """The file of weights, or the index of several. inside: see `fetch_repository`"""
    if inside in files:
        return inside
    usual = next((file for file in _list_candidates(inside) if file in files), None)
    if usual is None:
        where = f"its folder '{inside}'" if inside else "it"
        held = sorted(file for file in files if file.startswith(inside) and file.endswith(WEIGHTS))
        names = f"; name one of its files: {', '.join(held[:5])}" if held else ""
        raise BadRequest(f"'{name}' on Hugging Face holds no VAE where one is looked for in {where}{names}.")
    return usual


def _list_candidates(inside: str) -> Iterator[str]:
    top = PurePosixPath(inside)
    for place in [top] if inside else [top / folder for folder in SUBFOLDERS]:
        yield from (path.as_posix() for path in list_usual(place))


def _list_beside(hub: Any, files: set[str], name: str, chosen: str) -> Iterator[str]:
    """What a file is read with: its parts, if it is an index, and the settings beside it."""
    folder = PurePosixPath(chosen).parent
    if INDEX.search(chosen):
        parts = read_parts(Path(hub.hf_hub_download(name, chosen)))
        yield from ((folder / part).as_posix() for part in parts)
    if (config := (folder / CONFIG).as_posix()) in files:
        yield config
