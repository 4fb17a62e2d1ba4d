"""Everything that a GPU should tell, in one call of ten minutes; a kill loses nothing that was measured.

    python benchmarks/gpu_facts.py --make-truth truth.safetensors           beforehand, on any CPU, ten minutes
    python benchmarks/gpu_facts.py --truth truth.safetensors --out FOLDER   on the GPU
                                   [--minutes 10] [--sections right end_to_end] [--diffusers WHEEL] [--go-on]
    python benchmarks/gpu_facts.py --device cpu --tiny --out FOLDER         tries the script itself, in a minute

FOLDER/rows.jsonl has a line for every row as soon as it is measured, FOLDER/report.md the tables. The sections that
tell most come first. Each has a process of its own and a share of the time; what fails in it is a row, too. With
--go-on a call measures what FOLDER has no row of: after a kill, or where the time was too short.
docs/gpu.md says how to run it and what it has told.
"""

import argparse
import gc
import sys
import time
import traceback
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from gpu import compiling, correctness, kernels, ladder, limits, machine, micro, peers, speed
from gpu.rows import add_row, drop_made_up_for, read_rows, write_report
from gpu.summary import summarize
from gpu.surroundings import find_pack, import_diffusers, let_forks_use_cuda, show_one_card, unpack_wheels
from gpu.tasks import Clock, Section, Setting, choose_method, describe, isolate, measure_section
from gpu.truth import make_truth

TRUTH = "truth.safetensors"
SECTIONS = (
    Section("machine", "The machine, and its ceilings", 0.04, machine.list_tasks),
    Section("compiling", "Kernels are compiled beforehand", 0.05, compiling.list_tasks),
    Section("right", "Right: errors beside float64, in standard deviations of the truth", 0.20, correctness.list_tasks),
    Section("end_to_end", "SD-class, whole calls", 0.18, speed.list_end_to_end),
    Section("clips", "Wan 2.1, 81 frames", 0.13, speed.list_clips),
    Section("ladder", "A full card", 0.04, ladder.list_tasks),
    Section("kernels", "The longest kernels", 0.04, kernels.list_tasks),
    Section("micro", "Single ops", 0.10, micro.list_tasks),
    Section("compiled", "diffusers, compiled", 0.09, speed.list_compiled),
    Section("limits", "Beyond 2^31 numbers", 0.07, limits.list_tasks),
    Section("large", "Large images in little memory", 0.06, speed.list_large),
    Section("others", "Other VAEs", 0.05, speed.list_others),
)
TRUTH_SHARE = 0.15  # of the time, where true results have not been made beforehand


def main() -> None:
    options = parse_arguments()
    let_forks_use_cuda()
    options.device = show_one_card(options.device)
    find_pack()
    if options.make_truth:
        make_truth(options.make_truth, options.tiny)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = 60 * options.minutes
    setting = prepare(options, seconds)
    run_sections(choose_sections(options.sections), setting, seconds - count_seconds_since_start())
    print("\n".join(summarize(drop_made_up_for(read_rows(options.out)))))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_facts"), help="a folder; rows are added to those there")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10, help="at most, for all sections together")
    parser.add_argument("--sections", nargs="+", choices=[section.name for section in SECTIONS], help="only these")
    parser.add_argument("--truth", type=Path, help="true results; without them some are computed first")
    parser.add_argument("--make-truth", type=Path, metavar="FILE", help="compute the true results, and nothing else")
    parser.add_argument("--diffusers", type=Path, nargs="+", default=[], help="a wheel, or a folder of wheels")
    parser.add_argument("--go-on", action="store_true", help="measure only what the folder has no row of")
    parser.add_argument("--in-process", action="store_true", help="all in one process: nothing is killed at its end")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    return parser.parse_args()


def choose_sections(names: list[str] | None) -> list[Section]:
    return [section for section in SECTIONS if names is None or section.name in names]


def prepare(options: argparse.Namespace, seconds: float) -> Setting:
    """What all processes need is imported once, before they are forked; true results are computed if there are none."""
    unpack_wheels(options.diffusers)
    try:
        import_diffusers(*peers.list_classes(options.tiny))
    except Exception as e:
        add_row(options.out, "machine", {"fact": "diffusers", "error": describe(e)})
    gc.freeze()  # so that the processes do not look at what has been imported whenever they collect garbage
    method = "" if options.in_process else choose_method(options.device)
    kept = tuple(read_rows(options.out)) if options.go_on else ()
    setting = Setting(options.out, options.device, options.tiny, options.truth or options.out / TRUTH, method, kept)
    if not setting.truth.is_file():
        isolate(method, make_truth, setting.truth, setting.tiny, seconds=TRUTH_SHARE * seconds)
    return setting


def count_seconds_since_start() -> float:
    """Of this process: importing torch and diffusers takes of the time, too."""
    return time.time() - psutil.Process().create_time()


def run_sections(sections: list[Section], setting: Setting, seconds: float) -> None:
    clock = Clock(sections, seconds)
    titles = {section.name: section.title for section in SECTIONS}
    for section in sections:
        kill = time.monotonic() + clock.seconds_to_kill(section)
        measure_section(section, setting, clock.end_of(section), kill)
        keep_report(setting, titles)


def keep_report(setting: Setting, titles: dict[str, str]) -> None:
    """The tables so far. If they cannot be written the sections still go on: the rows are what counts."""
    try:
        write_report(setting.out, titles, summarize(drop_made_up_for(read_rows(setting.out))))
    except Exception:
        traceback.print_exc()


if __name__ == "__main__":
    main()
