"""Files in the folders for input and output, by the host's names for them: 'x.latent', 'sub/x.latent [output]'."""

# pyright: reportMissingImports=false

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...vae_core import BadRequest
from ...vae_core.files import demand_file, demand_prefix, resolve_inside
from .place import Surroundings, get_surroundings, in_comfyui

OUTPUT = " [output]"  # the host's own mark of a name in its output folder
DEEPEST = 4  # folders within folders that are looked into


def list_files(suffixes: tuple[str, ...]) -> list[str]:
    """Files with these endings in the input folder, then in the output folder, subfolders too."""
    folders = _folders()
    return [
        name + mark for kind, mark in (("input", ""), ("output", OUTPUT)) for name in _tree(folders[kind], suffixes)
    ]


def find_file(name: str) -> Path:
    """The file of such a name: an untrusted one. Raises BadRequest if there is none."""
    return demand_file(_find(name, "file", os.path.exists))


def list_folders() -> list[str]:
    """The input folder, '.', and the folders within it and within the output folder."""
    folders = _folders()
    marks = (("input", ""), ("output", OUTPUT))
    return [".", *(name + mark for kind, mark in marks for name in _list_folders(folders[kind]))]


def find_folder(name: str) -> Path:
    """The folder of such a name: an untrusted one. Raises BadRequest if there is none."""
    return _find(name, "folder", os.path.isdir)


def _find(name: str, what: str, is_there: Callable[[Path], bool]) -> Path:
    """is_there: must never raise, however the name is."""
    if not isinstance(name, str):
        raise BadRequest(f"the name of a {what} is text, not {type(name).__name__}.")
    marked = re.fullmatch(r"(.*\S)\s*\[(input|output)\]", name)
    plain, kind = (marked[1], marked[2]) if marked else (name, "input")
    folder = _folders()[kind]
    path = resolve_inside(folder, plain)
    if not is_there(path):
        missing = "" if os.path.isdir(folder) else f": '{folder}' is not there, which --{kind} of `exact-vae run` names"
        raise BadRequest(f"there is no {what} '{plain}' in the {kind} folder{missing}.")
    return path


def find_result_folder(name: str) -> Path:
    """A folder within the output folder, which need not be there yet. Raises BadRequest for any other place."""
    demand_prefix(name)
    folder = _folders()["output"]
    path = resolve_inside(folder, name)
    if path == Path(os.path.abspath(folder)):
        raise BadRequest("the name of the folder is empty: results have a folder of their own in the output folder.")
    return path


def _list_folders(folder: Path, depth: int = 0) -> Iterator[str]:
    try:
        _, names = _read(str(folder), os.stat(folder).st_mtime_ns, ())
    except OSError:  # it is not there, or may not be read
        return
    for name in names:
        yield name
        yield from (f"{name}/{one}" for one in (_list_folders(folder / name, depth + 1) if depth < DEEPEST else ()))


def _folders() -> dict[str, Path]:
    if in_comfyui():
        import folder_paths

        here = {"input": folder_paths.get_input_directory(), "output": folder_paths.get_output_directory()}
        return {kind: Path(folder) for kind, folder in here.items()}
    here = get_surroundings() or Surroundings(Path("models"))
    return {"input": here.input, "output": here.output}


def _tree(folder: Path, suffixes: tuple[str, ...], depth: int = 0) -> Iterator[str]:
    """Names within the folder. A folder is read again only when it has changed: menus ask often."""
    try:
        names, folders = _read(str(folder), os.stat(folder).st_mtime_ns, suffixes)
    except OSError:  # it is not there, or may not be read
        return
    yield from names
    for one in folders if depth < DEEPEST else ():
        yield from (f"{one}/{name}" for name in _tree(folder / one, suffixes, depth + 1))


@lru_cache(maxsize=1024)
def _read(folder: str, changed: int, suffixes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(files with these endings, subfolders), in order. changed: the folder's time, so that it is read anew then."""
    with os.scandir(folder) as entries:
        seen = [(one.name, one.is_dir()) for one in entries if not one.name.startswith(".")]
    files = (name for name, is_folder in seen if not is_folder and name.lower().endswith(suffixes))
    return tuple(sorted(files)), tuple(sorted(name for name, is_folder in seen if is_folder))


def list_graph_texts(prompt: Any, extra_pnginfo: Any) -> dict[str, str]:
    """The graph as the host writes it into its files, to be opened from them again; nothing if the user wants that."""
    if in_comfyui():
        from comfy.cli_args import args

        if args.disable_metadata:
            return {}
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return texts | {name: json.dumps(value) for name, value in (extra_pnginfo or {}).items()}
