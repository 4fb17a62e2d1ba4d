"""Does a doubling joined with the convolution after it round more in half precision? Every family that has one.

    python benchmarks/doubling.py [--only kl wan ...] [--draws 3] [--latent 4] [--write]

A decoder of published sizes, random weights in fp32, in float64 with a rounding after every op, as a GPU would round:
by the two ops; joined, with taps summed from the weights in fp32; joined, with taps summed from rounded weights. And
the same as if the file were in half precision already. Errors are beside the exact result of the file's numbers.

Sums are rounded here, as they are where half precision is computed in it. A CPU that computes it in fp32 rounds none.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from exact_vae.vae_core import from_weights, load
from exact_vae.vae_core.execution import make_request, whole
from exact_vae.vae_core.families import FAMILIES, Half, build
from exact_vae.vae_core.ops import (
    Conv2d,
    DoublingConv,
    LookBack,
    OneFrame,
    Ops,
    Upsample2x,
    as_single_frame,
    leaves,
    map_ops,
)
from torch import Tensor

RESULT = Path(__file__).parent / "results" / "doubling.md"
BITS = {torch.bfloat16: 8, torch.float16: 11}
OWN = 53  # bits of float64
PIXELS = 1024
HEAD = """# Rounding of joined doublings

`benchmarks/doubling.py`, torch {torch}: {draws} draws of a latent of {latent} x {latent}. Errors of the joined op, as a
multiple of those of the two ops (root mean square). Multiplications: of a decode of {pixels} px, joined and not.

| weights | dtype | error of the two ops | summed from fp32 | from rounded | file in half precision | multiplications |
|---|---|---|---|---|---|---|
"""


class Case(NamedTuple):
    title: str
    vae: Any  # in float64, of weights that fp32 holds


def list_cases(only: list[str]) -> Iterator[Case]:
    """The built-in VAE, which is trained, and an example of each family."""
    if not only or "built-in" in only:
        yield Case("built-in VAE, trained", load(dtype=torch.float64))
    for family in FAMILIES:
        if "decoder" not in family.example.parts or (only and family.name not in only):
            continue
        network = build(family.name, family.example)
        ops = tuple(leaves(network.decode_ops()))
        if any(isinstance(a, Upsample2x) and isinstance(b, Conv2d) for a, b in pairwise(ops)):
            yield Case(family.name, from_weights(draw_weights(network), family.name, torch.float64))


def draw_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """Norms near 1, and what a layer makes as large as what it reads."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, shape in ((name, t.shape) for name, t in network.state_dict().items()):
        x = torch.randn(shape, generator=generator)
        flat = 0.1 * x + (1.0 if name.endswith("weight") else 0.0)
        made[name] = x / max(x[0].numel(), 1) ** 0.5 if x.ndim > 1 else flat
    return {name: t.abs() + 0.5 if name.endswith("running_var") else t for name, t in made.items()}


def round_to(x: Tensor, bits: int) -> Tensor:
    """To the nearest number of so many bits, by Veltkamp's splitting. x: float64, of any shape."""
    large = x * (2.0 ** (OWN - bits) + 1)
    return large - (large - x)


@torch.no_grad()
def decode(vae: Any, z: Tensor, bits: int, taps: Callable[[Conv2d], Tensor] | None = None) -> Tensor:
    """z (1, C, h, w) -> pixels. bits: 0 rounds nothing. taps: of the weights to sum, if doublings are joined."""

    def cut(x: Tensor) -> Tensor:
        return round_to(x, bits)

    def join(ops: Ops) -> Ops:
        result: list[Any] = []
        for op in ops:
            if taps and isinstance(op, Conv2d) and result and isinstance(result[-1], Upsample2x):
                result[-1] = DoublingConv(op, taps(op))
                result[-1].weight = cut(result[-1].weight)
            else:
                result.append(op)
        return tuple(result)

    def round_each(ops: Ops) -> Ops:
        ops = tuple(op.change(cut) if isinstance(op, OneFrame) else op for op in ops)  # the weights may be sums
        return tuple(one for op in ops for one in ((op,) if isinstance(op, LookBack) else (op, cut)))

    ops = as_single_frame(vae.network.decode_ops())
    ops = map_ops(map_ops(ops, join), round_each) if bits else ops
    z = whole.run(vae.network.from_latent_ops(), z)
    return whole.run(ops, cut(z) if bits else z)


def measure(case: Case, dtype: torch.dtype, draws: int, latent: int) -> list[float]:
    """The error of the two ops; as multiples those of the joined one: from fp32, from rounded, of a rounded file."""
    bits, exact = BITS[dtype], case.vae
    rounded = from_weights({n: t.clone() for n, t in exact.network.state_dict().items()}, case.title, torch.float64)
    before = {id(p): old for p, old in zip(rounded.network.parameters(), exact.network.parameters(), strict=True)}
    for parameter in rounded.network.parameters():
        parameter.data = round_to(parameter.data, bits)
    ways = (None, lambda conv: before[id(conv.weight)], lambda conv: conv.weight)
    squares = torch.zeros(2, len(ways), dtype=torch.float64)
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        z = round_to(torch.randn(1, exact.latent_channels, latent, latent, generator=generator).double(), bits)
        wanted = [decode(vae, z, 0) for vae in (exact, rounded)]
        for i, way in enumerate(ways):
            made = decode(rounded, z, bits, way)
            squares[:, i] += torch.stack([((made - want) / want.std()).square().mean() for want in wanted])
    of_file, of_half = (squares / draws).sqrt().tolist()
    return [of_file[0], of_file[1] / of_file[0], of_file[2] / of_file[0], of_half[2] / of_half[0]]


def count(case: Case, joined: bool) -> float:
    """Multiplications of one decode, in 10^12."""
    vae = case.vae
    side = PIXELS // vae.decoded_ratio
    shape = (1, vae.latent_channels, side, side)
    doublings = sum(isinstance(op, Upsample2x) for op in leaves(vae.network.decode_ops()))
    kinds = (DoublingConv,) * (doublings if joined else 0)
    return make_request(vae.family, vae.config, Half.DECODER, shape, torch.bfloat16, joined=kinds).work / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--latent", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    asked = parser.parse_args()
    lines, worst = [], -math.inf
    for case in list_cases(asked.only):
        work = f"{count(case, True):.2f} instead of {count(case, False):.2f} x 10^12"
        for dtype in BITS:
            error, *ratios = measure(case, dtype, asked.draws, asked.latent)
            worst = max(worst, ratios[0])
            cells = [case.title, str(dtype).removeprefix("torch."), f"{error:.2e}", *(f"{r:.3f}" for r in ratios), work]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    print(f"summed from fp32: {worst:.3f} times at most")
    if asked.write:
        facts = {"torch": torch.__version__, "draws": asked.draws, "latent": asked.latent, "pixels": PIXELS}
        RESULT.write_text(HEAD.format(**facts) + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
