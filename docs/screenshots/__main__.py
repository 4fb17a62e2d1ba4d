"""Images of ComfyUI for the help pages and the README: python docs/screenshots [--url URL] [--only nodes|readme]

A ComfyUI with this pack must run at the URL; its queue is used, and its output folder gets a few files. Chromium, its
driver and the package selenium are needed; and, for the image of img2img, any file in models/checkpoints that has the
name of the checkpoint it asks for.
"""

import argparse
import io
import json
from pathlib import Path

from browser import Editor
from every_node import RECIPE, SHOWN, declared_by
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).parents[2]
HELP, README, EXAMPLES = ROOT / "web" / "docs" / "images", ROOT / "docs" / "images", ROOT / "example_workflows"
QUALITY = 85
GRAPHS = {
    README / "round_trip.jpg": "round_trip",
    README / "latent_walk.jpg": "latent_walk",
}
WIDEST = 1400  # pixels of an image in the README


def main() -> None:
    options = argparse.ArgumentParser(description="Take the images of ComfyUI.")
    options.add_argument("--url", default="http://127.0.0.1:8188")
    options.add_argument("--only", choices=["nodes", "readme"])
    chosen = options.parse_args()
    with Editor(chosen.url) as editor:
        if chosen.only != "readme":
            nodes(editor)
        if chosen.only != "nodes":
            readme(editor)


def nodes(editor: Editor) -> None:
    """Every node after a run, with what it says; in each file stands what its node declared then."""
    editor.links(False)
    editor.open(RECIPE.workflow())
    editor.run()
    editor.choose_first("ExactLoadLatent", "latent")  # it has a file to show only now
    for kind in SHOWN:
        editor.grow(kind)
        note = PngImagePlugin.PngInfo()
        note.add_text("declares", json.dumps(declared_by(kind)))
        image = Image.open(io.BytesIO(editor.node(kind))).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        image.save(HELP / f"{kind}.png", pnginfo=note, optimize=True)
    editor.links(True)


def readme(editor: Editor) -> None:
    for path, name in GRAPHS.items():
        editor.open(json.loads((EXAMPLES / f"{name}.json").read_text()))
        editor.run()
        _save(path, editor.graph())
    editor.open(json.loads((EXAMPLES / "img2img.json").read_text()))
    _save(EXAMPLES / "img2img.jpg", editor.graph(), 900)
    _save(README / "templates.jpg", editor.templates("comfyui-exact-vae"))


def _save(path: Path, png: bytes, widest: int = WIDEST) -> None:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((widest, widest), Image.Resampling.LANCZOS)
    image.save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
