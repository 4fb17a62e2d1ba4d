"""exact-vae cache info: what a folder of latents is."""

import json

from exact_vae.cli import main
from exact_vae.vae_core import load


def test_info(made, capsys):
    assert main(["cache", "info", str(made / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["latents"], found["images"], found["flipped"], found["captions"]) == (8, 4, 4, 8)
    assert found["vae"]["fingerprint"] == load().fingerprint and found["missing"] == 0
    assert sum(found["buckets"].values()) == 8 and sum(found["skipped"].values()) == 4
    assert found["skipped"]["it is a duplicate of another"] == 1 and found["bytes"] > 0


def test_info_for_people(made, capsys):
    assert main(["cache", "info", str(made / "out")]) == 0
    said = capsys.readouterr().out
    assert "unknown, raw" in said and "8 of 4 images, 4 mirrored" in said and "area 32x32" in said


def test_no_cache(tmp_path, capsys):
    assert main(["cache", "info", str(tmp_path)]) == 1
    assert "there is no cache in" in capsys.readouterr().err
