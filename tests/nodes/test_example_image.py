"""The photographs that workflows begin with."""

import pytest
import torch
from exact_vae.vae_core.checkpoints import built_in
from support.node_calls import call, run_node, text


@pytest.mark.parametrize("image", built_in.PHOTOGRAPHS)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 200), (1, 1), (800, 16)])
def test_any_size(image, width, height):
    image, mask = run_node("ExactExampleImage", image=image, width=width, height=height)
    assert image.shape == (1, height, width, 3) and mask.shape == (1, height, width)
    assert image.min() >= 0 and image.max() <= 1
    assert mask.unique().tolist() in ([0, 1], [1])


def test_shapes_are_kept():
    """The middle of the wide image at its own height is that of the square one: nothing is stretched."""
    wide, _ = run_node("ExactExampleImage", image="heron", width=750, height=422)
    square, _ = run_node("ExactExampleImage", image="heron", width=422, height=422)
    assert torch.equal(square, wide[:, :, 164 : 164 + 422])


def test_the_mask_is_in_the_middle():
    _, mask = run_node("ExactExampleImage", image="cat", width=40, height=80)
    rows, columns = (mask[0].any(d).nonzero().flatten() for d in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (20, 59, 10, 29)


def test_nothing_is_odd_about_its_latent():
    """The built-in VAE is no model's: its spread, about 1, is no reason to call its latents scaled."""
    image, _ = run_node("ExactExampleImage", image="cat", width=128, height=128)
    vae = call("ExactVAELoader", vae_name=built_in.NAME, dtype="fp32")
    report = text("ExactLatentInspect", samples=call("ExactVAEEncode", pixels=image, vae=vae))
    assert "shape" in report and "warning" not in report
