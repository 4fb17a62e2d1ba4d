"""docs/architecture.md: calls enter the files that its drawings show, in the order in which these are listed."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS
from exact_vae.vae_core import load
from exact_vae.vae_core.checkpoints import built_in, detection

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text()
FILE = r"[\w/]+\.py\b"
ENCODE, DECODE, LOAD = (
    re.findall(rf"^ \|  +({FILE})", block, re.MULTILINE)
    for block in re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[:3]
)
SIDES = {"execution/whole.py": 64, "execution/bands/flows.py": 384}  # pixels of an image that runs so on a CPU


def find(path: str) -> Path:
    """A file as the page names it: from the root, or in vae_core."""
    return next((p for p in (ROOT / path, ROOT / "vae_core" / path) if p.exists()), ROOT / path)


def trace(call: Callable[[], Any]) -> tuple[list[Path], Any]:
    """The files that the call enters, in order, each time that it comes from another one; and the result."""
    entered = [""]

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename != entered[-1]:
            entered.append(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    paths = {name: Path(name).resolve() for name in set(entered)}
    return [paths[name] for name in entered], result


def call_node(name: str, **inputs: Any) -> Any:
    node = NODE_CLASS_MAPPINGS[name]()
    returned = getattr(node, node.FUNCTION)(**inputs)
    return returned["result"][0] if isinstance(returned, dict) else returned[0]


def out_of_order(drawn: list[str], entered: list[Path]) -> list[str]:
    """Files of a drawing that the call does not enter after the file before."""
    wrong, left = [], iter(entered)
    for path in drawn:
        if find(path) not in left:  # searches on from the file before
            wrong.append(path)
            left = iter(entered)
    return wrong


def test_the_way_of_a_file():
    detection._judge.cache_clear()  # which knows this file from other tests
    entered, _ = trace(lambda: load(built_in.VAE_FILE))
    assert len(LOAD) > 10 and not out_of_order(LOAD, entered)


@pytest.mark.parametrize("way", SIDES)
def test_the_way_of_an_image(way):
    """Of the two ways to run, the drawing shows both."""
    others = SIDES.keys() - {way}
    vae, image = load(), torch.rand(1, SIDES[way], SIDES[way], 3)
    entered, latent = trace(lambda: call_node("ExactVAEEncode", pixels=image, vae=vae))
    assert len(ENCODE) > 20 and not out_of_order([p for p in ENCODE if p not in others], entered)
    entered, _ = trace(lambda: call_node("ExactVAEDecode", samples=latent, vae=vae))
    assert len(DECODE) > 15 and not out_of_order(DECODE, entered)


def test_what_it_names_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (PAGE.parent / target).exists(), target
    names = re.findall(r"`([\w/]+(?:/\w+|\.py))`", TEXT)
    assert len(names) > 30
    folders = ("", "vae_core", "vae_core/execution/plans", "headless")
    missing = [n for n in names if not any((ROOT / folder / n).exists() for folder in folders)]
    assert not missing
