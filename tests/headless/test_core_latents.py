"""Core nodes for latents. tests/nodes/comfyui compares them with the real ones."""

import torch
from exact_vae.headless import core_nodes
from exact_vae.vae_core.errors import BadRequest
from pytest import raises

LATENT = {"samples": torch.arange(3 * 4 * 5 * 7.0).reshape(3, 4, 5, 7), "batch_index": [5, 6, 9]}


def made(kind: str, **inputs):
    return core_nodes("in", "out", "temp", {})[kind]().run(**inputs)[0]


def test_scaling():
    scaled = {"samples": LATENT, "upscale_method": "bilinear", "crop": "center"}
    sizes = [((0, 0), (5, 7)), ((64, 0), (8, 8)), ((0, 64), (8, 11)), ((100, 60), (8, 12))]
    for (width, height), shape in sizes:
        assert made("LatentUpscale", **scaled, width=width, height=height)["samples"].shape[2:] == shape
    clip = {"samples": torch.randn(1, 4, 3, 5, 7)}
    assert made("LatentUpscaleBy", samples=clip, upscale_method="area", scale_by=1.5)["samples"].shape[2:] == (3, 8, 10)
    with raises(BadRequest, match="the size would be 0 x 0"):
        made("LatentUpscaleBy", samples=LATENT, upscale_method="area", scale_by=0.01)


def test_bislerp_keeps_lengths_between_turned_vectors():
    ends = torch.zeros(1, 4, 1, 2)
    ends[0, 0, 0, 0], ends[0, 1, 0, 1] = 2, 4
    scaled = made("LatentUpscaleBy", samples={"samples": ends}, upscale_method="bislerp", scale_by=2.0)["samples"]
    assert torch.allclose(scaled.norm(dim=1)[0, 0], torch.tensor([2.0, 2.5, 3.5, 4.0]))
    angle = torch.atan2(scaled[0, 1, 0], scaled[0, 0, 0]) / (torch.pi / 2)
    assert torch.allclose(angle, torch.tensor([0, 0.25, 0.75, 1]))
    same = {"samples": torch.ones(1, 4, 2, 2)}
    assert torch.allclose(made("LatentUpscaleBy", samples=same, upscale_method="bislerp", scale_by=1.5)["samples"],
                          torch.ones(()))  # fmt: skip


def test_batches_keep_their_numbers():
    other = {"samples": torch.zeros(2, 4, 3, 3)}
    joined = made("LatentBatch", samples1=LATENT, samples2=other)
    assert joined["samples"].shape == (5, 4, 5, 7) and joined["batch_index"] == [5, 6, 9, 0, 1]
    assert made("BatchLatentsNode", latents={"latent0": LATENT, "latent1": other})["batch_index"] == [5, 6, 9, 0, 1]
    masked = {**LATENT, "noise_mask": torch.arange(2.0).reshape(2, 1, 1, 1)}
    assert made("RepeatLatentBatch", samples=LATENT, amount=2)["batch_index"] == [5, 6, 9, 10, 11, 14]
    assert made("RepeatLatentBatch", samples=masked, amount=2)["noise_mask"].flatten().tolist() == [0, 1, 0, 1]
    picked = made("LatentFromBatch", samples=masked, batch_index=-2, length=9)
    assert picked["batch_index"] == [6, 9] and picked["noise_mask"].flatten().tolist() == [1, 0]
    assert torch.equal(picked["samples"], LATENT["samples"][1:])


def test_pasting():
    into, ones = {"samples": torch.zeros(1, 4, 4, 6)}, {"samples": torch.ones(1, 4, 4, 4)}
    pasted = made("LatentComposite", samples_to=into, samples_from=ones, x=16, y=0, feather=16)["samples"]
    assert pasted[0, 0, 0].tolist() == [0, 0, 0.5, 1, 1, 1]
    mask = torch.tensor([[[0.0, 1.0]]])
    pasted = made("LatentCompositeMasked", destination=into, source=ones, x=32, y=99, resize_source=False, mask=mask)
    assert not pasted["samples"].any()
    half = made("LatentBlend", samples1=into, samples2=ones, blend_factor=0.25)["samples"]
    assert half.shape == (1, 4, 4, 6) and torch.allclose(half, torch.tensor(0.75))


def test_a_latent_is_blended_with_each_of_a_batch():
    one, three = {"samples": torch.ones(1, 4, 5, 7)}, {"samples": LATENT["samples"][:, :, :5]}
    for first, second, share in ((one, three, 0.25), (three, one, 0.75)):
        blended = made("LatentBlend", samples1=first, samples2=second, blend_factor=share)["samples"]
        assert torch.allclose(blended, 0.25 + 0.75 * three["samples"])
    with raises(BadRequest, match="2 latents cannot be blended with 3"):
        made("LatentBlend", samples1={"samples": torch.ones(2, 4, 5, 7)}, samples2=three, blend_factor=0.5)


def test_core_s_interpolation_is_of_directions_and_lengths():
    """Of each item of a batch for itself: core has only single ones."""
    first, second = torch.zeros(2, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    first[:, 0, 0, 0], second[:, 1, 0, 0] = torch.tensor([2.0, 6.0]), 4
    half = made("LatentInterpolate", samples1={"samples": first}, samples2={"samples": second}, ratio=0.5)["samples"]
    assert torch.allclose(half[..., 0, 0], torch.tensor([[3.0], [5.0]]) * 0.5**0.5) and not half[..., 1].any()
    larger = {"samples": torch.ones(1, 2, 6, 8)}
    assert made("LatentInterpolate", samples1={"samples": first}, samples2=larger, ratio=0.0)["samples"].shape == (
        2, 2, 1, 2)  # fmt: skip


def test_parts():
    assert made("LatentCut", samples=LATENT, dim="x", index=-2, amount=9)["samples"].shape[-1] == 2
    assert made("LatentCrop", samples=LATENT, width=64, height=64, x=0, y=500)["samples"].shape[2:] == (3, 1)
    beside = made("LatentConcat", samples1=LATENT, samples2=LATENT, dim="-x")["samples"]
    assert beside.shape == (3, 4, 5, 14)
    clip = {"samples": torch.randn(1, 4, 3, 5, 7)}
    assert torch.equal(made("TrimVideoLatent", samples=clip, trim_amount=1)["samples"], clip["samples"][:, :, 1:])
    assert made("SetLatentNoiseMask", samples=LATENT, mask=torch.ones(9, 8))["noise_mask"].shape == (1, 1, 9, 8)
