"""exact-vae demo: sends a photograph through a VAE and back, and decodes its latent in three ways.

A page shows how near the copy is, and that bands of rows give the whole run's image where blended tiles do not.
"""

import argparse
from pathlib import Path

from torch import Tensor

from ..headless import image_files
from ..nodes.images import to_image, to_pixels
from ..vae_core import VAE, DoesNotFit, Posterior, readers
from ..vae_core.checkpoints import built_in
from ..vae_core.files import make_folder
from ..vae_core.images import WHITE_HOT, channel_grid, colour_shift, heat_map, psnr, ssim
from .options import add_json, add_vae, demand_new, load_vae, print_result
from .progress import bar
from .report import Row, write_report
from .three_ways import BANDS, IN_TILES, WHOLE, Decoded, decode_three_ways
from .timing import measure_seconds

ORIGINAL, DECODED, LATENT, ERROR = "original.png", "decoded.png", "latent.png", "error.png"
DIFFERENCES = {BANDS: "bands.png", IN_TILES: "tiles.png"}  # from the whole run, as heat maps
FILES = (ORIGINAL, DECODED, LATENT, ERROR, *DIFFERENCES.values())
WHITE_SEAM = 0.05  # the difference from the whole run that is drawn white, as a fraction of the range
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
    for name in (*FILES, PAGE):
        demand_new(options.out / name, [source, *options.vae])
    image = readers.read_first(source)
    vae, loading = measure_seconds(lambda: load_vae(options))
    make_folder(options.out)  # fails before the work if the folder cannot be written
    with bar("encode") as progress:
        posterior, encoding = measure_seconds(lambda: vae.encode(to_pixels(image, vae.in_channels), progress=progress))
    with bar("decode") as progress:
        pixels, decoding = measure_seconds(lambda: vae.decode(posterior.mode(), size=posterior.size, progress=progress))
    decoded = to_image(pixels)[..., :3].cpu()
    ways, left_out = try_three_ways(vae, posterior.mode()[:1])
    facts = {
        "image": f"{source.name}, {image.shape[2]}x{image.shape[1]}",
        "VAE": f"{vae.name}: {vae.title}",
        **list_facts(posterior, image, vae),
        **compare(to_planes(image), to_planes(decoded)),
        "seconds": f"load {loading:.2f}, encode {encoding:.2f}, decode {decoding:.2f} on {vae.device}",
        **{way.way: str(way) for way in ways},
        **left_out,
    }
    write_images(options.out, image, decoded, posterior, ways)
    write_page(options.out, source.name, ways, facts)
    facts = {**facts, "report": str(options.out / PAGE)}
    print_result(options, "\n".join(f"{name:<14}{text}" for name, text in facts.items()), facts)


def try_three_ways(vae: VAE, latent: Tensor) -> tuple[list[Decoded], dict[str, str]]:
    """(the ways; why they were left out: a whole run has no room on every machine, and the rest is worth showing)"""
    try:
        return decode_three_ways(vae, latent), {}
    except DoesNotFit as e:
        return [], {"three ways": f"left out: {e}"}


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


def write_images(folder: Path, image: Tensor, decoded: Tensor, posterior: Posterior, ways: list[Decoded]) -> None:
    latent = posterior.mode().cpu()
    enlarged = max(1, round(image.shape[2] / latent.shape[-1] / 2))
    drawn = {
        ORIGINAL: image,
        DECODED: decoded,
        LATENT: channel_grid(latent, enlarged).movedim(1, -1),
        ERROR: heat_map(to_planes(image), to_planes(decoded)).movedim(1, -1),
    }
    shown = {way.way: to_planes(to_image(way.pixels)[..., :3]) for way in ways}
    for way, name in DIFFERENCES.items() if shown else ():
        drawn[name] = heat_map(shown[WHOLE], shown[way], WHITE_SEAM).movedim(1, -1)
    for name, one in drawn.items():
        image_files.write(folder / name, one)


def write_page(folder: Path, name: str, ways: list[Decoded], facts: dict[str, str]) -> None:
    differences = {f"{way.way}: {way}": folder / DIFFERENCES[way.way] for way in ways if way.way in DIFFERENCES}
    less = Row(
        "The same latent, decoded in less memory",
        f"How far two ways are from decoding it at once ({next(iter(ways), '')}): black where they are equal, white "
        f"where they differ by {WHITE_SEAM:.0%} of the range or more.",
        differences,
    )
    kept = Row(
        "What the VAE keeps",
        "What is lost between the image and its copy is lost by the VAE, whatever way it is run.",
        {
            f"where they differ: black not at all, white by {WHITE_HOT:.0%} of the range or more": folder / ERROR,
            "the channels of the latent: grey is the mean, black and white three standard deviations from it": (
                folder / LATENT
            ),
        },
    )
    rows = [less, kept] if ways else [kept]
    compared = {"the image": folder / ORIGINAL, "encoded and decoded": folder / DECODED}
    write_report(folder / PAGE, f"{name} and back", compared, rows, facts)


def to_planes(image: Tensor) -> Tensor:
    """IMAGE (B, H, W, C) -> (B, C, H, W)"""
    return image.movedim(-1, 1)
