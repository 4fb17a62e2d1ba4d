"""Names and captions that are no UTF-8: their source is left out with a reason, and nothing else is harmed."""

import json
import os
import tarfile

import pytest
from exact_vae.batch import Store
from exact_vae.batch.captions import BROKEN
from exact_vae.batch.texts import CAPTION, NAME, decode_caption, show
from exact_vae.cli import main
from PIL import Image

SMALL = ("--area", "32x32", "--step", "16", "--device", "cpu", "--dtype", "fp32")


@pytest.fixture
def two(tmp_path):
    """Two images, of which one is fine."""
    folder = tmp_path / "two"
    folder.mkdir()
    for name, colour in (("good.png", "red"), ("other.png", "blue")):
        Image.new("RGB", (32, 32), colour).save(folder / name)
    return folder


def spoil(path) -> str:
    """Give the file a name that is no UTF-8, where the system has such names."""
    named = os.path.join(os.fsencode(path.parent), b"b\xff" + os.fsencode(path.suffix))
    try:
        os.rename(path, named)
    except OSError:
        pytest.skip("this system has no such names")
    return os.fsdecode(named)


def skipped(source, out) -> list[tuple[str, str]]:
    """(path, reason) of what has no latent after two runs; good.png has one, and all lists can be read."""
    for _ in range(2):
        assert main(["cache", "build", str(source), str(out), *SMALL]) == 0
        assert [row.record.path.rpartition("/")[2] for row in Store(out).read_rows()] == ["good.png"]
    assert main(["cache", "verify", str(out)]) == 0
    return [(one.path, one.reason) for one in Store(out).read_skipped() if not one.again]


def test_in_a_folder(two, tmp_path):
    spoil(two / "other.png")
    assert skipped(two, tmp_path / "out") == [(r"b\xff.png", NAME)]


def test_in_a_list(two, tmp_path):
    spoil(two / "other.png")
    (two / "list.txt").write_bytes(b"good.png\nb\xff.png\n")
    assert skipped(two / "list.txt", tmp_path / "out") == [(r"b\xff.png", NAME)]


def test_in_an_archive(two, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(two / "good.png", "good.png")
        archive.add(two / "other.png", "b\udcff.png")
    assert skipped(tmp_path / "all.tar", tmp_path / "out") == [(r"all.tar/b\xff.png", NAME)]


@pytest.mark.parametrize("said", [rb"half a pair \ud83d", b"caf\xe9"])
def test_captions_of_a_list(two, tmp_path, said):
    lines = b'{"path": "good.png", "text": "caf\xc3\xa9"}\n{"path": "other.png", "text": "' + said + b'"}\n'
    (two / "list.jsonl").write_bytes(lines)
    assert skipped(two / "list.jsonl", tmp_path / "out") == [("other.png", CAPTION)]
    (two / "list.csv").write_bytes(b"path,text\ngood.png,caf\xc3\xa9\nother.png,caf\xe9\n")
    assert skipped(two / "list.csv", tmp_path / "csv") == [("other.png", CAPTION)]
    assert [row.caption for row in Store(tmp_path / "csv").read_rows()] == ["café"]


def test_in_a_table(two, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    said = arrow.array([b"fine", b"caf\xe9"])
    text = arrow.StringArray.from_buffers(2, *said.buffers()[1:])
    images = [(two / name).read_bytes() for name in ("good.png", "other.png")]
    parquet.write_table(arrow.table({"image": images, "text": text}), tmp_path / "t.parquet")
    out = tmp_path / "out"
    assert main(["cache", "build", str(tmp_path / "t.parquet"), str(out), *SMALL]) == 0
    assert [row.caption for row in Store(out).read_rows()] == ["fine"]
    assert ["text that is no UTF-8" in one.reason for one in Store(out).read_skipped()] == [True]


@pytest.mark.parametrize("said", [b"caf\xe9", b"\xff\xfeh\0i", b"h\0i\0", b"\xff\xfe\x3d\xd8"])
def test_captions_beside_an_image(two, tmp_path, said):
    (two / "other.txt").write_bytes(said)
    assert skipped(two, tmp_path / "out") == [("other.png", CAPTION)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark(two, tmp_path, encoding):
    (two / "good.txt").write_text("café 中", encoding=encoding)
    (two / "other.txt").write_text("", encoding=encoding)
    lines = [{"path": "good.png", "text": "café 中"}, {"path": "other.png"}]
    (two / "list.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines), encoding)
    for source, captions in ((two, ["café 中", ""]), (two / "list.jsonl", ["café 中", ""])):
        out = tmp_path / f"of {source.name}"
        assert main(["cache", "build", str(source), str(out), *SMALL]) == 0
        assert [row.caption for row in Store(out).read_rows()] == captions


def test_a_letter_that_is_cut():
    long = ("é" * 40_000).encode()
    assert set(decode_caption(long[: 2**16])) == set(decode_caption(b"\xff\xfe" + b"\xe9\0" * 40_000)[1:]) == {"é"}
    assert decode_caption(b"a" + long[: 2**16 - 1])[-2:] == "éé"


def test_a_folder_with_such_a_name(two, tmp_path, capsys):
    named = spoil(two)
    assert main(["cache", "build", named, str(tmp_path / "out"), *SMALL]) == 1
    said = capsys.readouterr().err
    assert said.endswith("b\\xff' has letters that are no UTF-8 in its name: rename it.\n") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["cache", "build", str(tmp_path), named + "/out", *SMALL]) == 1
    assert r"b\xff/out' has letters that are no UTF-8 in its name: rename it." in capsys.readouterr().err


def test_names_as_they_are_shown():
    assert [show(one) for one in ("é", "b\udcff", "b\ud83d")] == ["é", r"b\xff", r"b\ud83d"]


def test_a_caption_that_is_no_json(two, tmp_path):
    (two / "good.json").write_text('{"caption": "red"}')
    (two / "other.json").write_text('{"caption": ')
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for path in sorted(two.iterdir()):
            archive.add(path, path.name)
    for source, name in ((two, "other.png"), (tmp_path / "all.tar", "all.tar/other.png")):
        out = tmp_path / f"of-{source.name}"
        assert main(["cache", "build", str(source), str(out), *SMALL, "--captions", ".json"]) == 0
        assert [row.caption for row in Store(out).read_rows()] == ["red"]
        assert [(one.path, one.reason) for one in Store(out).read_skipped()] == [(name, BROKEN)]


def test_a_line_that_is_no_csv(two, tmp_path):
    (two / "list.csv").write_text(f"path,caption\nother.png,{'x' * 200_000}\ngood.png,red\n")
    why = "this line is no CSV: field larger than field limit (131072)"
    assert skipped(two / "list.csv", tmp_path / "out") == [("list.csv:2", why)]


def test_a_first_line_that_is_no_csv(two, tmp_path, capsys):
    (two / "list.csv").write_text(f"path,{'x' * 200_000}\ngood.png,red\n")
    assert main(["cache", "build", str(two / "list.csv"), str(tmp_path / "out"), *SMALL]) == 1
    assert "list.csv' is no CSV: field larger" in capsys.readouterr().err
