"""exact-vae encode and decode: a picture to a latent file, and back."""

import argparse
from pathlib import Path

import torch

from ..headless import pictures
from ..nodes.images import demand_same_ratio, to_image, to_pixels
from ..vae_core import BadRequest
from ..vae_core.latent_files import read_latent, write_latent
from ..vae_core.latents import Tag
from ..vae_core.noise import SEEDS
from .options import add_vae, demand_new, load_vae
from .progress import bar

LATENTS = (".safetensors", ".latent")


def add(commands: argparse._SubParsersAction) -> None:
    encode = commands.add_parser("encode", help="a picture to its latent")
    encode.add_argument("image", type=Path, metavar="IMAGE", help="a picture of any size")
    encode.add_argument("latent", type=Path, metavar="LATENT", help="to write: .safetensors, or .latent for ComfyUI")
    encode.add_argument("--sample", type=seed, metavar="SEED", help="sample the posterior (default: mode)")
    encode.set_defaults(do=run_encode)
    decode = commands.add_parser("decode", help="a latent to its picture")
    decode.add_argument("latent", type=Path, metavar="LATENT", help="a .safetensors or .latent file")
    decode.add_argument("image", type=Path, metavar="IMAGE", help="to write: .png, .jpg, .webp ...")
    decode.set_defaults(do=run_decode)
    for command in (encode, decode):
        add_vae(command)


def seed(text: str) -> int:
    """A whole number that a generator takes."""
    number = int(text)
    if not 0 <= number < SEEDS:
        raise argparse.ArgumentTypeError(f"a seed is 0 to {SEEDS - 1}, not {number}")
    return number


def run_encode(options: argparse.Namespace) -> None:
    if options.latent.suffix.lower() not in LATENTS:
        raise BadRequest(f"'{options.latent}' has the ending of no latent: use {' or '.join(LATENTS)}.")
    demand_new(options.latent, [options.image, *options.vae])
    image, _ = pictures.read(options.image)
    vae = load_vae(options)
    with bar("encode") as progress:
        posterior = vae.encode(to_pixels(image, vae.in_channels), progress=progress)
    chosen = options.sample
    latent = posterior.mode() if chosen is None else posterior.sample(torch.Generator().manual_seed(chosen))
    write_latent(options.latent, latent.float(), Tag.of(latent, vae.family, vae.spatial_ratio, posterior.size))
    print(f"{options.latent}: {tuple(latent.shape)} of {vae.title}")


def run_decode(options: argparse.Namespace) -> None:
    demand_new(options.image, [options.latent, *options.vae])
    latent, tag = read_latent(options.latent)
    vae = load_vae(options)
    demand_same_ratio(tag, vae.spatial_ratio, vae.name)
    with bar("decode") as progress:
        pixels = vae.decode(latent, size=tag.size_of(latent.shape) if tag else None, progress=progress)
    written = pictures.write(options.image, to_image(pixels).cpu())
    for path in written:
        print(f"{path}: {pixels.shape[-1]}x{pixels.shape[-2]}")
