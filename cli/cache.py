"""exact-vae cache: folders of images to latents for training."""

import argparse
import sys
from pathlib import Path

import torch

from ..batch import Loading, Recipe, Report, Request, build
from ..batch.backends import Backend
from ..batch.buckets import RULES
from ..batch.fitting import FILTERS
from ..batch.recipe import AUTOMATIC, FITS, POSTERIORS, SAMPLE, STORED, stored_like
from ..batch.records import name_shape
from ..batch.store import SKIPPED
from ..vae_core import BadRequest
from ..vae_core.devices import parse_dtype
from . import cache_checks, cache_cluster, cache_export
from .as_json import write_json
from .options import add_alpha, add_vae, choose_background, parse_positive, parse_seed
from .plan import parse_size
from .progress import bar

CAPTIONS = (".txt", ".caption", ".json", "none")
USUAL = Recipe()


def add(commands: argparse._SubParsersAction) -> None:
    root = commands.add_parser("cache", help="encode folders of images for training")
    actions = root.add_subparsers(metavar="ACTION")
    command = actions.add_parser("build", help="encode images to a folder of latents; the same command goes on")
    what = "a folder of images, a list (.txt, .jsonl, .csv, .parquet), a .tar of WebDataset, or a saved dataset"
    command.add_argument(
        "source", type=cache_cluster.parse_folder, metavar="SOURCE", help=f"{what}; a path, or s3://, gs:// and others"
    )
    command.add_argument(
        "out", type=cache_cluster.parse_folder, metavar="OUT", help="the folder of the cache, a path or a URL too"
    )
    add_vae(command)
    _add_sizes(command)
    _add_numbers(command)
    _add_run(command)
    command.set_defaults(do=run_build)
    cache_checks.add(actions)
    cache_export.add(actions)


def _add_sizes(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("sizes")
    group.add_argument(
        "--area", type=parse_size, default="x".join(map(str, USUAL.area)), metavar="WxH", help="area of a bucket"
    )
    group.add_argument("--sizes", type=Path, metavar="FILE", help="a list of buckets, WIDTHxHEIGHT on each line")
    group.add_argument("--step", type=parse_positive, default=USUAL.step, metavar="N", help="sides are multiples of it")
    rule = "how images find their size: by aspect, as a trainer does it, or each keeps its own (none)"
    group.add_argument("--buckets", choices=RULES, default=USUAL.buckets, help=rule)
    group.add_argument("--fit", choices=FITS, default=USUAL.fit, help="crop the middle, or pad by the image's edge")
    group.add_argument("--no-upscale", action="store_true", help="make no image larger")
    group.add_argument("--filter", choices=[AUTOMATIC, *FILTERS], default=USUAL.filter, help="to resize with")
    least = "skip images with a shorter side"
    group.add_argument("--smallest", type=parse_positive, default=USUAL.smallest, metavar="N", help=least)
    group.add_argument("--flip", action="store_true", help="store the mirrored image, too")
    frames = "encode clips (videos, folders of frames) in pieces of N frames, of several numbers: in pieces of each"
    group.add_argument("--frames", type=parse_frames, default=(), metavar="N[,N...]", help=frames)
    fps = "bring clips to so many frames a second first"
    group.add_argument("--fps", type=float, default=0.0, metavar="F", help=fps)
    group.add_argument("--repeat-crops", type=parse_positive, default=1, metavar="N", help="crops of each image")


def _add_numbers(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("numbers")
    what = f"{', '.join(POSTERIORS[:2])}, or {SAMPLE}:SEED"
    group.add_argument("--posterior", type=parse_posterior, default=(USUAL.posterior, 0), metavar="P", help=what)
    group.add_argument("--store", choices=list(STORED), help="dtype of the latents (default: that of the computation)")
    add_alpha(group)
    group.add_argument("--srgb", action="store_true", help="convert colours of an ICC profile to sRGB")
    group.add_argument("--batch", type=parse_positive, default=1, metavar="N", help="images at once")
    threads = "CPU threads of each worker (default: 1); --workers cpu:N uses more cores with the same bits"
    group.add_argument("--threads", type=parse_positive, default=1, metavar="N", help=threads)
    group.add_argument("--rows", type=parse_positive, metavar="N", help="run in bands of N rows")


def _add_run(command: argparse.ArgumentParser) -> None:
    cache_cluster.add(command)
    command.add_argument("--captions", choices=CAPTIONS, default=".txt", help="the ending of files with captions")
    command.add_argument("--limit", type=parse_positive, metavar="N", help="only the first N sources")
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.add_argument("--update", action="store_true", help="encode images that are new or changed, forget others")
    command.add_argument("--json", action="store_true", help="print events as JSON, one on each line")


def parse_frames(said: str) -> tuple[int, ...]:
    """'17' -> (17,); '17,33' -> both. For argparse."""
    return tuple(parse_positive(one) for one in said.split(","))


def parse_posterior(said: str) -> tuple[str, int]:
    """'mean', 'mean+logvar' or 'sample:7' -> (which, the seed). For argparse."""
    name, colon, seed = said.partition(":")
    if name not in POSTERIORS or bool(colon) != (name == SAMPLE):
        raise argparse.ArgumentTypeError(f"choose mean, mean+logvar or sample:SEED, not '{said}'")
    return name, parse_seed(seed) if colon else 0


def run_build(options: argparse.Namespace) -> None:
    with cache_cluster.open_backend(options) as backend:
        _run_build(options, backend)


def _run_build(options: argparse.Namespace, backend: Backend) -> None:
    loading = Loading(
        tuple(options.vae), parse_dtype(options.dtype), options.latent_space, options.light, options.border,
        options.download)  # fmt: skip
    request = Request(
        options.source, options.out, loading, make_recipe(options), captions=options.captions, limit=options.limit,
        update=options.update, backend=backend)  # fmt: skip
    with bar("encode") as drawn:

        def show(done: int, total: int, skipped: int) -> None:
            drawn.name(f"encode, {skipped} skipped")
            drawn(done, total)
            if options.json:
                print(write_json({"done": done, "total": total, "skipped": skipped}, None), flush=True)

        try:
            report = build(request, dry_run=options.dry_run, progress=show)
        except KeyboardInterrupt:
            print("exact-vae: the same command goes on where this one stopped.", file=sys.stderr)
            raise
    _print_report(options, report)


def _print_report(options: argparse.Namespace, report: Report) -> None:
    buckets = {name_shape(shape): count for shape, count in report.buckets.items()}
    if options.json:
        facts = {"latents": report.latents, "encoded": report.encoded, "skipped": report.skipped, "buckets": buckets}
        facts["again"] = report.again
        print(write_json({**facts, "dry_run": options.dry_run}, None))
        return
    for name, count in buckets.items():
        print(f"{name:<12}{count}")
    done = f"{report.encoded} to encode" if options.dry_run else f"{report.encoded} encoded now"
    again = f", {report.again} of which the same command tries again" if report.again else ""
    why = f"; '{options.out / SKIPPED}' says why" if report.skipped and not options.dry_run else ""
    print(f"{options.out}: {report.latents} latents, {done}; {report.skipped} sources skipped{again}{why}")
    if report.skipped and not report.latents and not options.dry_run:
        raise BadRequest("no source became a latent.")


def make_recipe(options: argparse.Namespace) -> Recipe:
    posterior, seed = options.posterior
    return Recipe(
        area=options.area[::-1],
        step=options.step,
        buckets=options.buckets,
        sizes=read_sizes(options.sizes) if options.sizes else (),
        fit=options.fit,
        enlarge=not options.no_upscale,
        filter=options.filter,
        smallest=options.smallest,
        flip=options.flip,
        crops=options.repeat_crops,
        frames=options.frames,
        fps=options.fps,
        posterior=posterior,
        seed=seed,
        stored=options.store or stored_like(parse_dtype(options.dtype) or torch.float32),
        alpha=options.alpha,
        background=choose_background(options),
        srgb=options.srgb,
        batch=options.batch,
        threads=options.threads,
        rows=options.rows,
    )


def read_sizes(path: Path) -> tuple[tuple[int, int], ...]:
    """The buckets of a list, (width, height) each. Raises BadRequest."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
        return tuple(sorted({(width, height) for height, width in map(parse_size, lines)}))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    except argparse.ArgumentTypeError as error:
        raise BadRequest(f"'{path}' is no list of buckets: {error}.") from error
