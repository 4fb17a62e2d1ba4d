"""What is asked before an image is read, and how its errors are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import UnidentifiedImageError

from ..errors import BadPixels, DoesNotFit, VAEError, is_out_of_memory, say_why
from ..execution import budget, format_bytes
from ..files.kinds import kind_of
from .source import NotRead

MOST_FRAMES = 10_000  # of one file: a minute and more of film; counting more would take longer than is waited for
LONGEST = 300  # letters of what a decoder says of a file


def demand_bytes(path: Path, size: int, what: str = "a part of it", advice: str = "") -> None:
    """Raises DoesNotFit if so many bytes are not free in memory."""
    free = budget.free(torch.device("cpu"))
    if size > free:
        raise DoesNotFit(
            f"cannot read '{path.name}' as an image: {what} takes {format_bytes(size)} in memory, and "
            f"{format_bytes(free)} are free{advice}."
        )


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turns any error inside the block into one that names the file, what it is and what to do."""
    try:
        yield
    except NotRead as error:
        raise BadPixels(_say(path, str(error))) from error
    except VAEError:
        raise
    except Exception as error:  # a damaged file may raise anything inside its decoder
        if is_out_of_memory(error):
            raise DoesNotFit(_say(path, "it needs more memory than is free")) from error
        raise BadPixels(_say(path, _why(path, error))) from error


def _say(path: Path, why: str) -> str:
    return f"cannot read '{path.name}' as an image: {' '.join(why.split())[:LONGEST].rstrip('.')}."


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        kind = kind_of(path)
        return f"it is {kind.what}: {kind.advice or 'copy or download it again, for it is damaged'}"
    return say_why(error)
