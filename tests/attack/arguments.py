"""Command lines."""

import contextlib
import io
import os
import random
from pathlib import Path

import torch
from exact_vae.cli import main
from exact_vae.vae_core import VAEError
from exact_vae.vae_core.latents.files import write_latent
from PIL import Image

from attack.harness import LONGEST_SENTENCE, Attack
from attack.hostile import TEXTS

VALUES = ("-1", "0", "1", "8", "9" * 400, "1e9", "0.5", "nan", "inf", "2147483648", "auto", "cpu", "cuda:99", "hpu",
          "meta", "fp32", "fp64", "64MiB", "1GiB", "-5GB", "1" + "0" * 400, "32x32", "0x0", "x", "disk", "sd1", "flux1",
          "a.png", "a.latent", "out.png", "out.tif", "out.latent", "none/x.png", "/dev/null", "/dev/zero", ".", "..",
          "g.json", "1.width=8", "1.filename_prefix=" + "[" * 5000, "1.x", "=")  # fmt: skip
OPTIONS = {
    "plan": ("--budget", "--encode", "--batch", "--frames", "--dtype", "--device", "--stream", "--json"),
    "inspect": ("--json",),
    "encode": (
        "--sample",
        "--vae",
        "--dtype",
        "--device",
        "--budget",
        "--rows",
        "--keep",
        "--scratch",
        "--latent-space",
    ),
    "decode": ("--out", "--vae", "--dtype", "--device", "--budget", "--rows", "--keep", "--scratch", "--light"),
    "run": ("--set", "--input", "--output", "--models"),
    "train": ("--data", "--steps", "--crop", "--batch", "--seed", "--threads", "--rate", "--save-every"),
}
FITTING = {"--budget": ("1GiB", "64MiB"), "--batch": ("1", "3"), "--frames": ("5",), "--dtype": ("fp32", "auto"),
           "--device": ("cpu",), "--sample": ("0", "7"), "--rows": ("1", "8"), "--keep": ("disk", "device"),
           "--scratch": (".",), "--set": ("1.width=8", "2.filename_prefix=%batch_num%"), "--seed": ("3",),
           "--threads": ("1",)}  # fmt: skip
USUAL = {
    "plan": ["32x32"],
    "inspect": ["a.latent"],
    "encode": ["a.png", "out.latent"],
    "decode": ["a.latent", "out.png"],
    "run": ["g.json"],
    "train": ["--data", "empty"],
}
GRAPH = """{"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}"""


def make_arguments(rng: random.Random) -> list[str]:
    command = rng.choice(list(OPTIONS))
    arguments = [command, *USUAL[command]]
    for _ in range(rng.randrange(3)):
        kind = rng.randrange(6)
        if kind == 0:
            arguments[rng.randrange(len(arguments))] = rng.choice(VALUES)
        elif kind == 1:
            arguments.insert(rng.randrange(1, len(arguments) + 1), rng.choice((*VALUES, *TEXTS)))
        elif kind == 2:
            arguments += [rng.choice(OPTIONS[command]), rng.choice(VALUES)]
        else:
            name = rng.choice(OPTIONS[command])
            arguments += [name, *([rng.choice(FITTING[name])] if name in FITTING else [])]
    return arguments


def call(arguments: list[str], folder: Path) -> None:
    """Done with code 0; refused with 1 and one sentence, or with 2 and the usage. Nothing half is left."""
    Image.new("RGB", (19, 13)).save(folder / "a.png")
    write_latent(folder / "a.latent", torch.zeros(1, 4, 2, 3))
    (folder / "g.json").write_text(GRAPH)
    (folder / "empty").mkdir()
    out, err, here, threads = io.StringIO(), io.StringIO(), os.getcwd(), torch.get_num_threads()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code(arguments)
    finally:
        os.chdir(here)
        torch.set_num_threads(threads)
    assert not list(folder.rglob("*.part")), "a part is left"
    said = err.getvalue()
    assert "Traceback" not in said
    if code == 0:
        return
    assert code in (1, 2), code
    assert code == 2 or (said.startswith("exact-vae: ") and said.count("\n") == 1), said[:500]
    raise VAEError(said.strip().splitlines()[-1][:LONGEST_SENTENCE])


def _exit_code(arguments: list[str]) -> int | str | None:
    try:
        return main(arguments)
    except SystemExit as e:
        return e.code or 0


ATTACKS = (Attack("command lines", make_arguments, call, 3_000),)
