"""Writes workflows that are a little different from real ones, to be read beside the editor.

    python benchmarks/mutated_workflows.py FOLDER [--number N] [--seed N] [--changes NAME,...] FILE ...
    python benchmarks/against_editor.py --comfyui COMFYUI FOLDER/*.json

Each is a file with one to three changes that people make, or that broken files show: nodes muted, bypassed or gone,
links cut or left dangling, values changed, missing or too many, nodes in another order. The names say which.
"""

import argparse
import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MUTED, BYPASSED = 2, 4  # modes of nodes, as files have them


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--changes", default=",".join(one.__name__ for one in CHANGES))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    workflows = [(one.stem, found) for one in chosen.files if "nodes" in (found := json.loads(one.read_text()))]
    for i in range(chosen.number):
        draw = random.Random(f"{chosen.seed} {i}")
        stem, workflow = draw.choice(workflows)
        made, told = mutate(workflow, draw, chosen.changes.split(","))
        (chosen.folder / f"{i:04}-{'-'.join(told)}-{stem}.json").write_text(json.dumps(made))


def mutate(workflow: Json, draw: random.Random, changes: list[str]) -> tuple[Json, list[str]]:
    """The workflow with some of these changes, and their names."""
    made = copy.deepcopy(workflow)
    graphs = [made, *(made.get("definitions") or {}).get("subgraphs", ())]
    told = []
    for _ in range(draw.randint(1, 3)):
        change = draw.choice([one for one in CHANGES if one.__name__ in changes])
        if change(draw.choice([one for one in graphs if one.get("nodes")]), draw):
            told.append(change.__name__)
    return made, told or ["same"]


def mute(graph: Json, draw: random.Random) -> bool:
    draw.choice(graph["nodes"])["mode"] = MUTED
    return True


def bypass(graph: Json, draw: random.Random) -> bool:
    draw.choice(graph["nodes"])["mode"] = BYPASSED
    return True


def unlink(graph: Json, draw: random.Random) -> bool:
    """As a person does it in the editor: no trace of the link is left."""
    links = [one for one in list_links(graph) if one]
    if not links:
        return False
    number = draw.choice(links)
    drop_link(graph, number)
    for node in graph["nodes"]:
        for socket in node.get("inputs") or ():
            if socket.get("link") == number:
                socket["link"] = None
        for socket in node.get("outputs") or ():
            socket["links"] = [one for one in socket.get("links") or () if one != number]
    return True


def dangle(graph: Json, draw: random.Random) -> bool:
    """The link is gone, and its sockets still name it."""
    links = list(list_links(graph))
    if links:
        drop_link(graph, draw.choice(links))
    return bool(links)


def remove(graph: Json, draw: random.Random) -> bool:
    """A node is gone, and links still lead to it."""
    if len(graph["nodes"]) < 2:
        return False
    graph["nodes"].remove(draw.choice(graph["nodes"]))
    return True


def reorder(graph: Json, draw: random.Random) -> bool:
    draw.shuffle(graph["nodes"])
    return True


def change_value(graph: Json, draw: random.Random) -> bool:
    row = choose_row(graph, draw)
    if row is None:
        return False
    i = draw.randrange(len(row))
    if isinstance(row[i], bool):
        row[i] = not row[i]
    elif isinstance(row[i], int | float):
        row[i] += draw.choice([1, 2, 0.5])
    elif isinstance(row[i], str):
        row[i] += " and more"
    return True


def shorten(graph: Json, draw: random.Random) -> bool:
    row = choose_row(graph, draw)
    if row is None:
        return False
    row.pop()
    return True


def lengthen(graph: Json, draw: random.Random) -> bool:
    row = choose_row(graph, draw)
    if row is None:
        return False
    row.append(draw.choice([7, "more", True, None]))
    return True


CHANGES: tuple[Callable[[Json, random.Random], bool], ...] = (
    mute, bypass, unlink, dangle, remove, reorder, change_value, shorten, lengthen,
)  # fmt: skip


def choose_row(graph: Json, draw: random.Random) -> list[Any] | None:
    """The values of a node that has some."""
    rows = [one["widgets_values"] for one in graph["nodes"] if isinstance(one.get("widgets_values"), list)]
    rows = [row for row in rows if row]
    return draw.choice(rows) if rows else None


def list_links(graph: Json) -> Iterator[Any]:
    """Their numbers: links are rows, and in subgraphs objects."""
    for link in graph.get("links") or ():
        yield link["id"] if isinstance(link, dict) else link[0]


def drop_link(graph: Json, number: Any) -> None:
    graph["links"] = [one for one in graph["links"] if (one["id"] if isinstance(one, dict) else one[0]) != number]


if __name__ == "__main__":
    main()
