"""Verdicts in the user's cache folder: a small file for each device and VAE."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch

from ..errors import BadRequest
from ..files import explain_write_errors, make_folder, read_json, write_atomically
from .machine import describe_machine, name_device
from .verdict import Verdict, from_json

VARIABLE = "EXACT_VAE_CACHE"  # in the environment: the folder to use
log = logging.getLogger("exact_vae")


class Weights(Protocol):
    """Whose verdict is looked for."""

    @property
    def device(self) -> torch.device: ...
    @property
    def fingerprint(self) -> str: ...


def folder() -> Path:
    """Where verdicts are kept: in the folder that EXACT_VAE_CACHE names, otherwise in the system's for caches.

    Those of the XDG Base Directory Specification, Apple's File System Programming Guide, and Windows' local data.
    Raises BadRequest if there is no home folder.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named) / "verdicts"
    try:
        return _caches() / "exact-vae" / "verdicts"
    except RuntimeError as e:
        raise BadRequest(f"there is no home folder to keep verdicts in: name a folder in {VARIABLE}.") from e


def _caches() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"  # a relative one is to be ignored, says XDG


def file_of(device: str, fingerprint: str) -> Path:
    """device: its name."""
    return folder() / f"{_in_file_name(device)}-{fingerprint}.json"


def keep(verdict: Verdict) -> Path:
    """Write the verdict in place of an earlier one. Raises BadRequest if it cannot be written."""
    path = file_of(verdict.machine.device, verdict.vae)
    make_folder(path.parent)
    with write_atomically(path) as part:
        part.write_text(json.dumps(verdict.to_json(), indent=1) + "\n", encoding="utf-8")
    return path


def keep_and_tell(verdict: Verdict) -> str:
    """Keep the verdict, and a sentence about it: where it is, or why it could not be kept."""
    try:
        path = keep(verdict)
    except BadRequest as e:
        return f"The verdict is not kept: {e}"
    use = "From now on runs go around what is wrong" if verdict.faults else "Nothing has to be gone around"
    return f"{use}; the verdict is kept in '{hide_home(path)}'."


def forget(verdict: Verdict) -> str:
    """Remove what is kept on the same VAE and device, and a sentence about it. Raises BadRequest if that fails."""
    path = file_of(verdict.machine.device, verdict.vae)
    with explain_write_errors(path):
        path.unlink(missing_ok=True)
    return "No verdict is kept on this VAE and device."


def hide_home(path: Path | str) -> str:
    """The path, or a text with paths, with ~ for the user's home."""
    try:
        home = str(Path.home())
    except RuntimeError:
        return str(path)
    return str(path).replace(home, "~") if len(home) > 1 else str(path)


def find(vae: Weights) -> Verdict | None:
    """The verdict on this VAE on its device; None if there is none, or it is of another driver or version.

    A file that cannot be read is passed over with a sentence. Nothing is computed unless this device was examined.
    """
    with suppress(BadRequest, OSError):
        if not folder().is_dir() or not any(folder().glob(f"{_in_file_name(name_device(vae.device))}-*.json")):
            return None
        found = read(file_of(name_device(vae.device), vae.fingerprint))
        return _while_it_holds(found, vae.device) if found else None
    return None


def read(path: Path) -> Verdict | None:
    """The verdict of a file. None if there is none; if it is broken too, and then a sentence says so."""
    try:
        return from_json(read_json(path)) if path.exists() else None
    except OSError as e:
        why = e.strerror or str(e)
    except (KeyError, TypeError, ValueError, AttributeError, BadRequest) as e:
        why = f"it is no verdict of this version ({e})"
    log.warning("The Doctor's verdict '%s' is passed over, because %s: run the Doctor again.", path.name, why)
    return None


def read_all() -> Iterator[Verdict]:
    """All verdicts that are kept, by file name."""
    with suppress(BadRequest, OSError):
        yield from filter(None, map(read, sorted(folder().glob("*.json"))))


def _while_it_holds(found: Verdict, device: torch.device) -> Verdict | None:
    now = describe_machine(device)
    if found.machine == now:
        return found
    pairs = zip(now._fields, found.machine, now, strict=True)
    changed = ", ".join(f"{name} {then or '?'} is now {today or '?'}" for name, then, today in pairs if then != today)
    if found.faults:
        log.warning("The Doctor's verdict on %s is out of date (%s): run the Doctor again.", now.device, changed)
    return None


def _in_file_name(device: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", device).strip("_")[:80] or "device"
