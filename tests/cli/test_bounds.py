"""What nobody can mean is refused in a sentence, before anything is computed."""

import argparse
import errno
import os
import signal
import subprocess
import sys

import pytest
import torch
from exact_vae import cli
from exact_vae.cli import main, options
from exact_vae.training.processes import MOST_THREADS
from exact_vae.vae_core import BadRequest

HUGE = "9" * 5000  # more digits than Python reads


def said_by(capsys, *arguments) -> str:
    """What a command says that is refused, on stderr; its last line."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as e:
        code = e.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code in (1, 2) and "Traceback" not in "".join(lines)
    assert len(lines[-1]) < 4000
    return lines[-1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("plan", "64x64", "--budget", "1" + "0" * 400), "is more memory than any machine has"),
        (("plan", "64x64", "--budget", HUGE), "is more memory than any machine has"),
        (("plan", "64x64", "--budget", "9" * 200 + "TiB"), "is more memory than any machine has"),
        (("plan", "64x64", "--batch", HUGE), "is more than can be counted"),
        (("plan", "64x64", "--frames", "0"), "a whole number above 0 is needed, not '0'"),
        (("plan", f"{HUGE}x64"), "is more than can be counted"),
        (("plan", "٣x٣"), "a size is WIDTHxHEIGHT"),
        (("plan", "64x64", "--device", "hpu"), "the device 'hpu' cannot be used: this torch has no such device"),
        (("plan", "64x64", "--device", "vulkan"), "this torch has no such device"),
        (("plan", "64x64", "--device", "x" * 100_000), "cannot be used"),
        (("plan", "x" * 100_000, "64x64"), "File name too long"),
        (("plan", "a\0b", "64x64"), "there is no file"),
        (("encode", "a.png", "b.safetensors", "--rows", HUGE), "invalid int value"),
        (
            ("encode", "a.png", "b.safetensors", "--sample", "-1"),
            "a seed is a whole number from 0 to 1844674407",
        ),
        (("encode", "a.png", "b.safetensors", "--sample", HUGE), "a seed is a whole number"),
        (("train", "--data", ".", "--seed", "-1"), "a seed is a whole number"),
        (("train", "--data", ".", "--seed", "1e9"), "a seed is a whole number"),
        (("train", "--data", ".", "--threads", "2147483648"), "threads are more than any processor has"),
        (("train", "--data", ".", "--threads", "100000"), "threads are more than any processor has: use 1024 at most"),
        (("doctor", "--widths", HUGE), "a chart is 16384 pixels wide at most"),
        (("run", "/dev/zero"), "is a device"),
        (("inspect", "/dev/zero"), "is a device"),
        (("x" * 100_000,), "invalid choice"),
    ],
)
def test_refused_in_a_sentence(capsys, arguments, why):
    assert why in said_by(capsys, *arguments)


def test_the_most_threads_are_not_too_many():
    """Started in a process of their own, they compute."""
    code = f"import torch; torch.set_num_threads({MOST_THREADS}); print(torch.ones(10**6).sum().item())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1000000.0\n"), done.stderr


def fail_with(monkeypatch, error: BaseException):
    def do(given: argparse.Namespace) -> None:
        raise error

    root = argparse.ArgumentParser()
    root.set_defaults(do=do, quiet=False)
    monkeypatch.setattr(cli, "parser", lambda: root)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MemoryError(), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out"),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory ran out"),
        (OSError(errno.ENOSPC, "No space left on device"), "a result cannot be written: No space left on device."),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.png"), "'a.png' cannot be used: No such file"),
        (BadRequest("it is so."), "exact-vae: it is so."),
    ],
)
def test_whatever_a_user_can_do_something_about_is_a_sentence(monkeypatch, capsys, error, why):
    fail_with(monkeypatch, error)
    assert main([]) == 1
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch):
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.skipif(os.name != "posix", reason="pipes and /dev/full of POSIX")
def test_results_that_nobody_reads_or_that_cannot_be_written():
    command = [sys.executable, "-m", "exact_vae.cli", "env"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "exact-vae: a result cannot be written: No space left on device.\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_that_is_ignored_stays_so():
    """As nohup has SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli._stop_on_kill():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_numbers_on_the_command_line():
    assert [options.parse_positive(said) for said in ("1", "+7", "0012")] == [1, 7, 12]
    assert options.parse_seed("18446744073709551615") == 2**64 - 1
    for said in ("", "+", "1.5", "٣", "1_000", " 1", "-1", "0"):
        with pytest.raises(argparse.ArgumentTypeError):
            options.parse_positive(said)
