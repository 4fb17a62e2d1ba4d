"""exact-vae demo: sends a photograph through a VAE and back, and writes a page that says how near the copy is."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..headless import image_files
from ..nodes.images import to_image, to_pixels
from ..vae_core import VAE, Posterior, readers
from ..vae_core.checkpoints import built_in
from ..vae_core.files import make_folder
from ..vae_core.images import WHITE_HOT, channel_grid, colour_shift, heat_map, psnr, ssim
from .options import add_json, add_vae, demand_new, load_vae, print_result
from .progress import bar
from .report import write_report

T = TypeVar("T")
CAPTIONS = {
    "original.png": "the image",
    "decoded.png": "encoded and decoded",
    "latent.png": "the channels of its latent: grey is the mean, black and white three standard deviations from it",
    "error.png": f"where they differ: black not at all, white by {WHITE_HOT:.0%} of the range or more",
}
PAGE = "report.html"


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("demo", help="encode and decode a photograph, and measure the difference")
    command.add_argument(
        "image",
        nargs="?",
        type=Path,
        metavar="IMAGE",
        help="an image (default: a photograph that comes with this package)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("exact-vae-demo"), metavar="DIR", help="the folder to write to"
    )
    add_vae(command)
    add_json(command)
    command.set_defaults(do=run)


def run(options: argparse.Namespace) -> None:
    source = options.image or built_in.PHOTOGRAPH
    for name in (*CAPTIONS, PAGE):
        demand_new(options.out / name, [source, *options.vae])
    image = readers.read_first(source)
    vae, loading = measure_seconds(lambda: load_vae(options))
    make_folder(options.out)  # fails before the work if the folder cannot be written
    with bar("encode") as progress:
        posterior, encoding = measure_seconds(lambda: vae.encode(to_pixels(image, vae.in_channels), progress=progress))
    with bar("decode") as progress:
        pixels, decoding = measure_seconds(lambda: vae.decode(posterior.mode(), size=posterior.size, progress=progress))
    decoded = to_image(pixels)[..., :3].cpu()
    facts = {
        "image": f"{source.name}, {image.shape[2]}x{image.shape[1]}",
        "VAE": f"{vae.name}: {vae.title}",
        **list_facts(posterior, image, vae),
        **compare(to_planes(image), to_planes(decoded)),
        "seconds": f"load {loading:.2f}, encode {encoding:.2f}, decode {decoding:.2f} on {vae.device}",
    }
    write_files(options.out, image, decoded, posterior, f"{source.name} and back", facts)
    facts = {**facts, "report": str(options.out / PAGE)}
    print_result(options, "\n".join(f"{name:<14}{text}" for name, text in facts.items()), facts)


def list_facts(posterior: Posterior, image: Tensor, vae: VAE) -> dict[str, str]:
    _, channels, height, width = posterior.mode().shape
    values = channels * height * width
    nats = posterior.kl().item() / values
    spread = f", {nats:.2f} nats a value from N(0, 1)" if nats else ""
    dtype = str(vae.dtype).removeprefix("torch.")
    return {"latent": f"{width}x{height}, {image.numel() / values:.1f} times fewer values{spread}; {dtype}"}


def compare(a: Tensor, b: Tensor) -> dict[str, str]:
    return {
        "PSNR": f"{psnr(a, b).item():.2f} dB",
        "SSIM": f"{ssim(a, b).item():.4f}",
        "colour shift": f"{colour_shift(a, b).item():.2%} of the range",
    }


def write_files(
    folder: Path, image: Tensor, decoded: Tensor, posterior: Posterior, title: str, facts: dict[str, str]
) -> None:
    """The images and the page about them."""
    latent = posterior.mode().cpu()
    enlarged = max(1, round(image.shape[2] / latent.shape[-1] / 2))
    channels = channel_grid(latent, enlarged)
    error = heat_map(to_planes(image), to_planes(decoded))
    for name, one in zip(CAPTIONS, (image, decoded, channels.movedim(1, -1), error.movedim(1, -1)), strict=True):
        image_files.write(folder / name, one)
    write_report(folder / PAGE, title, facts, {caption: folder / name for name, caption in CAPTIONS.items()})


def measure_seconds(work: Callable[[], T]) -> tuple[T, float]:
    """(the result, the seconds it took)"""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def to_planes(image: Tensor) -> Tensor:
    """IMAGE (B, H, W, C) -> (B, C, H, W)"""
    return image.movedim(-1, 1)
