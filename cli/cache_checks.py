"""exact-vae cache info: what is in a folder of latents."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..batch import Store, Summary, summarise
from .options import add_json, print_result

USUAL_FACTS = ("area", "step", "buckets", "fit", "filter", "posterior", "stored")  # of a recipe, that are always told


def add(actions: argparse._SubParsersAction) -> None:
    command = actions.add_parser("info", help="what is in a folder of latents, from its index alone")
    add_out(command)
    add_json(command)
    command.set_defaults(do=run_info)


def add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("out", type=Path, metavar="OUT", help="the folder of the cache")


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
