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
