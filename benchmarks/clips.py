"""Compares decoding clips with diffusers: time and memory of a few frames, and does memory grow with their number?

    python benchmarks/clips.py [--only WORD] [--runs 3] [--write]

Wan 2.1, LTX-Video 0.9.0 and SeedVR2, which diffusers has not: it is compared with the tests' network after its authors'
code. Random weights, the same for both, in fp32 on one CPU thread. Networks are narrower than the published ones where
the table says so. The two run by turns, each run in a process of its own, which is forked from one that has loaded
both. Seconds are those of the CPU, and of the clock beside them.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]
from families import THEM, US
from memory import MIB, watch_memory
from time_and_memory import RESULTS

os.environ["OMP_NUM_THREADS"] = "1"
FRAMES = (17, 65)


class Net(NamedTuple):
    """Both sides of one network: functions of a latent, and that of ours which gives the frames one after the other.

    bound: theirs cuts what it makes to so much, which ours does not
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    streamed: Callable[..., int]
    bound: float = float("inf")


class Case(NamedTuple):
    """A VAE, so many times narrower than it is, and the clip that is decoded."""

    title: str
    make: Callable[[int], Net]
    channels: int
    ratio: int
    step: int  # frames of a latent frame
    narrower: int
    size: int
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.title + (f", 1/{self.narrower} as wide" if self.narrower > 1 else "")

    def latent(self, frames: int, size: int):
        import torch

        generator = torch.Generator().manual_seed(1)
        shape = (1, self.channels, 1 + (frames - 1) // self.step, size // self.ratio, size // self.ratio)
        return torch.randn(shape, generator=generator)


def both(known: Any, decode: Callable[..., Any]) -> Net:
    """known: a module whose weights both sides have. decode: a latent -> pixels, by it"""
    import torch
    from exact_vae.vae_core import from_weights

    vae = from_weights({name: t.clone() for name, t in known.state_dict().items()})
    for t in known.parameters():  # as fast as it can be
        kinds = {4: torch.channels_last, 5: torch.channels_last_3d}
        if t.ndim in kinds:
            t.data = t.data.contiguous(memory_format=kinds[t.ndim])
    return Net(
        vae.decode,
        lambda z: decode(z.contiguous(memory_format=torch.channels_last_3d)),
        lambda z: sum(part.shape[1] for part in vae.decode_frames(z)),
    )


def make_wan(narrower: int) -> Net:
    import diffusers

    known = diffusers.AutoencoderKLWan(base_dim=96 // narrower).eval()
    return both(known, lambda z: known.decode(z).sample)._replace(bound=1.0)


def make_ltx(narrower: int) -> Net:
    import diffusers

    widths = tuple(width // narrower for width in (128, 256, 512, 512))
    known = diffusers.AutoencoderKLLTXVideo(block_out_channels=widths, decoder_block_out_channels=widths).eval()
    return both(known, lambda z: known.decode(z).sample)


def make_seedvr2(narrower: int) -> Net:
    import torch
    from exact_vae.vae_core.families import seedvr2
    from support.seedvr2_reference import Decoder

    widths = tuple(width // narrower for width in (128, 256, 512, 512))
    known = torch.nn.Module()
    known.decoder = Decoder(widths, (True, True, False), 3, 16)
    return both(known.eval(), lambda z: known.decoder(z / seedvr2.SCALE))


WAN, LTX, SEEDVR2 = (
    partial(Case, *known)
    for known in (
        ("Wan 2.1", make_wan, 16, 8, 4),
        ("LTX-Video 0.9.0", make_ltx, 128, 32, 8),
        ("SeedVR2", make_seedvr2, 16, 8, 4),
    )
)
TIMED = (
    LTX(1, 256, (9, 1)),
    SEEDVR2(2, 128, (9, 1)),
    WAN(3, 256, (9, 1)),
    LTX(1, 512, (9,)),
)
GROWING = (WAN(4, 64, FRAMES), LTX(2, 128, FRAMES), SEEDVR2(4, 64, FRAMES))


def main() -> None:
    options = parse_arguments()
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    growing = [row for case in chosen(GROWING, options) for row in list_growth(case)]
    timed = [row for case in chosen(TIMED, options) for row in list_times(case, options.runs)]
    text = format_report(timed, growing, options)
    print(text)
    if options.write:
        (RESULTS / "clips_cpu.md").write_text(text + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only VAEs whose title has this word")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def chosen(cases: tuple[Case, ...], options: argparse.Namespace) -> list[Case]:
    return [case for case in cases if options.only in case.title]


def list_times(case: Case, runs: int) -> list[str]:
    """A row for each number of frames."""
    net, rows = case.make(case.narrower), []
    apart = measure_difference(net, case)
    for frames in case.frames:
        z = case.latent(frames, case.size)
        found: dict[str, list[dict[str, float]]] = {US: [], THEM: []}
        for _ in range(runs):
            for who, run in ((US, net.ours), (THEM, net.theirs)):
                found[who].append(measure_apart(run, z, case))
                say(f"{case.name}, {frames} frames of {case.size} px, {who}: {found[who][-1]}")
        us, them = ({key: statistics.median(run[key] for run in found[who]) for key in found[who][0]} for who in found)
        rows.append(
            f"| {case.name} | {frames} of {case.size} px | {them['cpu']:.1f} ({them['wall']:.1f}) "
            f"| {us['cpu']:.1f} ({us['wall']:.1f}) | {us['cpu'] / them['cpu']:.2f} | {them['peak'] / MIB:.0f} "
            f"| {us['peak'] / MIB:.0f} | {us['peak'] / them['peak']:.2f} | {apart:.0e} |"
        )
    return rows


def list_growth(case: Case) -> list[str]:
    """A row for each of the two: what decoding more frames takes, without the frames themselves."""
    net, rows = case.make(case.narrower), []
    them = "after its authors' code" if case.title == "SeedVR2" else THEM
    for who, run in ((them, net.theirs), (US, net.ours), (f"{US}, `decode_frames`", net.streamed)):
        peaks = []
        for frames in case.frames:
            found = measure_apart(run, case.latent(frames, case.size), case)
            peaks.append(found["peak"] - found["result"])
            say(f"{case.name}, {frames} frames of {case.size} px, {who}: {found}")
        figures = " | ".join(f"{peak / MIB:.0f}" for peak in peaks)
        rows.append(f"| {case.name}, {case.size} px | {who} | {figures} | {peaks[-1] / peaks[0]:.2f} |")
    return rows


def measure_difference(net: Net, case: Case) -> float:
    """The largest difference of what the two decode of a small latent, by the largest number."""
    z = case.latent(1 + case.step, 2 * case.ratio)
    ours, theirs = net.ours(z).clamp(-net.bound, net.bound), net.theirs(z)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def measure_apart(run: Callable[..., Any], z: Any, case: Case) -> dict[str, float]:
    """CPU seconds, those of the clock, bytes at most and of the result, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            run(case.latent(1 + case.step, 2 * case.ratio))  # whatever is made once is made
            os.write(write, json.dumps(measure(run, z)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise SystemExit(f"{case.name} failed.")
    return json.loads(said)


def measure(run: Callable[..., Any], z: Any) -> dict[str, float]:
    with watch_memory("cpu") as memory:
        start = time.process_time(), time.perf_counter()
        made = run(z)
        cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    return {"cpu": cpu, "wall": wall, "peak": memory(), "result": getattr(made, "nbytes", 0)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def format_report(timed: list[str], growing: list[str], options: argparse.Namespace) -> str:
    import diffusers
    import torch

    return "\n".join([
        "# Decoding clips beside diffusers, fp32",
        "",
        f"1 CPU thread ({platform.machine()}), torch {torch.__version__}, diffusers {diffusers.__version__}. Random "
        "weights, the same for both. SeedVR2 is not in diffusers: it is compared with the tests' network after its "
        "authors' code. Narrower networks have their published depths. Memory is what a run adds to the loaded VAE, "
        "its latent excluded.",
        "",
        "## Time and memory",
        "",
        f"CPU seconds (and those of the clock, on a machine that others used), medians of {options.runs} runs by turns."
        " The last column is how far the two are apart, by the largest number.",
        "",
        "| VAE | frames | diffusers, s | Exact VAE, s | ratio | diffusers, MiB | Exact VAE, MiB | ratio | apart |",
        "|---|---|---|---|---|---|---|---|---|",
        *timed,
        "",
        "## Does memory grow with the frames?",
        "",
        "MiB without the frames that are given out, of one run. `decode_frames` gives them out as they are made.",
        "",
        f"| VAE | who | {' frames | '.join(map(str, FRAMES))} frames | ratio |",
        "|---|---|---|---|---|",
        *growing,
    ])  # fmt: skip


if __name__ == "__main__":
    main()
