"""exact-vae train: fine-tunes a VAE on your own images.

On several GPUs: torchrun --nproc-per-node N -m exact_vae.cli train ...
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from ..nodes import host
from ..training import comparison, tuning
from ..training.folder import Survey, survey
from ..training.processes import join_processes, local_device, use_threads
from ..training.recipe import ALL, DECODER, Tuning
from ..training.trainer import Trainer, forget_diverged
from ..vae_core import BadRequest, DoesNotFit, load
from ..vae_core.errors import is_out_of_memory
from ..vae_core.files import make_folder
from .options import add_json, demand_new, parse_positive, parse_seed, print_result
from .progress import bar

USUAL = Tuning("tuned")
LISTED = 20  # skipped files that are printed; all are in the report


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "train", help="fine-tune a VAE on your own images, or continue a run that was stopped"
    )
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="a folder of images; one of five is held out to measure with",
    )
    command.add_argument("--vae", type=Path, metavar="FILE", help="an Autoencoder-KL (default: the built-in VAE)")
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write: .safetensors (default: NAME-tuned)"
    )
    part = "decoder: latents stay as they are; all: train the encoder, too"
    command.add_argument("--part", choices=[DECODER, ALL], default=USUAL.part, help=f"{part} (default: {USUAL.part})")
    usual = {"steps": USUAL.steps, "crop": USUAL.phases[0].crops[0], "batch": USUAL.phases[0].batch}
    for name, what in (
        ("steps", "steps of training"),
        ("crop", "side of a crop in pixels"),
        ("batch", "crops in a step"),
    ):
        command.add_argument(f"--{name}", type=parse_positive, default=usual[name], metavar="N",
                             help=f"{what} (default: {usual[name]})")  # fmt: skip
    rate = f"the highest learning rate (default: {USUAL.learning_rate:g})"
    command.add_argument("--rate", type=parse_above_zero, default=USUAL.learning_rate, metavar="R", help=rate)
    command.add_argument("--seed", type=parse_seed, default=USUAL.seed, metavar="SEED", help=f"default: {USUAL.seed}")
    command.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ...")
    command.add_argument(
        "--threads",
        type=parse_positive,
        metavar="N",
        help="CPU threads; another number changes the last bits of the result",
    )
    command.add_argument(
        "--save-every",
        type=parse_positive,
        default=250,
        metavar="STEPS",
        help="steps between saved states: as much is lost if the run is killed",
    )
    add_json(command)
    command.set_defaults(do=run)


def parse_above_zero(said: str) -> float:
    """A number above 0. For argparse, which prints the sentence."""
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"a number above 0 is needed, not '{said}'")
    return number


def run(options: argparse.Namespace) -> None:
    use_threads(options.threads)
    device, subject = local_device(host.device(options.device)), tuning.open_subject(options.vae)
    out = choose_target(options, subject)
    state = out.with_suffix(".state")
    with join_processes(device) as processes, explain_stop():
        with bar("look at images") if processes.leads else nullcontext() as looked:
            found = survey(options.data, options.crop, (out, state, report_folder(out)), looked)
        course = tuning.plan_course(subject, found, make_course(options), options.crop, options.batch, processes)
        with explain_out_of_memory(options), forget_diverged(state):
            trainer = tuning.make_trainer(subject, found, course, device, processes, state)
            train(trainer, state, options.save_every)
    if processes.leads:
        write_results(options, subject, trainer, found, out)
        state.unlink(missing_ok=True)


def make_course(options: argparse.Namespace) -> Tuning:
    warmup = min(USUAL.warmup, max(1, options.steps // 10))
    return replace(USUAL, part=options.part, steps=options.steps, learning_rate=options.rate, seed=options.seed,
                   warmup=warmup)  # fmt: skip


def choose_target(options: argparse.Namespace, subject: tuning.Subject) -> Path:
    """The file to write. Raises BadRequest, before the work, for a file that cannot be written."""
    path = (options.vae or subject.checkpoint.path).absolute()
    out = options.out or Path(f"{path.name if path.is_dir() else path.stem}-tuned.safetensors")
    if out.suffix != ".safetensors":
        raise BadRequest(f"'{out}' cannot be written: the result's name must end in .safetensors.")
    demand_new(out, list(subject.checkpoint.files))
    if out.is_dir():
        raise BadRequest(f"'{out}' cannot be written: it is a folder.")
    make_folder(out.absolute().parent)
    return out


def report_folder(out: Path) -> Path:
    return out.with_name(f"{out.stem}-report")


def train(trainer: Trainer, state: Path, save_every: int) -> None:
    """Train to the end and save the state now and then. Of several processes one saves and shows the progress."""
    leads = trainer.processes.leads
    total, shown = trainer.recipe.steps, leads and bool(sys.stderr) and sys.stderr.isatty()
    with tqdm(total=total, initial=trainer.step, desc="train", unit="step", disable=not shown) as drawn:

        def after_step(trainer: Trainer) -> None:
            drawn.update()
            if leads and (trainer.step % save_every == 0 or trainer.step == total):
                trainer.save(state)
            if trainer.step % trainer.log_every == 0:
                drawn.set_postfix_str(f"{10 * math.log10(4 / trainer.history[-1]['squared']):.1f} dB")

        if leads and not trainer.step:
            trainer.save(state)  # fails before the work if the place cannot be written or is too small
        trainer.run(on_step=after_step)


def write_results(
    options: argparse.Namespace, subject: tuning.Subject, trainer: Trainer, found: Survey, out: Path
) -> None:
    """Write the result, measure the written file, and write and print the report."""
    tuning.write_result(subject, trainer, out)
    before, after = subject.vae.to(trainer.device), load(out, dtype=torch.float32, device=trainer.device)
    rows = list(comparison.compare(before, after, found))
    facts = list_facts(subject, trainer, found)
    comparison.write_report(report_folder(out), f"{subject.vae.name}, fine-tuned", facts, rows, found)
    places = {"result": str(out), "report": str(report_folder(out) / comparison.REPORT)}
    table = comparison.format_table(rows)
    skipped = [comparison.list_skipped(found, most=LISTED)] if found.skipped else []
    text = "\n\n".join([_list_lines(facts), table, _list_lines(places), *skipped])
    print_result(options, text, {**facts, **places, "comparison": table.splitlines(), "skipped": len(found.skipped)})


def _list_lines(facts: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<10}{text}" for name, text in facts.items())


def list_facts(subject: tuning.Subject, trainer: Trainer, found: Survey) -> dict[str, str]:
    r, crop = trainer.recipe, trainer.recipe.phases[0]
    what = "the decoder; latents are what they were" if not r.trains("encoder.") else (
        f"encoder and decoder, the KL divergence weighted {r.kl_weight:g}; latents are others than before")  # fmt: skip
    return {
        "VAE": f"{subject.vae.name}: {subject.vae.title}",
        "trained": what,
        "images": f"{len(found.train)} to train on, {len(found.held_out)} held out",
        "course": f"{r.steps} steps of {crop.batch} crops of {crop.crops[0]} pixels, rate {r.learning_rate:g}",
    }


@contextmanager
def explain_stop() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("exact-vae: the same command continues from the last saved step.", file=sys.stderr)
        raise


@contextmanager
def explain_out_of_memory(options: argparse.Namespace) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        size = f"{options.batch} crops of {options.crop}x{options.crop}"
        raise DoesNotFit(f"training on {size} ran out of memory: use a smaller --batch or --crop.") from e
