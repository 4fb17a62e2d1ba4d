"""Numbers of files: nobody gets one that another has, and reading them takes no longer than their names are."""

import errno
import os
import subprocess
import sys
import threading

import pytest
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.files import next_series, series, write_atomically

SAVE = """
import sys
from pathlib import Path
from exact_vae.vae_core.files import next_series, write_atomically
print("ready", flush=True)
sys.stdin.readline()
for i in range(int(sys.argv[2])):
    with write_atomically(next_series(Path(sys.argv[1]), "x", {}).file(0, ".txt")) as part:
        part.write_text(f"{sys.argv[3]} {i}")
"""


def save(folder, text, prefix="x"):
    file = next_series(folder, prefix, {}).file(0, ".txt")
    with write_atomically(file) as part:
        part.write_text(text)
    return file.path


def test_processes_never_share_a_number(tmp_path):
    n = 40
    command = [sys.executable, "-c", SAVE, str(tmp_path), str(n)]
    both = [
        subprocess.Popen([*command, str(p)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for p in range(2)
    ]
    for one in both:
        assert one.stdout and one.stdout.readline() == "ready\n"
    for one in both:
        one.communicate("\n")
    assert {p.read_text() for p in tmp_path.iterdir()} == {f"{p} {i}" for p in range(2) for i in range(n)}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"x_{i + 1:05}_.txt" for i in range(2 * n)]


def refuse(*paths):
    raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_threads_never_share_a_number(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    work = [threading.Thread(target=lambda n=n: [save(tmp_path, f"{n} {i}") for i in range(15)]) for n in range(4)]
    for one in work:
        one.start()
    for one in work:
        one.join()
    assert {p.read_text() for p in tmp_path.iterdir()} == {f"{n} {i}" for n in range(4) for i in range(15)}


def test_a_number_that_was_taken_meanwhile(tmp_path):
    files = next_series(tmp_path, "x", {})
    first, second = files.file(0, ".txt"), files.file(1, ".txt")
    assert str(first) == str(tmp_path / "x_00001_.txt")
    (tmp_path / "x_00001_.txt").write_text("another's")
    for file in (first, second):
        with write_atomically(file) as part:
            part.write_text("ours")
    assert [p.path.name for p in (first, second)] == ["x_00002_.txt", "x_00003_.txt"]
    assert (tmp_path / "x_00001_.txt").read_text() == "another's"


def test_windows_renames_only_to_free_names(tmp_path, monkeypatch):
    def rename(part, path):
        if os.path.exists(path):
            raise FileExistsError(path)
        os.replace(part, path)

    monkeypatch.setattr(series.os, "rename", rename)
    for taken in (False, True):
        (tmp_path / "part").write_text("ours")
        assert series._rename_to_new(tmp_path / "part", tmp_path / "x") is not taken


@pytest.mark.parametrize(
    ("stem", "names", "number"),
    [
        ("x", ["x_00003_.png", "x_00007.latent", "xx_00009_.png", "x_a_.png", "x_0011b.png", "x"], 8),
        ("x", ["x_00003_.png", "x_00012_upscaled.png", "x_00009_ (1).png", "x_00013.", "x_-20_.png"], 14),
        ("a%batch_num%", ["a0_00001_.png", "a12_00004_.png", "ab_00009_.png", "a_00009_.png"], 5),
        ("%batch_num%-%batch_num%", ["3-3_00002_.png", "3-4_00008_.png", "10-10_00003_.png"], 4),
        ("%batch_num%", ["1_00002_.png", "_00009_.png"], 3),
        ("%batch_num%", ["1_00002_.png", "%batch_num%_00009_.png"], 10),
        ("", ["_00004_.png", "x_00009_.png"], 5),
    ],
)
def test_the_next_number(stem, names, number):
    assert series._next_number(stem, names) == number


def test_a_prefix_of_many_batch_numbers_is_read_at_once(tmp_path):
    """Read by a regular expression, sixty digits took years to be shared by ninety numbers."""
    (tmp_path / f"{'1' * 200}_00001_.png").write_text("")
    assert series._next_number("%batch_num%" * 90 + "x", ["1" * 200 + "_00001_.png"] * 10) == 1
    assert save(tmp_path, "", "%batch_num%" * 90).name == "0" * 90 + "_00001_.txt"


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("x" * 1001, "is too long: a prefix of file names has 1000 letters at most"),
        ("a/" * 40, "is too deep: a prefix of file names has 32 subfolders at most"),
        ("a\0b", "no file can have a name with such letters"),
        ("a\0b/c", "no file can have a name with such letters"),
        ("\ud800", "no file can have a name with such letters"),
        ("../x", "lies outside the folder"),
        (None, "is text, not NoneType"),
        ("x" * 300, "File name too long"),
    ],
)
def test_prefixes_that_are_refused(tmp_path, prefix, why):
    with pytest.raises(BadRequest, match=why):
        save(tmp_path, "", prefix)
    assert not list(tmp_path.iterdir())
