"""exact-vae encode and decode: an image or a clip to a latent file, and back."""

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from ..nodes.images import demand_same_vae, to_pixels
from ..nodes.several import pick_image
from ..vae_core import VAE, BadRequest, Posterior, RunOptions, readers
from ..vae_core.latents import StoredLatent, Tag, read_latent_file, write_latent
from . import clips, rows
from .options import add_json, add_memory, add_vae, demand_new, load_vae, memory_options, parse_seed, print_result
from .progress import bar

LATENTS = (".safetensors", ".latent")


def add(commands: argparse._SubParsersAction) -> None:
    encode = commands.add_parser("encode", help="an image or a clip to its latent")
    what = "an image of any size (a .tif is read row by row), a video, or a folder of images, which are frames"
    encode.add_argument("image", type=Path, metavar="IMAGE", help=what)
    encode.add_argument(
        "latent", type=Path, metavar="LATENT", help="the file to write: .safetensors, or .latent for ComfyUI"
    )
    encode.add_argument(
        "--sample", type=parse_seed, metavar="SEED", help="sample the posterior with this seed (default: take its mode)"
    )
    encode.set_defaults(do=run_encode)
    decode = commands.add_parser("decode", help="a latent to its image or clip")
    decode.add_argument("latent", type=Path, metavar="LATENT", help="a .safetensors or .latent file")
    to = decode.add_mutually_exclusive_group(required=True)
    target = (
        "the file to write: .tif (row by row), .png, .jpg ...; of a clip .mp4, .mkv, .mov, .webm or frames/%%05d.png"
    )
    to.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help=target)
    to.add_argument(
        "--out",
        type=Path,
        dest="image",
        metavar="IMAGE",
        help="another way to name the image",
        default=argparse.SUPPRESS,
    )
    decode.set_defaults(do=run_decode)
    clips.add_output(decode)
    for command in (encode, decode):
        add_vae(command)
        add_memory(command)
        add_json(command)


def run_encode(options: argparse.Namespace) -> None:
    if options.latent.suffix.lower() not in LATENTS:
        raise BadRequest(f"'{options.latent}' cannot hold a latent: its name must end in {' or '.join(LATENTS)}.")
    demand_new(options.latent, [options.image, *options.vae])
    vae = load_vae(options)
    with memory_options(options) as how:
        posterior, frames = encode_file(vae, options.image, how)
    chosen = options.sample
    latent = posterior.mode() if chosen is None else posterior.sample(torch.Generator().manual_seed(chosen))
    if latent.ndim == 5 and frames is None:
        latent = clips.as_images(latent)
    tag = Tag.of(latent, vae.family, vae.spatial_ratio, posterior.size, vae, frames)
    write_latent(options.latent, latent.float(), tag)
    shape = tuple(latent.shape)
    facts = {"latent": str(options.latent), "shape": shape, "size": posterior.size, "frames": frames, "vae": vae.title}
    print_result(options, f"{options.latent}: {shape} of {vae.title}", facts)


def encode_file(vae: VAE, path: Path, how: RunOptions) -> tuple[Posterior, int | None]:
    """Encode an image, row by row if its file can be read row by row, or a clip -> (posterior, frames of a clip)."""
    if clips.is_clip_file(path):
        return clips.encode(vae, path, how)
    file = readers.rows(path)
    if not file:
        rows.demand_readable(path)
    with bar("encode") as progress:
        if file:
            return vae.encode_rows(rows.PixelsOf(file, vae.in_channels), options=how, progress=progress), None
        image = readers.read_with_alpha(path)
        return vae.encode(to_pixels(image, vae.in_channels), options=how, progress=progress), None


def run_decode(options: argparse.Namespace) -> None:
    demand_new(options.image, [options.latent, *options.vae, *([options.source] if options.source else [])])
    stored = read_latent_file(options.latent)
    vae = load_vae(options)
    latent, tag = take_image(options.latent, stored, vae.latent_channels)
    demand_same_vae(tag, vae)
    if not is_single_image(latent) or clips.is_clip_target(options.image):
        with memory_options(options) as how:
            clips.decode(vae, latent, tag, options, how)
        return
    clips.demand_no_clip(options)
    rows.demand_savable(options.image, vae.out_channels)
    size = tag.size_of(latent.shape) if tag else None
    with memory_options(options) as how, bar("decode") as progress:
        bands = vae.decode_rows(latent, size=size, options=how, progress=progress)
        height, width = vae.decoded_size(size) if size else (n * vae.decoded_ratio for n in latent.shape[-2:])
        rows.write(options.image, (vae.out_channels, height, width), bands)
    facts = {"image": str(options.image), "width": width, "height": height}
    print_result(options, f"{options.image}: {width}x{height}", facts)


def take_image(path: Path, stored: StoredLatent, channels: int) -> tuple[Tensor, Tag | None]:
    """The latent of the image or clip in a file that may hold several, and its tag; says so if there are several."""
    several = [stored, *stored.beside]
    chosen = pick_image([{"samples": one.latent} for one in several], channels)
    if len(several) > 1:
        print(f"exact-vae: '{path}' holds {len(several)} latents; number {chosen + 1} is decoded.", file=sys.stderr)
    return several[chosen].latent, several[chosen].tag


def is_single_image(latent: Tensor) -> bool:
    """Does the latent hold one image, and no batch or clip?"""
    return latent.ndim < 4 or math.prod((latent.shape[0], *latent.shape[2:-2])) == 1
