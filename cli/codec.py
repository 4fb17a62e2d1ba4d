"""exact-vae encode and decode: an image to a latent file, and back."""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from ..headless import image_files
from ..nodes.images import demand_same_vae, to_image, to_pixels
from ..vae_core import VAE, BadRequest, Posterior, readers
from ..vae_core.latents import Tag, read_latent, write_latent
from . import rows
from .options import add_memory, add_vae, demand_new, load_vae, memory_options, parse_seed
from .progress import bar

LATENTS = (".safetensors", ".latent")


def add(commands: argparse._SubParsersAction) -> None:
    encode = commands.add_parser("encode", help="an image to its latent")
    encode.add_argument("image", type=Path, metavar="IMAGE", help="an image of any size; a .tif is read row by row")
    encode.add_argument(
        "latent", type=Path, metavar="LATENT", help="the file to write: .safetensors, or .latent for ComfyUI"
    )
    encode.add_argument(
        "--sample", type=parse_seed, metavar="SEED", help="sample the posterior with this seed (default: take its mode)"
    )
    encode.set_defaults(do=run_encode)
    decode = commands.add_parser("decode", help="a latent to its image")
    decode.add_argument("latent", type=Path, metavar="LATENT", help="a .safetensors or .latent file")
    to = decode.add_mutually_exclusive_group(required=True)
    to.add_argument(
        "image", type=Path, nargs="?", metavar="IMAGE", help="the file to write: .tif (row by row), .png, .jpg ..."
    )
    to.add_argument(
        "--out",
        type=Path,
        dest="image",
        metavar="IMAGE",
        help="another way to name the image",
        default=argparse.SUPPRESS,
    )
    decode.set_defaults(do=run_decode)
    for command in (encode, decode):
        add_vae(command)
        add_memory(command)


def run_encode(options: argparse.Namespace) -> None:
    if options.latent.suffix.lower() not in LATENTS:
        raise BadRequest(f"'{options.latent}' cannot hold a latent: its name must end in {' or '.join(LATENTS)}.")
    demand_new(options.latent, [options.image, *options.vae])
    vae = load_vae(options)
    posterior = encode_file(vae, options)
    chosen = options.sample
    latent = posterior.mode() if chosen is None else posterior.sample(torch.Generator().manual_seed(chosen))
    write_latent(options.latent, latent.float(), Tag.of(latent, vae.family, vae.spatial_ratio, posterior.size, vae))
    print(f"{options.latent}: {tuple(latent.shape)} of {vae.title}")


def encode_file(vae: VAE, options: argparse.Namespace) -> Posterior:
    """Encode the image of the command line; row by row if its file can be read row by row."""
    file = readers.rows(options.image)
    if not file:
        rows.demand_readable(options.image)
    with memory_options(options) as how, bar("encode") as progress:
        if file:
            return vae.encode_rows(rows.PixelsOf(file, vae.in_channels), options=how, progress=progress)
        image = readers.read_with_alpha(options.image)
        return vae.encode(to_pixels(image, vae.in_channels), options=how, progress=progress)


def run_decode(options: argparse.Namespace) -> None:
    demand_new(options.image, [options.latent, *options.vae])
    latent, tag = read_latent(options.latent)
    vae = load_vae(options)
    demand_same_vae(tag, vae)
    rows.demand_savable(options.image, vae.out_channels)
    size = tag.size_of(latent.shape) if tag else None
    with memory_options(options) as how, bar("decode") as progress:
        if is_single_image(latent):
            bands = vae.decode_rows(latent, size=size, options=how, progress=progress)
            height, width = vae.decoded_size(size) if size else (n * vae.decoded_ratio for n in latent.shape[-2:])
            rows.write(options.image, (vae.out_channels, height, width), bands)
            written = [options.image]
        else:
            pixels = vae.decode(latent, size=size, options=how, progress=progress)
            written, (height, width) = image_files.write(options.image, to_image(pixels).cpu()), pixels.shape[-2:]
    for path in written:
        print(f"{path}: {width}x{height}")


def is_single_image(latent: Tensor) -> bool:
    """Does the latent hold one image, and no batch or clip?"""
    return latent.ndim < 4 or math.prod((latent.shape[0], *latent.shape[2:-2])) == 1
