"""Images of ComfyUI for the help pages and the README.

    python docs/screenshots (--comfyui FOLDER | --url URL) [--only nodes|readme]

--comfyui  starts a ComfyUI from this folder on the CPU, in a temporary folder of models and results. The variable
           EXACT_VAE_COMFYUI_PYTHON names the interpreter that has ComfyUI's requirements, if it is not this one.
--url      uses a ComfyUI with this pack that runs already: its queue is used, its output folder gets a few files, and
           models/checkpoints must hold a file of the name that the workflow img2img asks for.

Chromium, its driver and the package selenium are needed.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from browser import Editor
from every_node import RECIPE, SHOWN, list_declared
from exact_vae.vae_core.checkpoints import built_in
from PIL import Image, PngImagePlugin

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.comfyui_server import Server  # noqa: E402

HELP, README, EXAMPLES = ROOT / "web" / "docs" / "images", ROOT / "docs" / "images", ROOT / "example_workflows"
QUALITY = 85
GRAPHS = {
    README / "round_trip.jpg": "round_trip",
    README / "latent_walk.jpg": "latent_walk",
}
WIDEST = 1400  # pixels of an image in the README


def main() -> None:
    options = argparse.ArgumentParser(description="Take the images of ComfyUI.")
    options.add_argument("--url", default="http://127.0.0.1:8188", help="of a ComfyUI that runs already")
    options.add_argument("--comfyui", type=Path, metavar="FOLDER", help="start a ComfyUI from this folder instead")
    options.add_argument("--only", choices=["nodes", "readme"])
    chosen = options.parse_args()
    with start_comfyui(chosen.comfyui) if chosen.comfyui else nullcontext(chosen.url) as url, Editor(url) as editor:
        if chosen.only != "readme":
            take_nodes(editor)
        if chosen.only != "nodes":
            take_workflows(editor)


@contextmanager
def start_comfyui(folder: Path) -> Iterator[str]:
    """A ComfyUI with this pack, for as long as the block runs; gives its URL."""
    workflow = json.loads((EXAMPLES / "img2img.json").read_text())
    with tempfile.TemporaryDirectory() as base:
        server = Server(folder, Path(base), test_nodes=False)
        for name in [value for node in workflow["nodes"] for value in node.get("widgets_values", ())]:
            if str(name).endswith((".safetensors", ".ckpt")):
                Path(base, "models", "checkpoints", name).touch()  # only its name is shown
        try:
            server.wait()
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.stop()


def take_nodes(editor: Editor) -> None:
    """Take an image of every node after a run. The file's text 'declares' keeps the inputs that the node declared."""
    for name, photograph in built_in.PHOTOGRAPHS.items():  # for the node that encodes a folder
        png = io.BytesIO()
        Image.open(photograph).convert("RGB").resize((256, 192)).save(png, "PNG")
        editor.upload(f"{name}.png", png.getvalue())
    editor.links(False)
    editor.open(RECIPE.workflow())
    editor.run()
    editor.choose_first("ExactLoadLatent", "latent")  # it has a file to show only now
    for kind in SHOWN:
        editor.grow(kind)
        note = PngImagePlugin.PngInfo()
        note.add_text("declares", json.dumps(list_declared(kind)))
        image = Image.open(io.BytesIO(editor.node(kind))).convert("RGB").quantize(64, dither=Image.Dither.NONE)
        image.save(HELP / f"{kind}.png", pnginfo=note, optimize=True)
    editor.links(True)


def take_workflows(editor: Editor) -> None:
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
