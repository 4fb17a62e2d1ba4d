"""Headers with something missing, misshapen or absurd: a sentence that names it, and never another family."""

import random

import pytest
from exact_vae.vae_core import UnknownCheckpoint, detect
from support import slow
from support.headers import DC_AE, header

HUNYUAN = ["hunyuanvideo.diffusers", "hunyuanimage21-refiner.diffusers", "hunyuanimage3.ldm"]
CLIPS = [
    "taehv.original",
    "taeltx_2.original",
    "taehv1_5_super.original",
    "taem1.original",
    "taesdv.original",
    "svd.ldm",
    "svd.diffusers",
]


@pytest.mark.parametrize(
    "name", ["sd1.ldm", "sd1.diffusers", "flux2.ldm", "taef2.comfy", "taesd.diffusers", "hunyuanimage21.ldm",
             "hunyuanimage21.diffusers", "asymmetric-kl-x-2.ldm", "asymmetric-kl-x-2.diffusers",
             "amused-vq.diffusers", "kandinsky-movq.ldm", "kandinsky-movq.diffusers",
             *HUNYUAN, *DC_AE, *CLIPS]
)  # fmt: skip
def test_any_missing_tensor_is_named(name):
    """Whichever one is missing: the family is still told, and the tensor named."""
    shapes = header(name)["shapes"]
    for lost in random.Random(1).sample(sorted(shapes), 40):
        if lost.endswith("num_batches_tracked"):
            continue
        found = detect({n: s for n, s in shapes.items() if n != lost})
        assert not found.is_whole, lost
        original = detect(shapes)
        assert {original.names[n] for n in found.missing} == {lost}, lost


@pytest.mark.parametrize(
    "name", ["sd1.ldm", "sd3.diffusers", "taef1.comfy", "hunyuanimage21.original-prefixed", "hunyuanimage21.diffusers",
             "asymmetric-kl-x-2.ldm", "asymmetric-kl-x-2.diffusers", "amused-vq.diffusers", "kandinsky-movq.ldm",
             *HUNYUAN, *DC_AE, *CLIPS]
)  # fmt: skip
def test_any_misshapen_tensor_is_named(name):
    shapes = header(name)["shapes"]
    for bent in random.Random(2).sample(sorted(n for n, s in shapes.items() if s), 40):
        wrong = (shapes[bent][0] + 64, *shapes[bent][1:])
        found = detect({**shapes, bent: wrong})
        assert not found.is_whole
        assert any(bent in fault for fault in found.misshapen), bent


@pytest.mark.parametrize(
    "name", ["sd1.ldm", "sd1.diffusers", "flux2.ldm", "taef2.comfy", "taesd.decoder", "hunyuanimage21.diffusers",
             "hunyuanimage21.ldm", "asymmetric-kl-x-2.diffusers", "amused-vq.diffusers",
             "kandinsky-movq.ldm",
             *HUNYUAN, *DC_AE, *CLIPS]
)  # fmt: skip
def test_no_damage_to_a_header_is_more_than_a_sentence(name):
    """Whatever the shapes are changed to: a detection that is not whole, or a VAEError; never another exception."""
    shapes, pick = header(name)["shapes"], random.Random(3)
    for _ in range(60 if slow.IS_ASKED_FOR else 15):
        bent = dict(shapes)
        for tensor in pick.sample(sorted(bent), pick.choice([1, 1, 5, 40])):
            bent[tensor] = pick.choice(
                [(), (0,), (1,), (2**40,), (0, 0, 3, 3), (4, 4, 3, 3), (7, 5, 3, 3, 3), (33,) * 4]
            )
        for tensor in pick.sample(sorted(bent), pick.choice([0, 1, 30])):
            bent[tensor.replace(".0.", f".{pick.choice([1, 12, 9999])}.")] = bent.pop(tensor)
        try:
            assert not detect(bent).is_whole or bent == shapes
        except UnknownCheckpoint as e:
            assert "no VAE was found" in str(e) or "is not supported yet" in str(e)


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("decoder.conv_in.weight", (512, 36)),
        ("decoder.conv_in.weight", (512, 4, 3, 3, 3)),
        ("encoder.conv_out.weight", (8, 9)),
    ],
)
def test_a_tensor_of_another_rank_is_named(tensor, shape):
    found = detect({**header("sd1.ldm")["shapes"], tensor: shape})
    assert [fault.split()[0] for fault in found.misshapen] == [tensor]


def test_shapes_may_be_lists():
    shapes = header("sd1.ldm")["shapes"]
    assert detect({n: list(s) for n, s in shapes.items()}).is_whole


def test_one_absurd_number_is_not_a_thousand_blocks():
    shapes = header("sd1.ldm")["shapes"] | {"decoder.up.0.block.998.conv1.weight": (128, 128, 3, 3)}
    assert detect(shapes).unexpected == ("decoder.up.0.block.998.conv1.weight",)
