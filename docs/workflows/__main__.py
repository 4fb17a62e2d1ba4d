"""The files of example_workflows/ and subgraphs/: python docs/workflows [--only NAME] [--thumbnails]

Each recipe becomes a workflow, for ComfyUI and for `exact-vae run`. With --thumbnails each is run without ComfyUI, and
what it shows becomes its image among ComfyUI's templates.
"""

import argparse
import json
import tempfile
from pathlib import Path

from blueprints import BLUEPRINTS, as_blueprint
from drawing import Recipe, in_editor_format, numbers
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from PIL import Image
from recipes import RECIPES

FOLDER = Path(__file__).parents[2] / "example_workflows"
SUBGRAPHS = FOLDER.parent / "subgraphs"  # where ComfyUI looks for the blueprints of a pack
SIZE, GAP = (640, 480), 6  # of a thumbnail, in pixels


def main() -> None:
    options = argparse.ArgumentParser(description="Draw the example workflows.")
    options.add_argument("--only", choices=list(RECIPES))
    options.add_argument("--thumbnails", action="store_true", help="run them, and keep what they show")
    chosen = options.parse_args()
    for name, one in BLUEPRINTS.items():
        (SUBGRAPHS / f"{name}.json").write_text(json.dumps(as_blueprint(name, one), indent=1) + "\n")
    for name in [chosen.only] if chosen.only else RECIPES:
        (FOLDER / f"{name}.json").write_text(json.dumps(in_editor_format(name, RECIPES[name]), indent=1) + "\n")
        if chosen.thumbnails and RECIPES[name].thumbnail:
            thumbnail(RECIPES[name]).save(FOLDER / f"{name}.jpg", quality=85, optimize=True)


def thumbnail(recipe: Recipe) -> Image.Image:
    """One image of what the named nodes show: a row for each node, or another arrangement if that is nearer 4:3."""
    rows = run_recipe(recipe)
    flat = [[one for row in rows for one in row]]
    sheets = [_sheet(rows), _sheet(flat), _sheet([[one] for one in flat[0]]), _sheet(_halves(flat[0]))]
    sheet = min(sheets, key=lambda one: abs(one.width / one.height - SIZE[0] / SIZE[1]))
    sheet.thumbnail(SIZE, Image.Resampling.LANCZOS)
    return sheet


def run_recipe(recipe: Recipe) -> list[list[Image.Image]]:
    with tempfile.TemporaryDirectory() as folder, host.surroundings(folder, output=folder, input=f"{folder}/input"):
        write_examples(Path(folder, "input"))
        nodes = {**NODE_CLASS_MAPPINGS, **headless.core_nodes(folder, folder, folder, NODE_CLASS_MAPPINGS)}
        outputs = headless.run(headless.parse(in_editor_format("", recipe), nodes), nodes).outputs
        images = [outputs[str(numbers(recipe)[name])]["images"] for name in recipe.thumbnail]
        return [[Image.open(Path(folder, one["subfolder"], one["filename"])).copy() for one in row] for row in images]


def write_examples(folder: Path) -> None:
    """The example images in other shapes, as what a user has put into the input folder."""
    folder.mkdir()
    for name, width, height in (("heron", 640, 512), ("cat", 512, 640), ("cat", 640, 512), ("heron", 512, 640)):
        image, _ = NODE_CLASS_MAPPINGS["ExactExampleImage"]().give(name, width, height)
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(folder / f"{name}_{width}.png")


def _halves(images: list[Image.Image]) -> list[list[Image.Image]]:
    half = (len(images) + 1) // 2
    return [images[:half], images[half:]]


def _sheet(rows: list[list[Image.Image]]) -> Image.Image:
    rows = [row for row in rows if row]
    widths = [sum(one.width + GAP for one in row) - GAP for row in rows]
    heights = [max(one.height for one in row) for row in rows]
    sheet = Image.new("RGB", (max(widths), sum(heights) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for one in row:
            sheet.paste(one, (left, top))
            left += one.width + GAP
        top += height + GAP
    return sheet


if __name__ == "__main__":
    main()
