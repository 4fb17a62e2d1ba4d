"""The core nodes of the headless runner beside the real ones: the same pixels in the files that are saved."""

import numpy as np
import pytest
from exact_vae import headless
from PIL import Image

ODD = {"class_type": "LoadImage", "inputs": {"image": "odd.png"}}
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
CASES = {
    **{f"by_{m}": ("ImageScaleBy", {"upscale_method": m, "scale_by": 1.37}) for m in METHODS},
    **{f"to_{m}": ("ImageScale", {"upscale_method": m, "width": 40, "height": 90, "crop": "center"}) for m in METHODS},
    "wide": ("ImageScale", {"upscale_method": "area", "width": 90, "height": 31, "crop": "center"}),
    "one side": ("ImageScale", {"upscale_method": "bilinear", "width": 0, "height": 33, "crop": "disabled"}),
    "no side": ("ImageScale", {"upscale_method": "bilinear", "width": 0, "height": 0, "crop": "disabled"}),
    "crop": ("ImageCrop", {"width": 20, "height": 30, "x": 11, "y": 50}),
    "crop beyond": ("ImageCrop", {"width": 20, "height": 30, "x": 900, "y": 50}),
    "repeat": ("RepeatImageBatch", {"amount": 2}),
    "pick": ("ImageFromBatch", {"batch_index": -1, "length": 3}),
    "pick beyond": ("ImageFromBatch", {"batch_index": 7, "length": 1}),
    "invert": ("ImageInvert", {}),
    **{m[:1]: ("ImageFlip", {"flip_method": m}) for m in ("x-axis: vertically", "y-axis: horizontally")},
    **{f"turn {a}": ("ImageRotate", {"rotation": f"{a} degrees"}) for a in (90, 180, 270)},
    "batch": ("ImageBatch", {"image2": ["tall", 0]}),
}
MASKS = {
    "invert": ("InvertMask", {}),
    "threshold": ("ThresholdMask", {"value": 0.4}),
    "crop": ("CropMask", {"x": 3, "y": 5, "width": 30, "height": 20}),
}


def assert_same_pixels(server, tmp_path, graph: dict) -> None:
    graph["save"] = {"class_type": "SaveImage", "inputs": {"images": ["made", 0], "filename_prefix": "core"}}
    theirs = server.images(server.prompt(graph))
    nodes = headless.core_nodes(server.base / "input", tmp_path, tmp_path, {})
    shown = headless.run(headless.parse(graph), nodes).outputs["save"]["images"]
    assert len(shown) == len(theirs)
    for ours, their in zip(shown, theirs, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / ours["filename"])), np.asarray(Image.open(their)))


@pytest.mark.parametrize("name", CASES)
def test_images(server, tmp_path, name):
    kind, inputs = CASES[name]
    first = "image1" if kind == "ImageBatch" else "image"
    made = {"class_type": kind, "inputs": {first: ["odd", 0], **inputs}}
    assert_same_pixels(server, tmp_path, {"odd": ODD, "made": made, "tall": {**ODD, "inputs": {"image": "tall.png"}}})


@pytest.mark.parametrize("name", MASKS)
def test_masks(server, tmp_path, name):
    kind, inputs = MASKS[name]
    mask = {"class_type": "ImageToMask", "inputs": {"image": ["odd", 0], "channel": "green"}}
    changed = {"class_type": kind, "inputs": {"mask": ["mask", 0], **inputs}}
    made = {"class_type": "MaskToImage", "inputs": {"mask": ["changed", 0]}}
    assert_same_pixels(server, tmp_path, {"odd": ODD, "mask": mask, "changed": changed, "made": made})


def test_a_solid_mask_and_numbers(server, tmp_path):
    size = {"class_type": "GetImageSize", "inputs": {"image": ["odd", 0]}}
    value = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.3}}
    solid = {"class_type": "SolidMask", "inputs": {"value": ["value", 0], "width": ["size", 0], "height": ["size", 1]}}
    made = {"class_type": "MaskToImage", "inputs": {"mask": ["solid", 0]}}
    assert_same_pixels(server, tmp_path, {"odd": ODD, "size": size, "value": value, "solid": solid, "made": made})


def test_an_image_of_one_colour(server, tmp_path):
    made = {"class_type": "EmptyImage", "inputs": {"width": 13, "height": 7, "batch_size": 2, "color": 0x336699}}
    assert_same_pixels(server, tmp_path, {"made": made})
