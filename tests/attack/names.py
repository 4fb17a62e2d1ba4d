"""Names of results, and tables beside weights."""

import json
import os
import random
import shutil
from functools import cache
from pathlib import Path

from exact_vae.vae_core import inspect
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.files import next_series, write_atomically
from exact_vae.vae_core.files.safetensors_header import read_header

from attack.harness import Attack
from attack.hostile import TEXTS, make_value, mutate

PIECES = (
    *TEXTS,
    "%batch_num%",
    "%width%",
    "%month%",
    "/",
    "//",
    "../",
    "./",
    "a",
    "b_00001_",
    "_",
    ".png",
    "\\",
    "~",
    "-",
)


def make_prefix(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 7)))


def save_twice(prefix: str, folder: Path) -> None:
    """Two files, two names, inside the folder; nothing beside it."""
    out, seen = folder / "out", {}
    (folder / "victim").write_text("kept")
    try:
        for text in ("one", "two"):
            file = next_series(out, prefix, {"width": 8}).file(rng_index(prefix), ".txt")
            with write_atomically(file) as part:
                part.write_text(text)
            seen[file.path] = text
    finally:
        assert {p.name for p in folder.iterdir()} <= {"out", "victim"}, "a file outside of its folder"
        assert (folder / "victim").read_text() == "kept"
        assert not list(folder.rglob("*.part")), "a part is left"
    assert {p.read_text() for p in out.rglob("*.txt") if p.is_file()} == {"one", "two"} == set(seen.values())
    assert len(seen) == 2 and all(path.is_relative_to(out) for path in seen)


def rng_index(prefix: str) -> int:
    return len(prefix) % 13


@cache
def list_names() -> tuple[str, ...]:
    return tuple(read_header(built_in.VAE_FILE)[0])


def make_tables(rng: random.Random) -> dict:
    """What lies beside the weights of a diffusers folder, mutated."""
    weight = "diffusion_pytorch_model.safetensors"
    config = {"_class_name": "AutoencoderKL", "latent_channels": 4, "scaling_factor": 0.18215, "norm_num_groups": 32,
              "act_fn": "silu", "shift_factor": None, "block_out_channels": [64, 64]}  # fmt: skip
    tables = {"config.json": config, f"{weight}.index.json": {"weight_map": {n: weight for n in list_names()[:3]}}}
    if rng.random() < 0.5:
        del tables[f"{weight}.index.json"]
    tables = mutate(tables, rng, rng.randrange(1, 4))
    return {name: table for name, table in tables.items() if name in ("config.json", f"{weight}.index.json")} | {
        "config.json": tables.get("config.json", make_value(rng))
    }


def inspect_folder(tables: dict, folder: Path) -> None:
    shutil.copy(built_in.VAE_FILE, folder / "diffusion_pytorch_model.safetensors")
    for name, table in tables.items():
        (folder / name).write_text(json.dumps(table))
    before = sorted(os.listdir(folder))
    inspect(folder)
    assert sorted(os.listdir(folder)) == before


ATTACKS = (
    Attack("prefixes of names", make_prefix, save_twice, 10_000),
    Attack("tables of a diffusers folder", make_tables, inspect_folder, 1_000),
)
