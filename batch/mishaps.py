"""Errors that say nothing of the image: memory was short, or a disk or the net failed. Another time it may go well."""

import errno

from ..vae_core import DoesNotFit
from ..vae_core.errors import is_out_of_memory
from .records import Skipped

# Of the system, not of the file: what a damaged file makes its reader do, as to look before its start, is EINVAL.
PASSING = frozenset(
    {errno.EIO, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EACCES,
     errno.EPERM, errno.ENOSPC, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ESTALE, errno.EDQUOT,
     errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.ECONNABORTED, errno.ECONNRESET, errno.ECONNREFUSED,
     errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)  # fmt: skip


def may_pass(error: BaseException | None) -> bool:
    """Is this error, or one that led to it, such a mishap?"""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DoesNotFit) or is_out_of_memory(error):
            return True
        if isinstance(error, OSError) and error.errno in PASSING:
            return True
        error = error.__cause__
    return False


def skip(path: str, error: Exception, id: str | None = None, key: str | None = None) -> Skipped:
    """A source, or an item of it, that is left out because of this error."""
    return Skipped(path, explain(error), id, may_pass(error), key)


def explain(error: Exception) -> str:
    """The reason in the words of its error, without the name of the file, which stands beside it."""
    said = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return said.partition(" as an image: ")[2] or said
