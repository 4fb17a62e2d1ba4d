"""Part files: what a killed process leaves behind is removed, what another is writing is not."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from exact_vae.vae_core.errors import BadRequest
from exact_vae.vae_core.files.atomic import write_atomically
from exact_vae.vae_core.files.limits import STRANGER
from exact_vae.vae_core.files.parts import open_part, sweep_parts

HOLD = """
import sys, time
from pathlib import Path
from exact_vae.vae_core.files.parts import open_part
with open_part(Path(sys.argv[1])) as part:
    part.write_bytes(b"half")
    print(part, flush=True)
    time.sleep(600)
"""


def write(path: Path, text: str = "whole") -> None:
    with write_atomically(path) as part:
        part.write_text(text)


def start_writer(folder: Path) -> tuple[subprocess.Popen, Path]:
    """Another process that is writing into a folder, and its part."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_parts_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    process, part = start_writer(tmp_path)
    try:
        with open_part(tmp_path) as own:
            write(tmp_path / "a")
            assert {*tmp_path.iterdir()} == {tmp_path / "a", part, own}
    finally:
        process.kill()
        process.wait()
    assert part.read_bytes() == b"half"
    write(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_of_another_machine_only_what_is_old_is_removed(tmp_path):
    part = tmp_path / f".exact-vae-{'0' * 8}-{os.getpid()}-{'1' * 16}.part"
    part.write_text("")
    sweep_parts(tmp_path)
    assert part.exists()
    os.utime(part, (time.time() - 2 * STRANGER,) * 2)
    sweep_parts(tmp_path)
    assert not part.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither FIFOs nor links for everybody")
def test_what_only_looks_like_a_part_hurts_nothing(tmp_path):
    with open_part(tmp_path) as part:
        name = part.name
    others = [name[:-21] + f"{n:016x}.part" for n in range(4)]
    victim = tmp_path / "victim"
    victim.write_text("kept")
    os.symlink(victim, tmp_path / others[0])
    os.mkfifo(tmp_path / others[1])
    (tmp_path / others[2]).mkdir()
    (tmp_path / name.replace(str(os.getpid()), "9" * 10)).write_text("")  # no process has this number
    sweep_parts(tmp_path)
    assert victim.read_text() == "kept"


def test_threads_that_write_one_name_never_tear_it(tmp_path):
    seen, target = set(), tmp_path / "same"
    write(target, "0" * 5000)

    def work(n: int) -> None:
        for _ in range(40):
            write(target, str(n) * 5000)

    writers = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        seen.add(target.read_text())
    assert {text for text in seen if text != text[:1] * 5000} == set()
    assert [*tmp_path.iterdir()] == [target]


def test_the_longest_name_that_there_is(tmp_path):
    write(tmp_path / ("x" * 255))
    assert [len(p.name) for p in tmp_path.iterdir()] == [255]


@pytest.mark.skipif(os.name == "nt", reason="has none of these")
def test_places_for_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (Path("/dev/null"), "'/dev/null' cannot be written: it is a device or a pipe, not a file."),
        (tmp_path / "pipe", "it is a device or a pipe"),
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "x", "there is no folder '.*none'"),
        (tmp_path / "a\0b", "no file can have a name with such letters"),
        (tmp_path / "a\ud800b", "no file can have a name with such letters"),
    ):
        with pytest.raises(BadRequest, match=why):
            write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]
    assert Path("/dev/null").is_char_device()
