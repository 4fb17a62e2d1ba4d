"""One graph in a real ComfyUI and headless, and what the two give."""

from pathlib import Path

import numpy as np
from exact_vae import headless
from PIL import Image, ImageSequence


def node(kind: str, /, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def run_both(server, folder: Path, graph: dict) -> tuple[dict, dict]:
    """What the nodes of the graph show, there and here. folder: for the files that are written here."""
    theirs = server.prompt(graph)
    assert theirs["status"]["status_str"] == "success", theirs["status"]
    nodes = headless.core_nodes(server.base / "input", folder, folder, {})
    return theirs["outputs"], headless.run(headless.parse(graph), nodes).outputs


def files_of(server, folder: Path, graph: dict, kind: str = "images") -> list[tuple[Path, Path]]:
    theirs, ours = run_both(server, folder, graph)
    assert [one["filename"] for one in ours["save"][kind]] and len(ours["save"][kind]) == len(theirs["save"][kind])
    base = server.base / "output"
    return [(base / their["subfolder"] / their["filename"], folder / our["subfolder"] / our["filename"])
            for their, our in zip(theirs["save"][kind], ours["save"][kind], strict=True)]  # fmt: skip


def read_frames(path: Path) -> tuple[np.ndarray, list]:
    with Image.open(path) as file:
        frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(file)]
        return np.stack(frames), [file.info.get("duration"), file.info.get("loop"), "prompt" in file.info]


def assert_same_pixels(server, folder: Path, graph: dict) -> None:
    saved = node("SaveImage", images=["made", 0], filename_prefix="core")
    for their, our in files_of(server, folder, {**graph, "save": saved}):
        assert np.array_equal(np.asarray(Image.open(their)), np.asarray(Image.open(our)))
