"""PYTHONPATH=tests python -m attack [--share 1.0] [--only WORD] [--first SEED]

Runs all attacks, at full size by default, and prints the table of counts, then what was bad. Exit code 1 if anything
was. `tests/attack/test_attacks.py` runs some of each in the suite; `kills.py` kills commands while they write.
"""

import argparse
import sys

import torch

from attack import list_attacks
from attack.harness import HEADER, LONGEST, describe, run


def main() -> int:
    options = argparse.ArgumentParser(prog="attack", description=__doc__)
    options.add_argument("--share", type=float, default=1.0, help="of the cases of each attack")
    options.add_argument("--only", default="", help="attacks whose names hold this")
    options.add_argument("--first", type=int, default=0, help="seed of the first case")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(HEADER)
    bad = []
    for attack in (one for one in list_attacks() if chosen.only in one.name):
        count = run(attack, max(1, round(attack.full * chosen.share)), chosen.first, LONGEST)
        print(count.format_row(attack.name), flush=True)
        bad += [describe(attack.name, *one) for one in count.bad]
    print("\n\n".join(["", *bad[:20]]), file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    raise SystemExit(main())
