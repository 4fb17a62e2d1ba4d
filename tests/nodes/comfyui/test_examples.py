"""The example workflows run, read as the editor sends them; img2img, which needs a model, in test_models.py."""

import numpy as np
import pytest
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from support.comfyui_graphs import pixels
from support.comfyui_server import ROOT

FOLDER = ROOT / "example_workflows"
RUNNABLE = [path.stem for path in sorted(FOLDER.glob("*.json")) if path.stem != "img2img"]
SHOWING = ("PreviewImage", "SaveImage")


@pytest.mark.parametrize("name", RUNNABLE)
def test_it_runs_and_shows_what_the_headless_runner_shows(server, tmp_path, name):
    """In small, and in fp32: bf16 is slow on most CPUs."""
    core = headless.core_nodes(server.base / "input", tmp_path, tmp_path, NODE_CLASS_MAPPINGS)
    known = {**NODE_CLASS_MAPPINGS, **core}
    nodes = headless.load(FOLDER / f"{name}.json", known).to_json()
    for node in nodes.values():
        quicker = {"width": 72, "height": 64, "x": 16, "y": 16, "dtype": "fp32"}
        node["inputs"] |= {key: quicker[key] for key in quicker.keys() & node["inputs"].keys()}
    found = server.prompt(nodes)
    assert found["status"]["status_str"] == "success"
    with host.surroundings(server.base / "models", output=tmp_path, input=server.base / "input"):
        want = headless.run(headless.parse(nodes), known)
    assert want.report.ok
    showing = [number for number, node in nodes.items() if node["class_type"] in SHOWING]
    assert showing
    for number in showing:
        shown = [server.base / one["type"] / one["subfolder"] / one["filename"]
                 for one in found["outputs"][number]["images"]]  # fmt: skip
        other = [tmp_path / one["subfolder"] / one["filename"] for one in want.outputs[number]["images"]]
        assert len(shown) == len(other) > 0
        for one, twin in zip(shown, other, strict=True):
            if name == "video_file":  # libx264 now and then makes other bits of the same frames, also in one thread
                assert np.abs(pixels(one).astype(int) - pixels(twin)).mean() < 1
            elif name != "doctor":  # whose image names the versions of its process
                assert np.array_equal(pixels(one), pixels(twin))
