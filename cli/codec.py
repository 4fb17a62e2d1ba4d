"""exact-vae encode and decode: images and clips to latent files, and back; one, or a folder of them."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..headless import image_files
from ..nodes.images import demand_same_vae
from ..nodes.several import pick_image
from ..vae_core import VAE, BadRequest, Posterior, RunOptions, readers
from ..vae_core.files import demand_place
from ..vae_core.latents import StoredLatent, Tag, read_latent_file, write_latent
from . import clips, rows, several
from .options import (
    add_alpha,
    add_json,
    add_memory,
    add_vae,
    demand_new,
    load_vae,
    memory_options,
    parse_seed,
    print_result,
)
from .progress import bar
from .transparency import Transparency

LATENTS = (".safetensors", ".latent")
FILES = (*LATENTS, *image_files.SUFFIXES, *clips.ENDINGS)  # what a single result may end in
IMAGE, VIDEO = ".png", ".mp4"  # what a latent becomes in a folder


def add(commands: argparse._SubParsersAction) -> None:
    encode = commands.add_parser("encode", help="images or clips to their latents")
    what = (
        "an image of any size (a .tif is read row by row), a video, an image file of many pages or frames, or a folder "
        "of images, which are frames of a clip; "
        "with a folder to write to: any number of images, videos, folders of images and patterns as '*.png'"
    )
    encode.add_argument("image", type=Path, metavar="IMAGE", help=what)
    encode.add_argument(
        "latent",
        type=Path,
        metavar="LATENT",
        help="the file to write: .safetensors, or .latent for ComfyUI; or a folder",
    )
    encode.add_argument("more", type=Path, nargs="*", metavar="...", help="of several images, the last is the folder")
    encode.add_argument(
        "--sample", type=parse_seed, metavar="SEED", help="sample the posterior with this seed (default: take its mode)"
    )
    add_alpha(encode)
    encode.set_defaults(do=run_encode)
    decode = commands.add_parser("decode", help="latents to their images or clips")
    what = "a .safetensors or .latent file; with a folder to write to: any number of them, folders and patterns"
    decode.add_argument("latent", type=Path, metavar="LATENT", help=what)
    target = (
        "the file to write: .tif (row by row), .exr, .png, .jpg ...; of a clip .mp4, .mkv, .mov, .webm, .tif (a page "
        "for each frame), frames/%%05d.png or frames/%%05d.exr; or a folder"
    )
    decode.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help=target)
    decode.add_argument("more", type=Path, nargs="*", metavar="...", help="of several latents, the last is the folder")
    decode.add_argument("--out", type=Path, metavar="IMAGE", help="another way to name the image or the folder")
    ending = f"the ending of images in a folder (default: {IMAGE})"
    decode.add_argument("--as", dest="ending", metavar="ENDING", help=ending)
    decode.set_defaults(do=run_decode, refuse=decode.error)
    bits = "of a channel: 8 or 16 of .png; 8, 16 or 32 (floats) of .tif; 32 or 16 (floats) of .exr (default: the first)"
    decode.add_argument("--bits", type=int, choices=image_files.BITS, help=bits)
    clips.add_output(decode)
    for command in (encode, decode):
        add_vae(command)
        add_memory(command)
        add_json(command)


def run_encode(options: argparse.Namespace) -> None:
    *given, target = (options.image, options.latent, *options.more)
    if is_folder(target):
        pairs = several.pair(several.find_sources(given, (*readers.SUFFIXES, *clips.ENDINGS)), target, LATENTS[0])
    elif target.suffix.lower() not in LATENTS:
        raise BadRequest(f"'{target}' cannot hold a latent: its name must end in {' or '.join(LATENTS)}.")
    else:
        pairs = [several.Pair(demand_single(given, target), target)]
    run_pairs(options, pairs, target, [], lambda vae, one, how: encode_to(vae, one, options, how))


def run_pairs(
    options: argparse.Namespace, pairs: list[several.Pair], target: Path, read: list[Path],
    work: Callable[[VAE, several.Pair, RunOptions], several.Result],
) -> None:  # fmt: skip
    """Do the work for every pair, with one VAE. read: what is read beside the sources and the VAE's files."""
    for one in pairs:
        demand_new(one.target, [*(other.source for other in pairs), *options.vae, *read])
    if not is_folder(target) and not clips.is_pattern(target):
        demand_place(target)  # now, and not after all the work
    vae = load_vae(options)
    with memory_options(options) as how:
        if is_folder(target):
            several.run(options, pairs, lambda one: work(vae, one, how))
        else:
            print_result(options, *work(vae, pairs[0], how))


def is_folder(target: Path) -> bool:
    """Is it a folder of results? A folder with the ending of a file is a mistake, which writing finds."""
    if clips.is_pattern(target):
        return False
    return not target.suffix or (target.is_dir() and target.suffix.lower() not in FILES)


def demand_single(given: list[Path], target: Path) -> Path:
    found = [file for path in given for file in several.match(path)]
    if len(found) > 1:
        raise BadRequest(f"'{target}' is one file, and there are {len(found)} to read: name a folder to write to.")
    return found[0]


def encode_to(vae: VAE, files: several.Pair, options: argparse.Namespace, how: RunOptions) -> several.Result:
    """Encode an image or a clip into a latent file."""
    transparency, seed = Transparency.of(options), options.sample
    posterior, frames = encode_file(vae, files.source, transparency, how)
    latent = posterior.mode() if seed is None else posterior.sample(torch.Generator().manual_seed(seed))
    if latent.ndim == 5 and frames is None:
        latent = clips.as_images(latent)
    tag = Tag.of(latent, vae.family, vae.spatial_ratio, posterior.size, vae, frames)
    write_latent(files.target, latent.float(), tag)
    shape, path = tuple(latent.shape), str(files.target)
    facts = {"latent": path, "shape": shape, "size": posterior.size, "frames": frames, "vae": vae.title}
    if transparency.note:
        facts["note"] = transparency.note
    said = f"; {transparency.note} (see --alpha)" if transparency.note else ""
    return several.Result(f"{path}: {shape} of {vae.title}{said}", facts)


def encode_file(vae: VAE, path: Path, transparency: Transparency, how: RunOptions) -> tuple[Posterior, int | None]:
    """Encode an image, row by row if its file can be read row by row, or a clip -> (posterior, frames of a clip)."""
    if clips.is_clip_file(path):
        return clips.encode(vae, path, transparency, how)
    file = readers.rows(path)
    if not file and readers.count_frames(path) > 1:
        return clips.encode(vae, path, transparency, how)
    if not file:
        rows.demand_readable(path)
    with bar("encode") as progress:
        if file:
            read = rows.PixelsOf(file, vae.in_channels, transparency)
            return vae.encode_rows(read, options=how, progress=progress), None
        pixels = transparency.to_pixels(readers.read_with_alpha(path), vae.in_channels)
        return vae.encode(pixels, options=how, progress=progress), None


def run_decode(options: argparse.Namespace) -> None:
    named = [path for path in (options.latent, options.image, *options.more, options.out) if path]
    if len(named) < 2:
        options.refuse("name the image to write")
    *given, target = named
    images = [path for path in given if path.suffix.lower() in image_files.SUFFIXES]
    if options.out and images:
        raise BadRequest(f"'{images[0]}' and --out '{options.out}' both name the image: leave one out.")
    if is_folder(target):
        pairs = several.pair(several.find_sources(given, LATENTS), target, parse_ending(options.ending))
    elif options.ending:
        raise BadRequest(f"--as is for a folder, and '{target}' is one file: leave it away.")
    else:
        pairs = [several.Pair(demand_single(given, target), target)]
    read = [options.source] if options.source else []
    run_pairs(options, pairs, target, read, lambda vae, one, how: decode_to(vae, one, options, how))


def parse_ending(said: str | None) -> str:
    """Raises BadRequest for the ending of neither an image nor a video."""
    ending = IMAGE if said is None else f".{said.lstrip('.').lower()}"
    if ending not in image_files.SUFFIXES and not clips.is_clip_target(Path(f"frames{ending}")):
        raise BadRequest(f"--as '{said}' is the ending of no image or video: give png, jpg, webp, tif, exr or mp4.")
    return ending


def decode_to(vae: VAE, files: several.Pair, options: argparse.Namespace, how: RunOptions) -> several.Result:
    """Decode a latent file into an image, or into a video or numbered images if it holds a clip or several images."""
    latent, tag = take_image(files.source, read_latent_file(files.source), vae.latent_channels)
    demand_same_vae(tag, vae)
    target = choose_target(files.target, latent, options)
    if not is_single_image(latent) or clips.is_clip_target(target):
        return several.Result(*clips.decode(vae, latent, tag, target, options, how))
    clips.demand_no_clip(options, target)
    bits = rows.demand_savable(target, vae.out_channels, options.bits)
    size = tag.size_of(latent.shape) if tag else None
    with bar("decode") as progress:
        bands = vae.decode_rows(latent, size=size, options=how, progress=progress)
        height, width = vae.decoded_size(size) if size else (n * vae.decoded_ratio for n in latent.shape[-2:])
        rows.write(target, (vae.out_channels, height, width), bands, bits)
    return several.Result(f"{target}: {width}x{height}", {"image": str(target), "width": width, "height": height})


def choose_target(target: Path, latent: Tensor, options: argparse.Namespace) -> Path:
    """In a folder, a clip becomes a video unless another ending is asked for."""
    is_named = options.ending or target in (options.image, options.out)
    return target if is_named or latent.ndim < 5 or is_single_image(latent) else target.with_suffix(VIDEO)


def take_image(path: Path, stored: StoredLatent, channels: int) -> tuple[Tensor, Tag | None]:
    """The latent of the image or clip in a file that may hold several, and its tag; says so if there are several."""
    held = [stored, *stored.beside]
    chosen = pick_image([{"samples": one.latent} for one in held], channels)
    if len(held) > 1:
        print(f"exact-vae: '{path}' holds {len(held)} latents; number {chosen + 1} is decoded.", file=sys.stderr)
    return held[chosen].latent, held[chosen].tag


def is_single_image(latent: Tensor) -> bool:
    """Does the latent hold one image, and no batch or clip?"""
    return latent.ndim < 4 or math.prod((latent.shape[0], *latent.shape[2:-2])) == 1
