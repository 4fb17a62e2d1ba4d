"""A hole in an image, and what is put into it."""

import pytest
import torch
from exact_vae.vae_core import BadPixels, BadRequest, from_weights
from support.node_calls import call, sample_image
from support.random_networks import random_weights, small_kl


def box(h=48, w=60, top=16, bottom=36, left=20, right=44):
    mask = torch.zeros(1, h, w)
    mask[:, top:bottom, left:right] = 1
    return mask


def hole(vae, image, mask, **how):
    return call("ExactVAEEncodeForInpaint", pixels=image, vae=vae, mask=mask, **{"grow_mask_by": 0, **how})


def onto(vae, image, mask, latent=None, **how):
    latent = latent or call("ExactVAEEncode", pixels=image, vae=vae)
    return call("ExactVAEDecodeOntoOriginal", samples=latent, vae=vae, image=image, mask=mask, **how)


@pytest.mark.parametrize("size", [(48, 60), (47, 58)])
def test_pixels_under_the_mask_are_neutral(vae, size):
    image, mask = sample_image(*size), box(*size)
    grey = torch.where(mask[..., None] > 0, 0.5, image)
    found, want = hole(vae, image, mask, grow_mask_by=6), call("ExactVAEEncode", pixels=grey, vae=vae)
    assert torch.equal(found["samples"], want["samples"]) and found["exact_vae"] == want["exact_vae"]
    assert found["noise_mask"].shape == (1, 1, 48, 60)


def test_the_mask_grows_by_pixels_and_covers_whole_latent_pixels(vae):
    """Rows 16 to 35 and columns 20 to 43, with a kernel of 6: 14 to 38 and 18 to 46; on a grid of 4."""
    found = hole(vae, sample_image(48, 60), box(), grow_mask_by=6)["noise_mask"][0, 0]
    assert torch.equal(found, box(top=12, bottom=40, left=16, right=48)[0])
    assert torch.equal(hole(vae, sample_image(48, 60), box())["noise_mask"][0], box())


def test_the_grid_is_the_vae_s():
    """FLUX.2's latent pixels are patches: at 1/8 here, at 1/16 there. A thin line is not lost between them."""
    vae = from_weights(random_weights("kl", small_kl(patch=2)))
    line = torch.zeros(1, 48, 64)
    line[:, 13] = 1
    found = hole(vae, sample_image(48, 64), line)
    seen = torch.nn.functional.interpolate(found["noise_mask"], found["samples"].shape[-2:], mode="bilinear")
    assert found["samples"].shape[-2:] == (6, 8)
    assert torch.equal(seen[0, 0], torch.tensor([0.0, 1, 0, 0, 0, 0])[:, None].expand(6, 8))


def test_masks_of_other_sizes_and_numbers(vae):
    batch = sample_image(48, 60).expand(2, -1, -1, -1)
    small = torch.nn.functional.interpolate(box()[None], (24, 30))[0]
    assert hole(vae, batch, small)["noise_mask"].shape == (1, 1, 48, 60)
    assert hole(vae, batch, box()[0])["noise_mask"].shape == (1, 1, 48, 60)
    assert hole(vae, batch, torch.cat([box(), 0 * box()]))["noise_mask"].amax((1, 2, 3)).tolist() == [1, 0]
    with pytest.raises(BadRequest, match="there are 3 masks for 2 images"):
        hole(vae, batch, box().expand(3, -1, -1))
    with pytest.raises(BadRequest, match=r"mask.*numbers in .0, 1. of shape"):
        hole(vae, batch, torch.full((1, 4, 4), float("nan")))


def test_a_cropped_image_has_a_cropped_mask(vae):
    image, mask = sample_image(47, 58), box(47, 58)
    found = hole(vae, image, mask, odd_sizes="crop")
    assert torch.equal(found["samples"], hole(vae, image[:, 1:45, 1:57], mask[:, 1:45, 1:57])["samples"])
    assert found["noise_mask"].shape == (1, 1, 44, 56)


@pytest.mark.parametrize("match_colour", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(48, 60), (47, 58)])
def test_outside_the_mask_the_original_stays_to_the_bit(vae, size, channels, match_colour):
    image, mask = sample_image(*size, channels), box(*size)
    found = onto(vae, image, mask, feather=4, match_colour=match_colour)
    want = image.expand(-1, -1, -1, 3) if channels == 1 else image
    outside = mask[0] == 0
    assert found.shape == want.shape and torch.equal(found[:, outside], want[:, outside])
    assert (found[..., :3] - want[..., :3])[:, ~outside].abs().amin(-1).max() > 0.05
    if channels == 4:
        assert torch.equal(found[..., 3], image[..., 3])


def test_within_the_mask_it_fades_to_the_decoded(vae):
    image, latent = sample_image(48, 60), {"samples": torch.randn(1, 4, 12, 15)}
    decoded = call("ExactVAEDecode", samples=latent, vae=vae)
    found = onto(vae, image, box(), latent, feather=5)
    assert torch.allclose(found[:, 20:32, 24:40], decoded[:, 20:32, 24:40], atol=1e-6)
    steps = torch.arange(1, 6)[:, None] / 5
    faded, whole = ((x - image)[0, 16:21, 32] for x in (found, decoded))
    assert torch.allclose(faded, steps * steps * (3 - 2 * steps) * whole, atol=1e-6)
    hard = onto(vae, image, box(), latent, feather=0)
    assert torch.equal(hard, torch.where(box()[..., None] > 0, decoded, image))


def test_a_soft_mask_is_taken_as_it_is(vae):
    image, latent = sample_image(48, 60), {"samples": torch.randn(1, 4, 12, 15)}
    decoded = call("ExactVAEDecode", samples=latent, vae=vae)
    found = onto(vae, image, torch.full((1, 48, 60), 0.25), latent, feather=0)
    assert torch.allclose(found, 0.75 * image + 0.25 * decoded, atol=1e-6)


def test_colours_are_matched_by_what_surrounds_the_mask(pixel_space):
    """The whole image got darker, as by a poor VAE: under the mask it is as bright again as the original."""
    image = sample_image(96, 120) * 0.2 + 0.5
    mask = box(96, 120, 32, 64, 40, 80)
    darker = {"samples": ((image - 0.1) * 2 - 1).movedim(-1, 1)}
    plain, matched = (onto(pixel_space, image, mask, darker, feather=0, match_colour=m) for m in (False, True))
    inside = mask[0] > 0
    assert (plain - image)[:, inside].mean().item() == pytest.approx(-0.1, abs=1e-6)
    assert (matched - image)[:, inside].abs().max() < 1e-4


@pytest.fixture
def pixel_space(models):
    return call("ExactVAELoader", vae_name="pixel_space")


def test_sizes_that_core_cropped_and_that_were_forgotten(vae):
    image, mask = sample_image(47, 58), box(47, 58)
    padded = call("ExactVAEEncode", pixels=image, vae=vae)
    forgotten = onto(vae, image, mask, {"samples": padded["samples"]})
    assert torch.equal(forgotten, onto(vae, image, mask, padded))
    cropped = call("ExactVAEEncode", pixels=image, vae=vae, odd_sizes="crop")
    found = onto(vae, image, mask, cropped, feather=0)
    inner = call("ExactVAEDecode", samples=cropped, vae=vae)
    assert torch.equal(found[:, 16:36, 20:44], inner[:, 15:35, 19:43])
    with pytest.raises(BadPixels, match="the decoded image is 58x47, the original 40x48"):
        onto(vae, sample_image(48, 40), box(48, 40, right=30), padded)


def test_batches(vae):
    image = sample_image(48, 60)
    latents = {"samples": torch.randn(2, 4, 12, 15)}
    assert onto(vae, image, box(), latents).shape == (2, 48, 60, 3)
    assert onto(vae, image.expand(2, -1, -1, -1), box(), latents).shape == (2, 48, 60, 3)
    with pytest.raises(BadRequest, match="2 images were decoded for 3 originals"):
        onto(vae, image.expand(3, -1, -1, -1), box(), latents)


def test_a_decoder_that_looks_at_the_image_is_given_it(models):
    from exact_vae.vae_core.families.asymmetric import AsymmetricConfig

    vae = from_weights(random_weights("asymmetric", AsymmetricConfig(**vars(small_kl()))))
    image, mask = sample_image(47, 58), box(47, 58)
    latent = call("ExactVAEEncode", pixels=image, vae=vae)
    found = onto(vae, image, mask, latent, feather=0)
    pixels = image.movedim(-1, 1) * 2 - 1
    beside = vae.decode(latent["samples"], size=(47, 58), image=pixels, mask=mask[None])
    want = ((beside + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(found[:, 16:36, 20:44], want[:, 16:36, 20:44], atol=1e-6)


def test_inputs_are_left_as_they_are(vae):
    image, mask = sample_image(47, 58, 4), box(47, 58)
    latent = hole(vae, image, mask, grow_mask_by=6)
    before = image.clone(), mask.clone(), {**latent, "samples": latent["samples"].clone()}
    hole(vae, image, mask, grow_mask_by=6)
    onto(vae, image, mask, latent, match_colour=True)
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])
    assert latent.keys() == before[2].keys() and torch.equal(latent["samples"], before[2]["samples"])
