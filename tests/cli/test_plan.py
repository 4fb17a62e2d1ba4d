"""exact-vae plan: what would run, without running it."""

import json

import pytest
from exact_vae.cli import main


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_the_way_that_would_be_taken_has_an_arrow(capsys):
    assert run("plan", "2048x1024", "--budget", "600MiB", "--device", "cpu") == 0
    title, _, *ways = capsys.readouterr().out.splitlines()
    assert title.startswith("decode 2048x1024 in ") and title.endswith(" under 600 MiB")
    assert [way[:2] for way in ways].count("->") == 1
    assert ways[0].split()[:3] == ["whole", "1", "device"]


def test_as_json(capsys, kl_file):
    assert (
        run("plan", kl_file, "512x512", "--budget", "1GiB", "--encode", "--batch", 3, "--json", "--dtype", "fp32") == 0
    )
    facts = json.loads(capsys.readouterr().out)
    chosen = facts["plans"][facts["chosen"]]
    assert facts["budget"] == 2**30
    assert (chosen["pictures"], chosen["rows"], chosen["shape"]) == (3, 0, [8, 128, 128])
    assert chosen["peak"] <= 2**30 and chosen["work"] > 1e9


def test_a_picture_that_is_streamed_is_not_counted(capsys, kl_file):
    peaks = []
    for more in ([], ["--stream"]):
        assert run("plan", kl_file, "1024x1024", "--json", "--dtype", "fp32", *more) == 0
        peaks.append([plan["peak"] for plan in json.loads(capsys.readouterr().out)["plans"]])
    assert peaks[0][0] == peaks[1][0]  # whole
    assert {a - b for a, b in zip(peaks[0][1:], peaks[1][1:], strict=True)} == {3 * 1024 * 1024 * 4}


def test_what_does_not_fit(capsys, kl_file):
    assert run("plan", kl_file, "4096x4096", "--budget", "10MiB") == 1
    said = capsys.readouterr()
    assert said.out == "" and "needs" in said.err and "only 10 MiB" in said.err


@pytest.mark.parametrize("size", ["512", "0x512", "512x512x3", "-1x5", "axb"])
def test_no_size(size, capsys):
    with pytest.raises(SystemExit) as error:
        run("plan", size)
    assert error.value.code == 2
    capsys.readouterr()
