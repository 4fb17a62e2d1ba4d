"""Small caches as trainers write them, from the published formats: each writer keeps one latent of one image."""

import gzip
import hashlib
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

Writer = Callable[[Path, Path, torch.Tensor], Path]  # (folder, image, latent) -> the file


def size_of(image: Path) -> tuple[int, int]:
    with Image.open(image) as file:
        return file.size


def sd_scripts(folder: Path, image: Path, latent: torch.Tensor, model: str = "sd", sized: bool = False) -> Path:
    width, height = size_of(image)
    end = f"_{latent.shape[-2]}x{latent.shape[-1]}" if sized else ""
    path = folder / f"{image.stem}_{width:04d}x{height:04d}_{model}.npz"
    arrays = {"latents": latent.float().numpy(), "original_size": np.array((width, height)), "crop_ltrb": np.zeros(4)}
    np.savez(path, **{f"{name}{end}": value for name, value in arrays.items()})
    return path


def flux(folder: Path, image: Path, latent: torch.Tensor) -> Path:
    return sd_scripts(folder, image, latent, "flux", True)


def musubi(folder: Path, image: Path, latent: torch.Tensor, model: str = "wan") -> Path:
    width, height = size_of(image)
    architecture = {"wan": "wan", "zi": "z_image"}[model]
    metadata = {"architecture": architecture, "width": f"{width}", "height": f"{height}", "format_version": "1.0.1"}
    path = folder / f"{image.stem}_{width:04d}x{height:04d}_{model}.safetensors"
    name = f"latents_1x{latent.shape[-2]}x{latent.shape[-1]}_{str(latent.dtype).removeprefix('torch.')}"
    save_file({name: latent.contiguous()}, path, metadata=metadata)
    return path


def diffusion_pipe(folder: Path, image: Path, latent: torch.Tensor) -> Path:
    """An item in the one shard of a bucket of 64x64 pixels; a second one is put behind it."""
    place = folder / "cache" / "sd" / "cache_1.000x64x64x1" / "latents"
    place.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    torch.save({"latents": latent.clone(), "mask": None, "image_spec": [None, str(image)], "caption": ["a"]}, data)
    shard = place / "shard_0.bin"
    offset = shard.stat().st_size if shard.exists() else 0
    with shard.open("ab") as file:
        file.write(data.getvalue())
    with closing(sqlite3.connect(place / "metadata.db")) as base:
        base.execute("CREATE TABLE IF NOT EXISTS fingerprint(value)")
        base.execute("CREATE TABLE IF NOT EXISTS items(shard, shard_index)")
        base.execute("CREATE TABLE IF NOT EXISTS shard_0(offset, size)")
        (count,) = base.execute("SELECT COUNT(*) FROM items").fetchone()
        base.execute("INSERT INTO items VALUES (0, ?)", (count,))
        base.execute("INSERT INTO shard_0 VALUES (?, ?)", (offset, len(data.getvalue())))
        base.commit()
    return place / "metadata.db"


def simple_tuner(folder: Path, image: Path, latent: torch.Tensor) -> Path:
    path = folder / f"{hashlib.sha256(image.stem.encode()).hexdigest()}.pt"
    torch.save(latent.clone(), path)
    return path


def simple_tuner_packed(folder: Path, image: Path, latent: torch.Tensor) -> Path:
    path = folder / f"{image.stem}.pt"
    data = io.BytesIO()
    torch.save({"latents": latent.clone()}, data)
    with gzip.GzipFile(path, "wb") as file:
        file.write(data.getvalue())
    return path


def one_trainer(folder: Path, image: Path, latent: torch.Tensor) -> Path:
    place = folder / "image" / ("0" * 64) / "variation-0"
    place.mkdir(parents=True, exist_ok=True)
    told = torch.load(place / "aggregate.pt", weights_only=True) if (place / "aggregate.pt").exists() else []
    path = place / f"{len(told)}.pt"
    torch.save({"latent_image": latent.clone(), "original_resolution": size_of(image), "crop_offset": (0, 0)}, path)
    told.append({"crop_resolution": (latent.shape[-2] * 8, latent.shape[-1] * 8), "image_path": str(image)})
    torch.save(told, place / "aggregate.pt")
    return path
