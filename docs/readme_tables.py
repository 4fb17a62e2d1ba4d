"""Tables of README and docs that the code knows best. `python docs/readme_tables.py` writes them anew."""

import re
from pathlib import Path

import torch
from exact_vae.vae_core.devices import RULES, name_dtype
from exact_vae.vae_core.families import FAMILIES, FOREIGN

README = Path(__file__).parents[1] / "README.md"
PRECISION = Path(__file__).parent / "precision.md"
START, END = "<!-- {}: made by docs/readme_tables.py -->\n", "<!-- end of {} -->\n"

ONLY = {torch.float32: "", torch.bfloat16: "", torch.float16: " for VAEs that fit into it, otherwise fp32"}


def files() -> str:
    """A row for each member of each family; then the VAEs that are known but not run."""
    rows = [
        f"| {m.models} | {m.channels} | {m.ratio} | {m.frames or ''} | `{family.name}` |"
        for family in FAMILIES
        for m in family.members
    ]
    head = ["| models | channels | spatial ratio | temporal ratio | family |", "|---|---|---|---|---|"]
    refused = ", ".join(re.sub(r" \(\d+ channels[^)]*\)", "", row.title) for row in FOREIGN)
    return "\n".join([*head, *rows, "", f"Recognised, but refused by name: {refused}.", ""])


def cards() -> str:
    """A row for each rule of which card runs in which dtype."""
    rows = [f"| {rule.which} | {name_dtype(rule.dtype)}{ONLY[rule.dtype]} | {rule.why} |" for rule in RULES]
    return "\n".join(["| device | dtype | why |", "|---|---|---|", *rows, ""])


def write_table(page: str, name: str, table: str) -> str:
    """The page with this table as it should be."""
    start, end = START.format(name), END.format(name)
    before, rest = page.split(start)
    return before + start + table + end + rest.split(end)[1]


TABLES = ((README, "files", files), (PRECISION, "cards", cards))

if __name__ == "__main__":
    for path, name, make in TABLES:
        path.write_text(write_table(path.read_text(), name, make()))
