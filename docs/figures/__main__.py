"""The figures and tables of docs/what_is_a_vae.md: python docs/figures [--out DIR] [--only NAME] [--side N] [--png]

On one machine they come out the same to the pixel; another processor may round a few pixels one level away.
"""

import argparse
from importlib import import_module
from pathlib import Path

import torch
from common import write

SIDES = {"distribution": 160, "sampling": 192, "continuity": 192, "walk": 160, "completeness": 192, "plane": 288,
         "channels": 192, "sizes": 256, "blur": 256}  # fmt: skip
MEASURED = 256  # pixels a side of the photographs that tables are made from


def main() -> None:
    options = argparse.ArgumentParser(description="Draw the figures of docs/what_is_a_vae.md, print its tables.")
    options.add_argument("--out", type=Path, default=Path(__file__).parent)
    options.add_argument("--only", choices=list(SIDES))
    options.add_argument("--side", type=int, help="of one photograph, in pixels")
    options.add_argument("--png", action="store_true", help="every pixel as it is, however large the file")
    chosen = options.parse_args()
    torch.set_num_threads(1)  # sums of other numbers of threads differ in their last bits
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in [chosen.only] if chosen.only else SIDES:
        module = import_module(name)
        image = module.figure(chosen.side or SIDES[name])
        if chosen.png:
            image.save(chosen.out / f"{name}.png", optimize=True)
        else:
            write(image, chosen.out / name)
        if hasattr(module, "facts"):
            print(f"\n{name}\n\n" + "\n".join(module.facts(MEASURED)))


if __name__ == "__main__":
    main()
