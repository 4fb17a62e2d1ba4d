"""Core nodes that give images and masks another size, and paste them. The numbers are those that the real core gave."""

import pytest
import torch
from exact_vae.headless import core_nodes
from exact_vae.vae_core.errors import BadRequest

ODD = torch.linspace(0, 1, 13 * 17 * 3).reshape(1, 13, 17, 3)


def made(kind: str, **inputs):
    return core_nodes("in", "out", "temp", {})[kind]().run(**inputs)[0]


@pytest.mark.parametrize(
    "rule, width, height",
    [
        ({"resize_type": "scale dimensions", "width": 5, "height": 0, "crop": "center"}, 5, 4),
        ({"resize_type": "scale by multiplier", "multiplier": 0.5}, 8, 6),
        ({"resize_type": "scale longer dimension", "longer_size": 40}, 40, 31),
        ({"resize_type": "scale shorter dimension", "shorter_size": 5}, 7, 5),
        ({"resize_type": "scale width", "width": 0}, 17, 13),
        ({"resize_type": "scale height", "height": 40}, 52, 40),
        ({"resize_type": "scale total pixels", "megapixels": 0.01}, 117, 90),
        ({"resize_type": "match size", "match": torch.zeros(2, 5, 6), "crop": "center"}, 6, 5),
        ({"resize_type": "scale to multiple", "multiple": 8}, 16, 8),
        ({"resize_type": "scale to multiple", "multiple": 16}, 17, 13),
    ],
    ids=range(10),
)
def test_rules_of_a_size(rule, width, height):
    assert made("ResizeImageMaskNode", input=ODD, resize_type=rule, scale_method="area").shape == (1, height, width, 3)
    mask = made("ResizeImageMaskNode", input=ODD[..., 0], resize_type=rule, scale_method="lanczos")
    assert mask.shape == (1, height, width)


def test_names_of_a_graph_become_the_inputs_of_a_choice():
    node = core_nodes("in", "out", "temp", {})["ResizeImageMaskNode"]()
    given = {"resize_type": "scale width", "resize_type.width": 5, "scale_method": "area"}
    assert node.run_nested(input=ODD, **given)[0].shape == (1, 4, 5, 3)


def test_a_choice_that_there_is_not_is_refused():
    node = core_nodes("in", "out", "temp", {})["ResizeImageMaskNode"]()
    with pytest.raises(BadRequest, match=r"resize_type is 'scale heigth'; it can be .*; nearest is 'scale height'"):
        node.run_nested(input=ODD, resize_type="scale heigth", scale_method="area")


def test_a_size_of_no_pixel_is_refused():
    rule = {"resize_type": "scale longer dimension", "longer_size": 0}
    with pytest.raises(BadRequest, match="the size would be 0 x 0: a side has one pixel at least"):
        made("ResizeImageMaskNode", input=ODD, resize_type=rule, scale_method="area")


def test_sizes_that_models_know():
    scaled = {"image": ODD, "upscale_method": "bilinear"}
    assert made("ImageScaleToTotalPixels", **scaled, megapixels=0.03, resolution_steps=8).shape[1:3] == (152, 200)
    assert made("ImageScaleToMaxDimension", **scaled, largest_size=23).shape[1:3] == (18, 23)
    assert made("FluxKontextImageScale", image=torch.zeros(1, 100, 43, 1)).shape[1:3] == (1568, 672)
    assert made("ResizeImagesByLongerEdge", images=ODD, longer_edge=10).shape[1:3] == (7, 10)
    assert made("ResizeImagesByShorterEdge", images=ODD, shorter_edge=10).shape[1:3] == (10, 13)


@pytest.mark.parametrize("direction, gap", [("right", (0, 4)), ("left", (0, 6)), ("down", (3, 0)), ("up", (5, 0))])
def test_images_beside_one_another(direction, gap):
    black, grey = torch.zeros(3, 3, 4, 3), torch.full((2, 5, 6, 4), 0.5)
    given = {"image1": black, "image2": grey, "direction": direction, "spacing_width": 1, "spacing_color": "blue"}
    stitched = made("ImageStitch", **given, match_image_size=False)
    assert stitched.shape == ((3, 5, 12, 4) if direction in ("right", "left") else (3, 10, 6, 4))
    assert stitched[0][gap].tolist() == [0, 0, 1, 1]


def test_borders():
    narrow = {"image": torch.zeros(1, 1, 9, 3), "target_width": 4, "target_height": 4, "padding_color": "white"}
    assert torch.equal(made("ResizeAndPadImage", **narrow, interpolation="area"), torch.ones(1, 4, 4, 3))
    kept = torch.full((1, 3, 4, 3), 0.501)
    rule = {"resize_type": "scale dimensions", "width": 0, "height": 0, "crop": "disabled"}
    assert made("ResizeImageMaskNode", input=kept, resize_type=rule, scale_method="lanczos") is kept
    padded = made("ResizeAndPadImage", image=torch.full((1, 3, 4, 3), 0.5), target_width=9, target_height=4,
                  padding_color="white", interpolation="area")  # fmt: skip
    assert padded[0, 0, :, 0].tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    node = core_nodes("in", "out", "temp", {})["ImagePadForOutpaint"]()
    image, mask = node.run(torch.full((2, 9, 9, 3), 0.25), left=2, top=1, right=1, bottom=1, feathering=4)
    assert image[1, 0].eq(0.5).all() and mask.shape == (1, 11, 12)
    assert mask[0, 5].tolist() == [1, 1, 1, 0.5625, 0.25, 0.0625, 0, 0, 0.0625, 0.25, 0.5625, 1]


def test_masks_grow_and_fade():
    mask = torch.zeros(1, 7, 7)
    mask[0, 3, 3] = 0.5
    assert made("GrowMask", mask=mask, expand=2, tapered_corners=True).sum() == 6.5
    assert made("GrowMask", mask=mask, expand=2, tapered_corners=False).sum() == 12.5
    assert made("GrowMask", mask=1 - mask, expand=-1, tapered_corners=True).sum() == 49 - 2.5
    faded = made("FeatherMask", mask=torch.ones(1, 8), left=3, top=0, right=20, bottom=0)
    assert torch.allclose(faded[0, 0, :3] * 24, torch.tensor([8.0, 14.0, 18.0]))


def test_masks_meet():
    row, other = torch.tensor([[[0.0, 0.4, 0.6, 1.0]]]), torch.tensor([[[0.2, 0.5, 0.9]]])
    expected = {"add": [0.6, 1, 1], "subtract": [0.2, 0.1, 0.1], "and": [0, 0, 1], "or": [0, 1, 1], "xor": [0, 1, 0]}
    for operation, values in expected.items():
        met = made("MaskComposite", destination=row, source=other, x=1, y=0, operation=operation)
        assert torch.allclose(met, torch.tensor([[[0.0, *values]]])), operation
    assert torch.equal(made("MaskComposite", destination=row, source=other, x=9, y=9, operation="add"), row)


def test_alpha_and_pasting():
    clear = made("JoinImageWithAlpha", image=torch.zeros(1, 3, 4, 3), alpha=torch.tensor([[[0.0, 1.0], [0.5, 0.25]]]))
    assert clear[0, 0, :, 3].tolist() == [1, 0.75, 0.25, 0]
    pasted = made("ImageCompositeMasked", destination=torch.zeros(2, 4, 6, 3), source=torch.full((1, 3, 3, 4), 0.5),
                  x=1, y=0, resize_source=True, mask=torch.tensor([[[0.0, 1.0]]]))  # fmt: skip
    assert torch.allclose(pasted[1, 3, :, 0], torch.tensor([0, 0, 0, 0.5 / 3, 1 / 3, 0.5]))
    blended = made("ImageBlend", image1=torch.full((1, 1, 1, 3), 0.25), image2=torch.full((1, 1, 1, 3), 0.3),
                   blend_factor=1.0, blend_mode="soft_light")  # fmt: skip
    assert torch.allclose(blended, torch.tensor(0.175))
