"""What came of a run: its file, its curves, and how photographs that it never saw come back."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from safetensors.torch import save

from ..vae_core import VAE, measures
from ..vae_core.writing import published
from .pictures import opened, shrunk
from .trainer import Trainer

LONG_SIDE = 768  # of photographs as they are measured
SHEET_COLUMNS, SHEET_WIDTH = 4, 380


def export(trainer: Trainer, path: Path, data: str) -> None:
    """The average of the weights, fp16, under CompVis names; the metadata says what it is and how it came to be."""
    weights = {name: t.half().cpu().contiguous() for name, t in trainer.average.state_dict().items()}
    config = trainer.recipe.config
    metadata = {
        "format": "pt",
        "modelspec.title": f"Exact VAE {trainer.recipe.name}",
        "modelspec.architecture": f"Autoencoder-KL, {config.latent_channels} channels at 1/{config.spatial_ratio}",
        "modelspec.license": "MIT",
        "data": data,
        "recipe": json.dumps(trainer.recipe.to_dict()),
        "steps": str(trainer.step),
    }
    with published(path) as part:
        part.write_bytes(save(weights, metadata))  # save_file would hide the file from all but its owner


def draw_curves(history: list[dict[str, float]], path: Path, smooth: int = 10) -> None:
    """PSNR of the training crops, nats per latent value and the learning rate, over the steps."""
    steps = np.array([row["step"] for row in history])
    columns = {name: np.array([row[name] for row in history]) for name in ("squared", "nats", "rate")}
    curves = {
        "PSNR of the crops (dB)": 10 * np.log10(4 / running_mean(columns["squared"], smooth)),
        "KL (nats a latent value)": running_mean(columns["nats"], smooth),
        "learning rate": columns["rate"],
    }
    figure = Figure(figsize=(8, 7), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(len(curves), sharex=True), curves.items(), strict=True):
        axes.plot(steps, values)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    figure.supxlabel("step")
    with published(path) as part:
        figure.savefig(part, format="png", dpi=100)


def running_mean(values: np.ndarray, n: int) -> np.ndarray:
    """Of the last n values; of fewer at the beginning."""
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    at = np.arange(1, len(sums))
    first = np.maximum(at - n, 0)
    return (sums[at] - sums[first]) / (at - first)


class Measured(NamedTuple):
    name: str
    original: Image.Image
    decoded: Image.Image
    psnr: float
    ssim: float
    colour_shift: float
    nats: float


def measure(vae: VAE, photographs: Iterable[Path], long_side: int | None) -> Iterator[Measured]:
    """Each photograph, shrunk to this long side if it is longer, encoded, decoded from the mode, and compared."""
    for path in photographs:
        picture = opened(path)
        if long_side and long_side < max(picture.size):
            picture = shrunk(picture, max(1, round(min(picture.size) * long_side / max(picture.size))))
        yield measured(vae, picture, path.name)


def measured(vae: VAE, picture: Image.Image, name: str) -> Measured:
    x = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None] / 255
    posterior = vae.encode(x * 2 - 1)
    y = ((vae.decode(posterior.mode(), size=posterior.size) + 1) / 2).clamp(0, 1).cpu()
    decoded = Image.fromarray((y[0].permute(1, 2, 0) * 255).round().byte().numpy())
    return Measured(
        name=name,
        original=picture,
        decoded=decoded,
        psnr=measures.psnr(x, y).item(),
        ssim=measures.ssim(x, y).item(),
        colour_shift=measures.colour_shift(x, y).item(),
        nats=posterior.kl().item() / posterior.mean.numel(),
    )


def section(vae: VAE, long_side: int | None, rows: list[Measured]) -> str:
    """A heading, how it was measured, and the table."""
    how = f"Long side {long_side} pixels" if long_side else "In their own sizes"
    dtype = str(vae.dtype).removeprefix("torch.")
    return f"## {how}\n\nDecoded from the mode, computed in {dtype}.\n\n{table(rows)}"


def table(rows: list[Measured]) -> str:
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


def contact_sheet(rows: list[Measured], path: Path) -> None:
    """Every photograph, the original above what came back."""
    cells = [cell(row) for row in rows]
    lines = [cells[i : i + SHEET_COLUMNS] for i in range(0, len(cells), SHEET_COLUMNS)]
    heights = [max(one.height for one in line) for line in lines]
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_WIDTH, sum(heights)), "white")
    for n, line in enumerate(lines):
        for column, one in enumerate(line):
            sheet.paste(one, (column * SHEET_WIDTH, sum(heights[:n])))
    with published(path) as part:
        sheet.save(part, "JPEG", quality=85)


def cell(row: Measured) -> Image.Image:
    width = SHEET_WIDTH - 8
    height = max(1, round(width * row.original.height / row.original.width))
    image = Image.new("RGB", (SHEET_WIDTH, 2 * height + 28), "white")
    for i, picture in enumerate((row.original, row.decoded)):
        image.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (4, 4 + i * (height + 2)))
    ImageDraw.Draw(image).text(
        (4, 2 * height + 10), f"{row.name}  {row.psnr:.2f} dB  SSIM {row.ssim:.3f}", fill="black"
    )
    return image
