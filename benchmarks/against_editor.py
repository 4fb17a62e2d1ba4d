"""Reads workflows beside ComfyUI's own editor: does `headless` make of a file what the editor would send?

    python benchmarks/against_editor.py --comfyui FOLDER [--keep FOLDER] [--only WORD] [--resaved] [FILE ...]

Without files it takes all templates of the package comfyui-workflow-templates and the blueprints of ComfyUI. It needs
Chromium, its driver and the package selenium. EXACT_VAE_COMFYUI_PYTHON names the interpreter that has ComfyUI's
requirements, if it is not this one.
--keep     a folder for what the editor answered; a later run asks the editor only for files that are not in it
--only     only files with this word in their names
--resaved  read the files as the editor saved them again, instead of as they were
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exact_vae import headless

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs" / "screenshots")]

ASK = """
    await app.loadGraphData(A[0]);
    await new Promise(done => setTimeout(done, 150));
    const made = await app.graphToPrompt();
    return JSON.stringify({prompt: made.output, workflow: made.workflow});
"""
FRESH = 60  # files that one page is asked for: it keeps them all
RENDERED = ("LOAD_3D",)  # types whose values the browser draws when it sends them
UNKNOWN, DRAWN = "a class that the server does not have", "an image that the browser renders"


def main() -> None:
    chosen = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        keep = chosen.keep or Path(temporary)
        files = [one for one in chosen.files or list_files(chosen.comfyui) if chosen.only in one.stem]
        record(files, chosen.comfyui, keep)
        report(files, keep, chosen.resaved)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--comfyui", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--resaved", action="store_true")
    return parser.parse_args()


def list_files(comfyui: Path) -> list[Path]:
    """All templates that are workflows, and all blueprints."""
    import comfyui_workflow_templates_json as package

    templates = Path(package.__path__[0]) / "templates"
    found = sorted(templates.glob("*.json")) + sorted((comfyui / "blueprints").glob("*.json"))
    return [one for one in found if "nodes" in read(one)]


def record(files: list[Path], comfyui: Path, keep: Path) -> None:
    """Ask the editor for those files that are not kept yet."""
    missing = [one for one in files if not (keep / one.name).is_file()]
    keep.mkdir(parents=True, exist_ok=True)
    if not missing:
        return
    from browser import Editor
    from support.comfyui_server import Server

    with tempfile.TemporaryDirectory() as base:
        server = Server(comfyui, Path(base), test_nodes=False, api_nodes=True)
        try:
            server.wait()
            (keep / "object_info").write_text(json.dumps(server.get("/object_info")))
            for start in range(0, len(missing), FRESH):
                with Editor(f"http://127.0.0.1:{server.port}") as editor:
                    for file in missing[start : start + FRESH]:
                        answer = editor.ask(ASK, read(file))
                        told = answer if answer.startswith("{") else json.dumps({"failed": answer})
                        (keep / file.name).write_text(told)
        finally:
            server.stop()


def report(files: list[Path], keep: Path, resaved: bool) -> None:
    """Print how many files are read alike, and what of the others is not."""
    nodes = headless.read_definitions(read(keep / "object_info"))
    counts: Counter[str] = Counter()
    for file in files:
        sent = read(keep / file.name)
        if "failed" in sent:
            print(f"{file.stem}: the editor itself fails: {sent['failed']}")
            continue
        try:
            graph = headless.parse(sent["workflow"] if resaved else read(file), nodes)
        except headless.GraphError as error:
            print(f"{file.stem}: REFUSED: {error}")
            counts["refused"] += 1
            continue
        found = list(compare(sent["prompt"], graph.to_json(), nodes))
        counts["differ" if any("DIFFERS" in one for one in found) else "explained" if found else "equal"] += 1
        print(*(f"{file.stem}: {one}" for one in dict.fromkeys(found)), sep="\n", end="\n" * bool(found))
    print(", ".join(f"{number} {what}" for what, number in counts.items()))


def compare(sent: Mapping[str, Any], ours: Mapping[str, Any], nodes: Mapping[str, Any]) -> Iterator[str]:
    """What is not alike, and why if there is a reason."""
    for number in sent.keys() ^ ours.keys():
        yield f"DIFFERS: node {number} is only {'sent' if number in sent else 'read'}"
    for number in sent.keys() & ours.keys():
        theirs, own = sent[number], ours[number]
        if own["class_type"] not in nodes:
            yield f"{UNKNOWN}: {own['class_type']}"
            continue
        types = {name: one[0] for kind in nodes[own["class_type"]].INPUT_TYPES().values() for name, one in kind.items()}
        for name in theirs["inputs"].keys() | own["inputs"].keys():
            pair = theirs["inputs"].get(name), own["inputs"].get(name)
            if pair[0] != pair[1]:
                known = types.get(name) in RENDERED
                yield f"{DRAWN}: {name}" if known else f"DIFFERS: node {number}, {name}: {pair[0]!r}, here {pair[1]!r}"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
