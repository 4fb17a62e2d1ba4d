"""Sources and caches in stores that fsspec reaches: an in-memory one, and this machine's files by fsspec's way."""

import json
import tarfile
from pathlib import Path

import pytest
from exact_vae.batch import LatentDataset, Store
from exact_vae.batch.places import parse_place, place_at, read_stamp, write_whole
from exact_vae.cli import main
from exact_vae.vae_core import BadRequest

upath = pytest.importorskip("upath", reason="universal-pathlib is not installed")
FLAGS = (
    "--area",
    "32x32",
    "--step",
    "16",
    "--flip",
    "--posterior",
    "mean+logvar",
    "--device",
    "cpu",
    "--dtype",
    "fp32",
)
SAME = ("index.jsonl", "skipped.jsonl")


def run(*arguments) -> int:
    return main(["cache", *map(str, arguments)])


@pytest.fixture
def bucket():
    place = upath.UPath("memory://bucket")
    yield place
    if place.exists():
        place.fs.rm(place.path, recursive=True)


def copy(folder: Path, place) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            (place / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())


def demand_same(one: Path, other) -> None:
    names = [*SAME, *(f"shards/{name}" for name in Store(one).list_shards())]
    assert [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()] == []
    assert Store(other).list_shards() == Store(one).list_shards()


def test_a_cache_in_a_store_is_that_of_a_folder(made, bucket, capsys):
    copy(made / "photos", bucket / "photos")
    assert run("build", bucket / "photos", bucket / "out", *FLAGS) == 0
    demand_same(made / "out", bucket / "out")
    assert run("build", bucket / "photos", bucket / "out", *FLAGS, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["encoded"] == 0
    assert run("verify", bucket / "out") == 0 and run("info", bucket / "out") == 0
    (bucket / "photos" / "2.png").write_bytes((bucket / "photos" / "3.png").read_bytes())
    assert run("build", bucket / "photos", bucket / "out", *FLAGS) == 1
    assert "changed" in capsys.readouterr().err


def test_lists_and_archives_in_a_store(made, bucket, tmp_path):
    copy(made / "photos", bucket / "photos")
    (bucket / "list.jsonl").write_text("".join(json.dumps({"path": f"photos/{i}.png"}) + "\n" for i in range(4)))
    (tmp_path / "list.txt").write_text("".join(f"{bucket}/photos/{i}.png\n" for i in range(4)))
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for i in range(4):
            archive.add(made / "photos" / f"{i}.png", f"{i}.png")
    (bucket / "all.tar").write_bytes((tmp_path / "all.tar").read_bytes())
    keys = {row.record.key: row.entry.digest for row in Store(made / "out").read_rows()}
    for number, source in enumerate((bucket / "list.jsonl", tmp_path / "list.txt", bucket / "all.tar")):
        assert run("build", source, tmp_path / str(number), *FLAGS) == 0
        assert {row.record.key: row.entry.digest for row in Store(tmp_path / str(number)).read_rows()} == keys


def test_files_of_this_machine_by_their_urls(made, tmp_path):
    assert parse_place(f"file://{tmp_path}") == tmp_path
    assert run("build", f"local://{made}/photos", f"local://{tmp_path}/out", *FLAGS) == 0
    demand_same(made / "out", tmp_path / "out")


def test_what_is_sent_in_part_does_not_appear(bucket):
    with pytest.raises(ZeroDivisionError), write_whole(bucket / "x") as part:
        part.write_bytes(b"half")
        raise ZeroDivisionError
    assert not (bucket / "x").exists()
    with write_whole(bucket / "x") as part:
        part.write_bytes(b"whole")
    assert (bucket / "x").read_bytes() == b"whole" and read_stamp(bucket / "x")[0] == 5


def test_paths_are_paths():
    assert parse_place("a/b") == Path("a/b") and parse_place(r"C:\photos") == Path(r"C:\photos")
    assert place_at(Path("a"), "b.png") == Path("a/b.png")
    assert str(place_at(Path("a"), "memory://b/c.png")) == "memory://b/c.png"


def test_what_is_missing_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(BadRequest, match="no store that fsspec knows"):
        parse_place("nowhere://a/b")
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(BadRequest, match="needs a package for s3://: Install s3fs"):
        parse_place("s3://never-asked/b")
    monkeypatch.setitem(__import__("sys").modules, "upath", None)
    with pytest.raises(BadRequest, match=r'pip install "exact-vae\[remote\]"'):
        parse_place("s3://a/b")


def test_training_reads_what_is_on_this_machine():
    with pytest.raises(BadRequest, match="copy it to this machine"):
        LatentDataset("memory://bucket/out")
