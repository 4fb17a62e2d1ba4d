"""exact-vae cache info, verify: what is in a folder of latents, and is it right?"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..batch import Findings, Sample, Store, Summary, compare, demand_vae, summarise, verify
from ..vae_core import SPACES, VAE, BadRequest
from ..vae_core.errors import some
from ..vae_core.files import make_folder
from . import cache_trainers
from .as_json import write_json
from .cache_cluster import parse_folder
from .cache_telling import SHEET, conclude, describe_numbers, list_told, write_sheet
from .options import add_json, add_vae, load_vae, parse_positive, print_result
from .progress import bar

SAMPLES = 8  # that are encoded anew if nothing is said

USUAL_FACTS = ("area", "step", "buckets", "fit", "filter", "posterior", "stored")  # of a recipe, that are always told


def add(actions: argparse._SubParsersAction) -> None:
    command = actions.add_parser("info", help="what is in a folder of latents, from its index alone")
    add_out(command)
    add_json(command)
    command.set_defaults(do=run_info)
    command = actions.add_parser("verify", help="whether a folder of latents is right; also a trainer's own cache")
    add_out(command)
    add_vae(command)
    add_space(command)
    many = f"with --vae: so many images are encoded anew and decoded (default: {SAMPLES})"
    command.add_argument("--samples", type=parse_positive, default=SAMPLES, metavar="N", help=many)
    cache_trainers.add_images(command)
    where = f"with --vae: write {SHEET} to this folder, each image above what its latent gives"
    command.add_argument("--decode", type=Path, metavar="DIR", help=where)
    add_json(command)
    command.set_defaults(do=run_verify)


def add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("out", type=parse_folder, metavar="OUT", help="the folder of the cache, a path or a URL")


def add_space(command: argparse.ArgumentParser) -> None:
    whose = "whose latents they are, if the VAE's file does not tell: sd1, sdxl, flux1 ..."
    command.add_argument("--space", choices=list(SPACES), metavar="SPACE", help=whose)


def run_info(options: argparse.Namespace) -> None:
    found = summarise(Store(options.out))
    print_result(options, "\n".join(f"{name:<12}{text}" for name, text in list_facts(found)), found.to_dict())


def list_facts(found: Summary) -> Iterator[tuple[str, str]]:
    """(name, text) of each line."""
    vae = found.vae
    yield "VAE", f"{vae.get('name', 'unknown')}: {vae.get('title', vae.get('family'))}; {vae.get('fingerprint')}"
    yield "space", f"{vae.get('latent_space') or 'unknown'}, {found.convention}"
    yield "recipe", describe_recipe(found.recipe)
    more = [f"{n} {what}" for n, what in ((found.flipped, "mirrored"), (found.crops, "other crops")) if n]
    yield "latents", ", ".join([f"{found.latents} of {found.images} images", *more, f"{found.captions} with a caption"])
    yield "files", f"{found.shards} shards, {found.bytes / 2**20:.1f} MiB"
    for bucket, count in found.buckets.items():
        yield bucket, f"{count} of shape {'x'.join(map(str, found.shapes[bucket]))}"
    for reason, count in found.skipped.items():
        yield "skipped", f"{count}: {reason}"
    if found.missing:
        yield "missing", f"{found.missing} images have no latent yet: the command that began the cache goes on"


def describe_recipe(recipe: dict[str, Any]) -> str:
    """What is always told, and what is not as it usually is."""
    told = {name: recipe.get(name) for name in USUAL_FACTS}
    told |= {name: recipe[name] for name in ("flip", "srgb") if recipe.get(name)}
    told |= {name: recipe[name] for name in ("crops", "batch", "threads") if recipe.get(name, 1) != 1}
    texts = {name: "x".join(map(str, one)) if isinstance(one, list) else one for name, one in told.items()}
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def run_verify(options: argparse.Namespace) -> None:
    """Raises BadRequest if anything is wrong, after all of it was printed."""
    if options.decode and not options.vae:
        raise BadRequest("--decode needs --vae FILE, the VAE that made the cache.")
    store = Store(options.out)
    if not store.job and options.out.is_dir():
        cache_trainers.run(options)
        return
    store.demand()
    if options.images:
        raise BadRequest("--images is for the caches of trainers: this one knows where its images are.")
    vae = load_vae(with_dtype_of(store, options)) if options.vae else None
    if vae:
        demand_vae(store, vae)
    if options.decode:
        make_folder(options.decode)
    with bar("verify") as drawn:
        found = verify(store, options.space, drawn)
    samples = list_samples(store, vae, options.samples, found) if vae else []
    if options.decode and samples:
        write_sheet(options.decode, samples)
    print(describe(found, samples, options.json))
    if found.problems:
        broken = {one.where for one in found.problems} & set(store.list_shards())
        advice = f" Remove {some(sorted(broken))} from '{store.shards}' and build again." if broken else ""
        raise BadRequest(f"{conclude(options.out, len(found.problems))}{advice}")


def with_dtype_of(store: Store, options: argparse.Namespace) -> argparse.Namespace:
    """Unless a dtype was named: to compute in that of the cache."""
    dtype = store.job["vae"].get("dtype") if options.dtype == "auto" else options.dtype
    names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}
    return argparse.Namespace(**{**vars(options), "dtype": names.get(str(dtype), options.dtype)})


def list_samples(store: Store, vae: VAE, count: int, found: Findings) -> list[Sample]:
    samples = []
    with bar("encode and decode") as drawn:
        for sample in compare(store, vae, count, found):
            samples.append(sample)
            drawn(len(samples), count)
    return samples


def describe(found: Findings, samples: list[Sample], as_json: bool) -> str:
    if as_json:
        return write_json({**found.to_dict(), "samples": [one.to_dict() for one in samples]}, None)
    lines = list_told(found.problems, samples)
    unused = f", {found.unused} of images that are gone" if found.unused else ""
    verdict = "" if found.problems else ": nothing is wrong"
    lines.append(f"{found.latents} latents of {found.sources} images in {found.shards} shards{unused}{verdict}")
    of = found.statistics
    whose = f"scaled for {of.space}" if of.space else "raw (--space scales them)"
    lines.append(f"spread {of.spread:.3f} {whose}; channel means {describe_numbers(of.mean)}")
    return "\n".join(lines)
