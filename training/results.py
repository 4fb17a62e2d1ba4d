"""Writes the result of a run, and measures it on photographs that it never saw."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save

from ..vae_core import VAE, detect
from ..vae_core.files import write_atomically
from ..vae_core.images import colour_shift, psnr, ssim, to_levels, to_pixel_range, to_unit_range
from .images import open_image, shrink
from .trainer import Trainer

LONG_SIDE = 768  # of photographs as they are measured
SHEET_COLUMNS, SHEET_WIDTH = 4, 380


def export(trainer: Trainer, path: Path, data: str) -> None:
    """Write the average of the weights in fp16 under CompVis names, with data and recipe in the metadata."""
    weights = {name: t.half().cpu().contiguous() for name, t in trainer.average.state_dict().items()}
    config = detect({name: tuple(t.shape) for name, t in weights.items()}).config
    metadata = {
        "format": "pt",
        "modelspec.title": f"Exact VAE {trainer.recipe.name}",
        "modelspec.architecture": f"Autoencoder-KL, {config.latent_channels} channels at 1/{config.spatial_ratio}",
        "modelspec.license": "MIT",
        "data": data,
        "recipe": json.dumps(trainer.recipe.to_dict()),
        "steps": str(trainer.step),
    }
    with write_atomically(path) as part:
        part.write_bytes(save(weights, metadata))  # save_file would hide the file from all but its owner


class Measurement(NamedTuple):
    name: str
    original: Image.Image
    decoded: Image.Image
    psnr: float
    ssim: float
    colour_shift: float
    nats: float


def measure_photographs(vae: VAE, photographs: Iterable[Path], long_side: int | None) -> Iterator[Measurement]:
    """Each photograph, shrunk to this long side if it is longer, encoded, decoded from the mode, and compared."""
    for path in photographs:
        yield measure_image(vae, shrink_to(open_image(path), long_side), path.name)


def shrink_to(image: Image.Image, long_side: int | None) -> Image.Image:
    """The image, shrunk to this long side if it is longer."""
    if not long_side or long_side >= max(image.size):
        return image
    return shrink(image, max(1, round(min(image.size) * long_side / max(image.size))))


def measure_image(vae: VAE, image: Image.Image, name: str) -> Measurement:
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    posterior = vae.encode(to_pixel_range(x))
    y = to_unit_range(vae.decode(posterior.mode(), size=posterior.size)).clamp(0, 1).cpu()
    decoded = Image.fromarray(to_levels(y[0]).permute(1, 2, 0).numpy())
    return Measurement(
        name=name,
        original=image,
        decoded=decoded,
        psnr=psnr(x, y).item(),
        ssim=ssim(x, y).item(),
        colour_shift=colour_shift(x, y).item(),
        nats=posterior.kl().item() / posterior.mean.numel(),
    )


def format_section(vae: VAE, long_side: int | None, rows: list[Measurement]) -> str:
    """Markdown: a heading, how it was measured, and the table."""
    how = f"Long side {long_side} pixels" if long_side else "In their own sizes"
    dtype = str(vae.dtype).removeprefix("torch.")
    return f"## {how}\n\nDecoded from the mode, computed in {dtype}.\n\n{format_table(rows)}"


def format_table(rows: list[Measurement]) -> str:
    """Markdown, a row for each photograph and one for their mean."""
    lines = [
        "| photograph | size | PSNR, dB | SSIM | colour shift, % | KL, nats a value |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        size = f"{r.original.width}x{r.original.height}"
        lines.append(f"| {r.name} | {size} | {r.psnr:.2f} | {r.ssim:.4f} | {100 * r.colour_shift:.3f} | {r.nats:.2f} |")
    psnr, ssim, shift, nats = np.mean([(r.psnr, r.ssim, r.colour_shift, r.nats) for r in rows], axis=0)
    lines.append(f"| **mean** | | **{psnr:.2f}** | **{ssim:.4f}** | **{100 * shift:.3f}** | **{nats:.2f}** |")
    return "\n".join(lines)


def save_contact_sheet(rows: list[Measurement], path: Path) -> None:
    """Save a sheet of all photographs, each original above its decoded copy."""
    save_sheet(
        [make_cell((r.original, r.decoded), f"{r.name}  {r.psnr:.2f} dB  SSIM {r.ssim:.3f}") for r in rows], path
    )


def save_sheet(cells: Sequence[Image.Image], path: Path) -> None:
    """Save cells in rows as a JPEG."""
    lines = [cells[i : i + SHEET_COLUMNS] for i in range(0, len(cells), SHEET_COLUMNS)]
    heights = [max(one.height for one in line) for line in lines]
    whole = Image.new("RGB", (SHEET_COLUMNS * SHEET_WIDTH, sum(heights)), "white")
    for n, line in enumerate(lines):
        for column, one in enumerate(line):
            whole.paste(one, (column * SHEET_WIDTH, sum(heights[:n])))
    with write_atomically(path) as part:
        whole.save(part, "JPEG", quality=85)


def make_cell(images: Sequence[Image.Image], caption: str) -> Image.Image:
    """Images of one shape above one another, with a caption."""
    width, n = SHEET_WIDTH - 8, len(images)
    height = max(1, round(width * images[0].height / images[0].width))
    sheet = Image.new("RGB", (SHEET_WIDTH, n * (height + 2) + 24), "white")
    for i, image in enumerate(images):
        sheet.paste(image.resize((width, height), Image.Resampling.LANCZOS), (4, 4 + i * (height + 2)))
    ImageDraw.Draw(sheet).text((4, n * (height + 2) + 6), caption, fill="black")
    return sheet
