"""Where photographs come from: packages taken apart, checked, and the same list for people. Nothing is downloaded."""

import bz2
import hashlib
import http.client
import io
import lzma
import re
import subprocess
import tarfile
import urllib.error
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from exact_vae.training import sources
from exact_vae.training.images import open_image
from exact_vae.training.sources import PACKAGES, SIDES, Package, fetch
from exact_vae.vae_core import BadRequest

TRAINING = Path(sources.__file__).parents[1]
PHOTOGRAPHS = {"usr/share/a.jpg": b"a photograph", "usr/share/odd.jpg": b"odd", "usr/share/doc/b.txt": b"text"}


def ar(**members: bytes) -> bytes:
    """A Unix archive, as `ar` writes it. Names are given with _ for the dots."""
    archive = b"!<arch>\n"
    for name, data in members.items():
        header = f"{name.replace('_', '.') + '/':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        assert len(header) == 60
        archive += header + data + b"\n" * (len(data) % 2)
    return archive


def deb(files: dict[str, bytes]) -> bytes:
    """A Debian package of these files. Its first member has an odd length, so that padding matters."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for folder in ("./usr", "./usr/share"):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for path, content in files.items():
            entry = tarfile.TarInfo(f"./{path}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return ar(debian_binary=b"2.0", control_tar_xz=b"12345", data_tar_xz=lzma.compress(data.getvalue()))


def wheel(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return data.getvalue()


def test_a_member_of_an_archive():
    archive = ar(debian_binary=b"2.0\n", odd=b"123", data_tar_xz=b"what it holds")
    assert sources._read_member(archive, b"odd") == b"123"
    assert sources._read_member(archive, b"data.tar.xz") == b"what it holds"
    with pytest.raises(BadRequest, match=r"the package has no data\.tar\.zst"):
        sources._read_member(archive, b"data.tar.zst")


@pytest.mark.parametrize(("pack", "take_apart"), [(deb, sources._read_deb), (wheel, sources._read_wheel)])
def test_packages_are_taken_apart(pack, take_apart):
    wanted = {"usr/share/a.jpg", "usr/share/odd.jpg", "usr/share/not-there.jpg"}
    found = dict(take_apart(pack(PHOTOGRAPHS), wanted))
    assert found == {path: PHOTOGRAPHS[path] for path in ("usr/share/a.jpg", "usr/share/odd.jpg")}


class World:
    """Two packages, what their indexes answer, and how often they were asked."""

    def __init__(self) -> None:
        self.rgb = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
        self.debian = deb(PHOTOGRAPHS)
        self.pypi = wheel({"lib/face.dat": bz2.compress(self.rgb.tobytes(), 1), "lib/c.png": b"a png"})
        self.asked: list[str] = []
        self.packages = (
            Package(
                "debian", "p/p_1.deb", sha(self.debian), train=("usr/share/a.jpg",), held_out=("usr/share/odd.jpg",)
            ),
            Package("pypi", "lib==1", sha(self.pypi), train=("lib/c.png",), held_out=("lib/face.dat",)),
        )

    def urlopen(self, address: str, timeout: float) -> io.BytesIO:
        self.asked.append(address)
        return io.BytesIO(self.debian)

    def pip(self, command: list[str], **_) -> subprocess.CompletedProcess:
        self.asked.append(command[-1])
        (Path(command[command.index("-d") + 1]) / "lib-1-py3-none-any.whl").write_bytes(self.pypi)
        return subprocess.CompletedProcess(command, 0, "", "")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def world(monkeypatch) -> World:
    world = World()
    monkeypatch.setattr(sources, "PACKAGES", world.packages)
    monkeypatch.setattr("urllib.request.urlopen", world.urlopen)
    monkeypatch.setattr("subprocess.run", world.pip)
    return world


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fetching(world, tmp_path):
    fetch(tmp_path / "data")
    files = written(tmp_path / "data")
    assert set(files) == {"train/a.jpg", "held_out/odd.jpg", "train/c.png", "held_out/face.png"}
    assert files["train/a.jpg"] == b"a photograph" and files["train/c.png"] == b"a png"
    assert np.array_equal(np.asarray(open_image(tmp_path / "data" / "held_out" / "face.png")), world.rgb)
    assert world.asked == [sources.DEBIAN[0] + "p/p_1.deb", "lib==1"]


def test_what_is_there_is_not_fetched_again(world, tmp_path):
    fetch(tmp_path)
    (tmp_path / "train" / "a.jpg").write_text("the user's own")
    (tmp_path / "held_out" / "face.png").unlink()
    world.asked.clear()
    fetch(tmp_path)
    assert world.asked == ["lib==1"]
    assert written(tmp_path)["train/a.jpg"] == b"the user's own" and "held_out/face.png" in written(tmp_path)


@pytest.mark.parametrize("index", ["debian", "pypi"])
def test_another_file_than_was_trained_on_is_refused(index, world, tmp_path):
    changed = {"debian": deb, "pypi": wheel}[index]({"usr/share/a.jpg": b"another photograph"})
    setattr(world, index, changed)
    package = next(package for package in world.packages if package.index == index)
    with pytest.raises(BadRequest) as error:
        fetch(tmp_path)
    assert str(error.value) == (
        f"'{package.name}' arrived as another file than was trained on: its SHA-256 is {sha(changed)}, not "
        f"{package.sha256}; try again, or from another network."
    )
    assert b"another photograph" not in written(tmp_path).values()


def test_a_photograph_that_the_package_does_not_hold(world, tmp_path, monkeypatch):
    package = Package("pypi", "lib==1", sha(world.pypi), train=("lib/c.png", "lib/gone.png"))
    monkeypatch.setattr(sources, "PACKAGES", (package,))
    with pytest.raises(BadRequest, match=r"'lib==1' no longer holds 'lib/gone\.png'"):
        fetch(tmp_path)


def test_a_place_that_cannot_be_written_is_said_before_anything_is_fetched(world, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(BadRequest, match=r"data/train' cannot be written: Not a directory\."):
        fetch(tmp_path / "data")
    assert not world.asked


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), TimeoutError("no route"), http.client.IncompleteRead(b"no route")],
    ids=lambda e: type(e).__name__,
)
def test_the_archive_is_asked_when_the_index_fails(error, world, tmp_path, monkeypatch):
    def only_the_archive(address: str, timeout: float) -> io.BytesIO:
        if address.startswith(sources.DEBIAN[0]):
            raise error
        return world.urlopen(address, timeout)

    monkeypatch.setattr("urllib.request.urlopen", only_the_archive)
    fetch(tmp_path)
    assert world.asked[0] == sources.DEBIAN[1] + "p/p_1.deb"

    def neither(address: str, timeout: float) -> io.BytesIO:
        raise error

    monkeypatch.setattr("urllib.request.urlopen", neither)
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(
        BadRequest, match=r"'p/p_1.deb' could not be downloaded: https://deb\.debian.*; https://snapshot"
    ):
        fetch(tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [("WARNING: slow\nERROR: No matching distribution\n", "No matching distribution"), ("", "pip ended with 3")],
)
def test_pip_fails(said, told, world, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 3, "", said))
    with pytest.raises(BadRequest, match=rf"^'lib==1' could not be downloaded: {told}$"):
        fetch(tmp_path)


def told() -> dict[str, dict[str, tuple[str, str, str]]]:
    """DATA.md: side -> photograph -> (index, package, version)."""
    text = (TRAINING / "DATA.md").read_text()
    parts = {"train": text.split("## Trained on")[1], "held_out": text.split("## Held out")[1]}
    row = re.compile(r"^\| ([^|]+) \| (Debian|PyPI) `([^`]+)` (\S+) \| \S", re.MULTILINE)
    return {
        side: {
            name: (index.lower(), package, version)
            for names, index, package, version in row.findall(part.split("\n## ")[0])
            for name in names.split(", ")
        }
        for side, part in parts.items()
    }


def list_in_code() -> dict[str, dict[str, tuple[str, str, str]]]:
    """The same of the code."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {side: {} for side in SIDES}
    for package in PACKAGES:
        splitting = package.name.split("==") if package.index == "pypi" else PurePosixPath(package.name).name.split("_")
        for side in SIDES:
            for path in getattr(package, side):
                assert PurePosixPath(path).stem not in found[side]
                found[side][PurePosixPath(path).stem] = (package.index, splitting[0], splitting[1])
    return found


def test_people_are_told_the_same_as_machines():
    assert told() == list_in_code()
    counts = {side: len(names) for side, names in list_in_code().items()}
    readme = (TRAINING / "README.md").read_text()
    assert f"{counts['train']} photographs under CC0" in readme
    assert f"{counts['held_out']} photographs that were never trained on" in readme


def test_nothing_that_is_held_out_is_trained_on():
    assert not list_in_code()["train"].keys() & list_in_code()["held_out"].keys()


def test_every_package_has_its_checksum():
    sums = [package.sha256 for package in PACKAGES]
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in sums) and len(set(sums)) == len(sums)
