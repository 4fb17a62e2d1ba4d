"""Part files: what is being written lies beside its target under a random name, and gets its own at the end.

A process that is killed leaves its part behind, and the next one that writes into the folder removes it. Whether a
process is dead is told by a lock, which the system lifts when a process ends, however it ends.
"""

import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import psutil

from .limits import STRANGER

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where an open file cannot be removed anyway
    fcntl = None

# The name is as short whatever the target is called, so a target may have the longest name that there is.
_NAME = re.compile(r"\.exact-vae-([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{16}\.part")
_TRIES = 100  # to make a part: it takes a second one only if somebody sweeps between two calls of the system


@contextmanager
def open_part(folder: Path) -> Iterator[Path]:
    """A new empty file in the folder, locked until the block ends; then it is removed, unless it was moved away.

    Raises OSError.
    """
    part, lock = _make(folder)
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def hold_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder for as long as the block runs. Gives whether that went well: False if somebody else holds it.

    Where folders have no locks (Windows, many servers of files) it always goes well.
    """
    if fcntl is None:
        yield True
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(file) is not False
    finally:
        os.close(file)


def sweep_parts(folder: Path) -> None:
    """Remove the parts in a folder whose processes are dead. A folder that cannot be read is left alone."""
    with suppress(OSError), os.scandir(folder) as entries:
        found = [match for entry in entries if (match := _NAME.fullmatch(entry.name))]
        for match in found:
            with suppress(OSError, OverflowError):  # of a number that no process can have
                _sweep(folder / match[0], match[1], int(match[2]))


def _make(folder: Path) -> tuple[Path, int | None]:
    for _ in range(_TRIES):
        part = folder / f".exact-vae-{_this_machine()}-{os.getpid()}-{secrets.token_hex(8)}.part"
        file = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if fcntl is None:
            os.close(file)  # an open file could not be moved to its target
            return part, None
        if _lock(file) is not False and _is_at(file, part):
            return part, file
        os.close(file)
    raise OSError(f"a file in '{folder}' is removed as often as it is made")


def _lock(file: int) -> bool | None:
    """Lock an open file. False if somebody else holds it, None if its file system has no locks."""
    assert fcntl is not None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(file: int, path: Path) -> bool:
    """Is this open file still there under its name?"""
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _sweep(part: Path, machine: str, process: int) -> None:
    """Remove a part if nobody writes it. Of another machine, whose locks may not be seen here, only an old one."""
    if machine != _this_machine():
        is_left = time.time() - part.stat().st_mtime > STRANGER
    elif fcntl is None:
        is_left = not psutil.pid_exists(process)
    else:
        _sweep_unlocked(part, process)
        return
    if is_left:
        part.unlink()


def _sweep_unlocked(part: Path, process: int) -> None:
    # For writing, which NFS asks of whoever locks; a link or a FIFO of such a name is not followed, nor waited for.
    file = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        locked = _lock(file)
        if locked or (locked is None and not psutil.pid_exists(process)):
            part.unlink()  # while the lock is held: if its process has just made it, that sees it gone
    finally:
        os.close(file)


def _this_machine() -> str:
    return sha256(platform.node().encode()).hexdigest()[:8]
