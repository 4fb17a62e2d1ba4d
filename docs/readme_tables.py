"""The README's list of files, from the families themselves. `python docs/readme_tables.py` writes it anew."""

import re
from pathlib import Path

from exact_vae.vae_core.families import FAMILIES, FOREIGN

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- files: made by docs/readme_tables.py -->\n", "<!-- end of files -->\n"


def files() -> str:
    """A row for each member of each family; then the VAEs that are known but not run."""
    rows = [
        f"| {m.models} | {m.channels} | {m.ratio} | {m.frames or ''} | `{family.name}` |"
        for family in FAMILIES
        for m in family.members
    ]
    head = ["| models | channels | ratio | frames to one | family |", "|---|---|---|---|---|"]
    refused = ", ".join(re.sub(r" \(\d+ channels[^)]*\)", "", row.title) for row in FOREIGN)
    return "\n".join([*head, *rows, "", f"Recognised, but refused by name: {refused}.", ""])


def write_files(readme: str) -> str:
    """The README with the list as it should be."""
    before, rest = readme.split(START)
    return before + START + files() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(write_files(README.read_text()))
