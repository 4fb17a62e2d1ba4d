"""Broken graphs, and what a real ComfyUI (0.33) answered to POST /prompt for each: the same messages here."""

import json
from pathlib import Path

import pytest
from exact_vae.headless import check, parse, read_definitions

ANSWERS = json.loads((Path(__file__).parent / "workflows" / "forms" / "answers.json").read_text())
OTHERWISE = ("link_negative",)  # the host takes ["1", -1], and reads the last output; here no node has an output -1
SIDE = {"min": 1, "max": 16384}
METHODS = [["nearest-exact", "bilinear", "area", "bicubic", "lanczos"], {}]


def declare(required: dict, *outputs: str, output_node: bool = False) -> dict:
    return {"input": {"required": required}, "output": outputs, "output_node": output_node}


CLASSES = read_definitions(
    {
        "EmptyImage": declare({"width": ["INT", SIDE], "height": ["INT", SIDE], "batch_size": ["INT", SIDE],
                               "color": ["INT", {}]}, "IMAGE"),
        "EmptyLatentImage": declare({"width": ["INT", SIDE], "height": ["INT", SIDE],
                                     "batch_size": ["INT", SIDE]}, "LATENT"),
        "ImageInvert": declare({"image": ["IMAGE"]}, "IMAGE"),
        "ImageBatch": declare({"image1": ["IMAGE"], "image2": ["IMAGE"]}, "IMAGE"),
        "ImageScaleBy": declare({"image": ["IMAGE"], "upscale_method": METHODS,
                                 "scale_by": ["FLOAT", {"min": 0.01, "max": 8.0}]}, "IMAGE"),
        "SaveImage": declare({"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}, output_node=True),
    }
)  # fmt: skip


def told(one: dict) -> list:
    return [one["type"], one["message"], one["details"]]


@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in OTHERWISE])
def test_the_messages_are_those_of_the_host(name):
    answer = ANSWERS[name]
    report = check(parse(answer["prompt"]), CLASSES)
    assert (told(report.error) if report.error else None) == answer["error"]
    found = {
        number: {"errors": [told(one) for one in entry["errors"]], "dependent_outputs": entry["dependent_outputs"]}
        for number, entry in report.node_errors.items()
    }
    assert found == answer["nodes"]
    assert report.ok or report.sentences()
