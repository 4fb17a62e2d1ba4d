"""WebDataset: images and captions in tar archives. What belongs together has one name up to its first dot."""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..vae_core import readers
from .captions import BROKEN, NO_CAPTIONS, parse_caption
from .limits import LONGEST_CAPTION
from .places import read_stamp
from .records import Skipped, Source
from .texts import decode_caption


def list_tar(place: Path, captions: str, inside: Path) -> Iterator[Source | Skipped]:
    """The images of an archive, in its order. They are read where they lie: nothing is unpacked."""
    stamp, kept = read_stamp(place), None if captions == NO_CAPTIONS else captions
    try:
        with place.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for group in _group(archive):
                images = [one for one in group if PurePosixPath(one.name).suffix.lower() in readers.SUFFIXES]
                try:
                    caption = _caption(archive, group, kept)
                except ValueError:
                    yield from (Skipped(f"{place.name}/{one.name}", BROKEN) for one in images)
                    continue
                for one in images:
                    part = (one.offset_data, one.size)
                    yield Source(f"{place.name}/{one.name}", str(place.absolute()), stamp, part, caption)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Skipped(place.name, f"from some place on it is no tar archive without compression: {error}")


def _group(archive: tarfile.TarFile) -> Iterator[list[tarfile.TarInfo]]:
    """Files that follow one another under one name."""
    group: list[tarfile.TarInfo] = []
    for member in archive:
        if not member.isreg():
            continue
        if group and _stem(member.name) != _stem(group[0].name):
            yield group
            group = []
        group.append(member)
    if group:
        yield group


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent / path.name.partition(".")[0])


def _caption(archive: tarfile.TarFile, group: list[tarfile.TarInfo], captions: str | None) -> str | None:
    for member in group:
        if captions and member.name.lower().endswith(captions):
            file = archive.extractfile(member)
            return parse_caption(decode_caption(file.read(LONGEST_CAPTION)) if file else "", captions)
    return None
