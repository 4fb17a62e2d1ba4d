"""Masks and holes."""

import numpy as np
import pytest
from PIL import Image
from support.comfyui_graphs import CORE, OURS, graph, in_comfyui, in_headless


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_inpainting(server, loader):
    nodes = graph(
        ("LoadImage", {"image": "even.png"}),
        loader,
        ("VAEEncodeForInpaint", {"pixels": ["1", 0], "vae": ["2", 0], "mask": ["1", 1], "grow_mask_by": 6}),
        ("ExactVAEDecode", {"samples": ["3", 0], "vae": ["2", 0]}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "inpaint"}),
    )
    assert in_comfyui(server, nodes).shape == (56, 72, 3)


@pytest.mark.parametrize("loader", [OURS, CORE], ids=["our loader", "core's loader"])
def test_a_hole_is_filled_and_the_rest_stays_to_the_bit(server, tmp_path, loader):
    image = np.asarray(Image.open(server.base / "input" / "odd.png"))
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[20:40, 24:50] = 0  # LoadImage gives a mask of what is transparent
    Image.fromarray(np.concatenate([image, alpha], -1)).save(server.base / "input" / "hole.png")
    nodes = graph(
        ("LoadImage", {"image": "hole.png"}),
        loader,
        ("ExactVAEEncodeForInpaint", {"pixels": ["1", 0], "vae": ["2", 0], "mask": ["1", 1], "grow_mask_by": 6}),
        ("ExactVAEDecodeOntoOriginal",
         {"samples": ["3", 0], "vae": ["2", 0], "image": ["1", 0], "mask": ["1", 1], "feather": 4}),
        ("SaveImage", {"images": ["4", 0], "filename_prefix": "onto"}),
    )  # fmt: skip
    found = in_comfyui(server, nodes)
    outside = alpha[..., 0] == 255
    assert np.array_equal(found[outside], image[outside]) and not np.array_equal(found[~outside], image[~outside])
    if loader == OURS:
        assert np.array_equal(found, in_headless(server, nodes, tmp_path))


def test_a_hole_is_encoded_as_core_encodes_it(server):
    """Grey where the mask was before it grew."""

    def decoded(node: str) -> np.ndarray:
        nodes = graph(
            ("LoadImage", {"image": "even.png"}),
            ("SolidMask", {"value": 0.0, "width": 72, "height": 56}),
            ("SolidMask", {"value": 1.0, "width": 20, "height": 13}),
            ("MaskComposite", {"destination": ["2", 0], "source": ["3", 0], "x": 27, "y": 18, "operation": "add"}),
            CORE,
            (node, {"pixels": ["1", 0], "vae": ["5", 0], "mask": ["4", 0], "grow_mask_by": 7}),
            ("VAEDecode", {"samples": ["6", 0], "vae": ["5", 0]}),
            ("SaveImage", {"images": ["7", 0], "filename_prefix": node}),
        )
        return in_comfyui(server, nodes)

    assert np.abs(decoded("ExactVAEEncodeForInpaint") - decoded("VAEEncodeForInpaint")).max() <= 1
