"""What a node class must be for its hosts, and for the person who hovers over it."""

import inspect
import json
import re
from pathlib import Path

import pytest
from exact_vae import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, WEB_DIRECTORY
from PIL import Image

ROOT = Path(__file__).parents[2]
NODES = pytest.mark.parametrize(("node", "cls"), NODE_CLASS_MAPPINGS.items(), ids=NODE_CLASS_MAPPINGS)

# Core ids of ComfyUI that ours must never equal: the host would drop ours, and rename its own.
CORE_IDS = {"VAELoader", "VAEEncode", "VAEDecode", "VAEEncodeTiled", "VAEDecodeTiled", "VAEEncodeForInpaint", "VAESave",
            "EmptyLatentImage", "SaveLatent", "LoadLatent", "LatentInterpolate", "LoadImage", "SaveImage"}  # fmt: skip


SOCKETS = {"VAE", "IMAGE", "MASK", "LATENT", "NOISE"}


def inputs(cls) -> dict:
    types = cls.INPUT_TYPES()
    return {**types["required"], **types.get("optional", {})}


@NODES
def test_id(node, cls):
    assert re.fullmatch(r"Exact[A-Za-z0-9]+", node)
    assert node not in CORE_IDS
    assert node == f"Exact{cls.__name__}"
    name = NODE_DISPLAY_NAME_MAPPINGS[node]
    assert re.search(r"\(Exact(, (Tiled|for Inpainting|for VAE))?\)$", name), (
        "what core says in brackets stands in ours"
    )


@NODES
def test_a_seed_says_whether_the_editor_changes_it(node, cls):
    """It does after every run of a seed that says nothing, and so nothing would come from its cache."""
    for name in {"seed", "noise_seed"} & inputs(cls).keys():
        assert "control_after_generate" in inputs(cls)[name][1]


@NODES
def test_the_method_takes_just_the_inputs(node, cls):
    types = cls.INPUT_TYPES()
    parameters = list(inspect.signature(getattr(cls, cls.FUNCTION)).parameters.values())[1:]
    assert [p.name for p in parameters] == [*inputs(cls), *types.get("hidden", {})]
    assert [p.name for p in parameters if p.default is p.empty] == list(types["required"])[: len(types["required"])]


@NODES
def test_defaults_have_one_value(node, cls):
    """The widget's default and the method's are the same, for graphs that leave an input out."""
    parameters = inspect.signature(getattr(cls, cls.FUNCTION)).parameters
    for name, (kind, options) in cls.INPUT_TYPES().get("optional", {}).items():
        widget = options.get("default", kind[0] if isinstance(kind, list) else None)
        assert parameters[name].default == widget, name


@NODES
def test_the_editor_leaves_numbers_as_they_are_typed(node, cls):
    """It snaps what is typed to the least plus a whole number of steps: 512 became 513 where 1 was the least."""
    for name, (kind, options) in inputs(cls).items():
        if kind in ("INT", "FLOAT"):
            step = options.get("step", 1)
            for value in (options["min"], options["default"]):
                assert round(value / step, 6) == round(value / step), name


@NODES
def test_it_explains_itself(node, cls):
    assert cls.DESCRIPTION.endswith(".")
    assert cls.SEARCH_ALIASES and all(alias == alias.lower() for alias in cls.SEARCH_ALIASES)
    assert len(set(cls.SEARCH_ALIASES)) == len(cls.SEARCH_ALIASES)
    assert cls.CATEGORY.startswith("Exact VAE")
    assert len(cls.OUTPUT_TOOLTIPS) == len(cls.RETURN_TYPES) == len(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES))
    assert all(tooltip.endswith(".") for tooltip in cls.OUTPUT_TOOLTIPS)
    for name, (_, options) in inputs(cls).items():
        assert options["tooltip"].strip().endswith("."), name


@NODES
def test_numbers_have_bounds(node, cls):
    for name, (kind, options) in inputs(cls).items():
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], name


@NODES
def test_an_output_node_shows_what_it_did(node, cls):
    """One without outputs would never be run otherwise."""
    assert cls.RETURN_TYPES or getattr(cls, "OUTPUT_NODE", False)


@NODES
def test_only_widgets_that_may_be_left_alone_are_folded_away(node, cls):
    """Never a socket, and never what has to be chosen."""
    types = cls.INPUT_TYPES()
    folded = {name: kind for name, (kind, options) in inputs(cls).items() if options.get("advanced")}
    assert not set(folded) & set(types["required"])
    assert not [name for name, kind in folded.items() if isinstance(kind, str) and kind in SOCKETS]


@NODES
def test_help_page(node, cls):
    """A page per node, naming every input and every output."""
    page = (ROOT / WEB_DIRECTORY / "docs" / f"{node}.md").read_text()
    assert page.startswith(f"# {NODE_DISPLAY_NAME_MAPPINGS[node]}\n")
    assert f"](images/{node}.png)" in page
    assert 1_000 < (ROOT / WEB_DIRECTORY / "docs" / "images" / f"{node}.png").stat().st_size < 100_000
    outputs = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
    assert not [name for name in (*inputs(cls), *outputs) if f"`{name}`" not in page]
    assert ("\n## Outputs\n" in page) == bool(outputs)


def test_there_is_no_page_too_many():
    assert {path.stem for path in (ROOT / WEB_DIRECTORY / "docs").glob("*.md")} == set(NODE_CLASS_MAPPINGS)


def test_core_s_parameter_names():
    """So that our nodes can be put in the place of core's."""
    assert set(inputs(NODE_CLASS_MAPPINGS["ExactVAEEncode"])) >= {"pixels", "vae"}
    assert list(inputs(NODE_CLASS_MAPPINGS["ExactVAEDecode"]))[:2] == ["samples", "vae"]
    inpaint = list(inputs(NODE_CLASS_MAPPINGS["ExactVAEEncodeForInpaint"]))
    assert inpaint[:4] == ["pixels", "vae", "mask", "grow_mask_by"]
    assert list(inputs(NODE_CLASS_MAPPINGS["ExactVAESave"]))[:2] == ["vae", "filename_prefix"]
    assert list(inputs(NODE_CLASS_MAPPINGS["ExactSaveLatent"]))[:2] == ["samples", "filename_prefix"]
    assert list(inputs(NODE_CLASS_MAPPINGS["ExactLoadLatent"])) == ["latent"]
    mixed = inputs(NODE_CLASS_MAPPINGS["ExactLatentInterpolate"])
    assert list(mixed)[:3] == ["samples1", "samples2", "ratio"] and mixed["ratio"][1]["default"] == 1.0
    assert list(inputs(NODE_CLASS_MAPPINGS["ExactEmptyLatent"]))[1:4] == ["width", "height", "batch_size"]
    sizes = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    for node in ("ExactVAETiledEncode", "ExactVAETiledDecode"):
        tiled = inputs(NODE_CLASS_MAPPINGS[node])
        core_s, ours = list(tiled)[:6], list(tiled)[6:]
        assert {name: tiled[name][1]["default"] for name in core_s[2:]} == sizes
        assert core_s[:2] == list(inputs(NODE_CLASS_MAPPINGS[node.replace("Tiled", "")]))[:2]
        assert ours[:2] == ["mode", "keep"]  # last, or widgets of core's workflows would go astray


@NODES
def test_its_help_image_shows_the_node_of_today(node, cls):
    """Else: python docs/screenshots"""
    names = list(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES))
    today = {"name": NODE_DISPLAY_NAME_MAPPINGS[node], "outputs": names, "inputs": list(inputs(cls))}
    with Image.open(ROOT / "web" / "docs" / "images" / f"{node}.png") as image:
        assert json.loads(image.info["declares"]) == today


def workflows() -> list[Path]:
    return sorted((ROOT / "example_workflows").glob("*.json"))


def test_there_is_an_example():
    assert "round_trip" in [p.stem for p in workflows()]


@pytest.mark.parametrize("path", workflows(), ids=lambda p: p.stem)
def test_an_example_has_a_thumbnail(path):
    assert path.with_suffix(".jpg").stat().st_size > 10_000
