"""Lists of a cache that are broken, and a cache that was made with the wrong options: what heals them is said."""

import json

import pytest
from exact_vae.batch import Store
from exact_vae.cli import main

SMALL = ("--area", "32x32", "--step", "16", "--device", "cpu", "--dtype", "fp32")


def build(photos, out, *more) -> int:
    return main(["cache", "build", str(photos), str(out), *SMALL, *more])


@pytest.mark.parametrize("name", ["index.jsonl", "skipped.jsonl", "sources.jsonl"])
@pytest.mark.parametrize("spoilt", ["{", "[1]", "{}", "7"])
def test_a_broken_list_is_made_anew(photos, tmp_path, capsys, name, spoilt):
    out = tmp_path / "out"
    assert build(photos, out) == 0
    whole = (out / name).read_text()
    first, rest = whole.split("\n", 1)
    (out / name).write_text(f"{first}\n{spoilt}\n{rest}")
    capsys.readouterr()
    assert main(["cache", "verify", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"exact-vae: '{out / name}' is broken in line 2: ") and "build --update" in said
    assert build(photos, out, "--update") == 0
    assert (out / name).read_text() == whole and "0 encoded now" in capsys.readouterr().out


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"vae": 1, "recipe": 2}'])
def test_a_broken_job(photos, tmp_path, capsys, spoilt):
    out = tmp_path / "out"
    assert build(photos, out) == 0
    whole = json.loads((out / "job.json").read_text())
    (out / "job.json").write_text(spoilt)
    capsys.readouterr()
    assert build(photos, out, "--update") == 1
    said = capsys.readouterr().err
    assert "Remove it, and build again with the options" in said and said.count("\n") == 1
    (out / "job.json").unlink()
    assert build(photos, out) == 0
    found = json.loads((out / "job.json").read_text())
    assert found == {**whole, "plans": found["plans"]} and "0 encoded now" in capsys.readouterr().out


def test_what_made_nothing_binds_nobody(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert build(photos, out, "--smallest", "4000") == 1
    assert "0 latents" in capsys.readouterr().out
    (photos / "0.png").unlink()
    assert build(photos, out) == 0 and len(list(Store(out).read_rows())) == 4
    capsys.readouterr()
    assert build(photos, out, "--smallest", "4000") == 1
    assert "made otherwise" in capsys.readouterr().err


def test_a_damaged_shard_is_to_be_removed(own, capsys):
    shard = own / "shards" / Store(own).list_shards()[0]
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 255
    shard.write_bytes(damaged)
    assert main(["cache", "verify", str(own)]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"exact-vae: '{own}' is not right: 1 problem, listed above. Remove {shard.name} from '{own / 'shards'}' and "
        "build again.\n"
    )


def test_a_list_of_images_that_is_missing(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert build(photos, out) == 0
    whole = (out / "sources.jsonl").read_text()
    (out / "sources.jsonl").unlink()
    capsys.readouterr()
    assert main(["cache", "verify", str(out)]) == 1
    assert "sources.jsonl: it is missing, so no image was looked at" in capsys.readouterr().out
    assert build(photos, out) == 0 and (out / "sources.jsonl").read_text() == whole
    assert main(["cache", "verify", str(out)]) == 0


def test_other_captions_are_refused(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert build(photos, out) == 0
    index = (out / "index.jsonl").read_text()
    capsys.readouterr()
    assert build(photos, out, "--captions", "none") == 1
    said = capsys.readouterr().err
    assert "are of --captions .txt, not none: give the same, or --update" in said and said.count("\n") == 1
    assert (out / "index.jsonl").read_text() == index
    assert build(photos, out, "--captions", "none", "--update") == 0
    assert {row.caption for row in Store(out).read_rows()} == {None} and build(photos, out, "--captions", "none") == 0


def test_a_job_of_an_earlier_version_says_nothing_of_captions(photos, tmp_path):
    out = tmp_path / "out"
    assert build(photos, out) == 0
    job = json.loads((out / "job.json").read_text())
    del job["captions"]
    (out / "job.json").write_text(json.dumps(job))
    assert build(photos, out, "--captions", "none") == 0
