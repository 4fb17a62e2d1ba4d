"""What encode and decode nodes do with images that are not plain RGB of a fitting size, and with strange latents."""

import pytest
import torch
from exact_vae.nodes import host
from exact_vae.vae_core import BadPixels, BadRequest, LatentMismatch, from_weights
from safetensors.torch import load_file, save_file
from support.node_calls import call, sample_image, text
from support.random_networks import random_weights, small_kl

ENCODERS = pytest.mark.parametrize("node", ["ExactVAEEncode", "ExactVAETiledEncode"])
DECODERS = pytest.mark.parametrize("node", ["ExactVAEDecode", "ExactVAETiledDecode"])


def latent(vae, image, node="ExactVAEEncode", **how):
    return call(node, pixels=image, vae=vae, **how)["samples"]


def transparent(h=16, w=20):
    image = sample_image(h, w, 4)
    image[..., 3] = (image[..., 3] > 0.5).float()
    return image


@ENCODERS
def test_transparency_is_left_out_and_said_or_laid_on_a_colour(vae, node):
    image = transparent()
    colours, alpha = image[..., :3], image[..., 3:]
    assert torch.equal(latent(vae, image, node), latent(vae, colours))
    assert text(node, pixels=image, vae=vae).endswith("; transparency is left out")
    assert "transparency" not in text(node, pixels=torch.cat([colours, torch.ones_like(alpha)], -1), vae=vae)
    assert "transparency" not in text(node, pixels=image, vae=vae, alpha="drop")
    red = torch.tensor([1.0, 0, 0])
    laid = latent(vae, image, node, alpha="composite", background="#ff0000")
    assert torch.allclose(laid, latent(vae, colours * alpha + red * (1 - alpha)), atol=1e-5)


def test_only_a_vae_with_alpha_keeps_it(vae):
    image = transparent()
    with pytest.raises(BadRequest, match="a VAE of 3 channels cannot keep alpha: choose to drop or to composite it"):
        latent(vae, image, alpha="keep")
    rgba = from_weights(random_weights("kl", small_kl(in_channels=4, out_channels=4)))
    want = rgba.encode(image.movedim(-1, 1) * 2 - 1).mode()
    assert torch.equal(latent(rgba, image), want) and torch.equal(latent(rgba, image, alpha="keep"), want)
    opaque = torch.cat([image[..., :3], torch.ones_like(image[..., 3:])], -1)
    assert torch.equal(latent(rgba, image, alpha="drop"), latent(rgba, opaque))
    assert torch.equal(latent(rgba, image[..., :3]), latent(rgba, opaque))


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", ""])
def test_a_colour_that_is_none(vae, colour):
    with pytest.raises(BadRequest, match=f"'{colour}' is no colour: write it as #rrggbb"):
        latent(vae, transparent(), alpha="composite", background=colour)


def test_grey_is_taken_as_rgb(vae):
    grey = sample_image(16, 20, 1)
    want = latent(vae, grey.expand(-1, -1, -1, 3))
    assert torch.equal(latent(vae, grey), want)
    assert torch.equal(latent(vae, torch.cat([grey, torch.ones_like(grey)], -1)), want)


@ENCODERS
def test_an_odd_size_is_cropped_to_its_middle_on_request(vae, node):
    image = sample_image(23, 18)  # 20 x 16 are left: 1 row above and 2 below, 1 column on either side
    found = call(node, pixels=image, vae=vae, odd_sizes="crop")
    assert torch.equal(found["samples"], latent(vae, image[:, 1:21, 1:17]))
    assert call("ExactVAEDecode", samples=found, vae=vae).shape == (1, 20, 16, 3)
    with pytest.raises(BadPixels, match="an image of 3x9 has nothing left when it is cropped to multiples of 4"):
        latent(vae, sample_image(9, 3), odd_sizes="crop")


@DECODERS
def test_unclamped_is_the_decoder_s_own(vae, node):
    z = 30 * torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    hdr = call(node, samples={"samples": z}, vae=vae, clamp=False)
    assert hdr.min() < 0 and hdr.max() > 1
    assert torch.equal(hdr, ((vae.decode(z) + 1) / 2).movedim(1, -1))
    assert torch.equal(call(node, samples={"samples": z}, vae=vae), hdr.clamp(0, 1))


@DECODERS
def test_an_empty_latent_is_refused_unless_asked_for(vae, node):
    empty = {"samples": torch.zeros(2, 4, 4, 4)}
    with pytest.raises(LatentMismatch, match=r"every number of this latent is 0: .* no sampler has worked on"):
        call(node, samples=empty, vae=vae)
    assert call(node, samples=empty, vae=vae, empty_latent="decode").shape == (2, 16, 16, 3)
    empty["samples"][1, 3, 3, 3] = 1e-30
    assert call(node, samples=empty, vae=vae).shape == (2, 16, 16, 3)


def test_zeros_are_an_image_in_a_space_of_pixels(models):
    vae = call("ExactVAELoader", vae_name="pixel_space")
    grey = torch.full((1, 4, 4, 3), 0.5)
    back = call("ExactVAEDecode", samples=call("ExactVAEEncode", pixels=grey, vae=vae), vae=vae)
    assert torch.equal(back, grey)


def test_a_latent_of_another_family_is_refused_by_name(models):
    vae = from_weights(random_weights("kl", small_kl(encoder=None, quant_conv=False, decoder=wide())), "sd")
    z = torch.randn(1, 4, 2, 2)

    def decoded(family, channels=4):
        tag = {"family": family, "channels": channels, "ratio": 8, "latent": [2, 2], "size": [16, 15]}
        return call("ExactVAEDecode", samples={"samples": z, "exact_vae": tag}, vae=vae)

    with pytest.raises(LatentMismatch, match=r"made by a VAE of the family 'vq' at 1/8 \(Kandinsky 2.x\), but 'sd' is"):
        decoded("vq")
    assert decoded("kl").shape == decoded("tiny").shape == decoded("someone's own").shape == (1, 16, 15, 3)
    assert decoded("vq", channels=16).shape == (1, 16, 16, 3)  # converted since: the note is of another latent


def wide():
    from exact_vae.vae_core.families.kl import Coder

    return Coder((32, 32, 32, 32), (1,) * 4, (False,) * 4)


def test_halves_are_joined(models, kl_file):
    weights = load_file(kl_file)
    decoder = {n: t + 0.01 for n, t in weights.items() if n.startswith(("decoder.", "post_quant"))}
    save_file(decoder, models / "vae" / "other_decoder.safetensors")
    joined = call("ExactVAELoader", vae_name="small.safetensors", other_half="other_decoder.safetensors")
    plain = call("ExactVAELoader", vae_name="small.safetensors")
    z, x = torch.randn(1, 4, 3, 3), torch.rand(1, 3, 8, 8)
    assert not torch.equal(joined.decode(z), plain.decode(z))
    assert torch.equal(joined.encode(x).mode(), plain.encode(x).mode())


def test_inputs_are_left_as_they_are(vae):
    """The host keeps what it passes on, for the next run."""
    image = transparent(15, 18)
    before = image.clone()
    for how in ({}, {"alpha": "composite"}, {"alpha": "drop", "odd_sizes": "crop"}):
        found = call("ExactVAEEncode", pixels=image, vae=vae, **how)
        assert torch.equal(image, before)
    z = found["samples"].clone()
    for node in ("ExactVAEDecode", "ExactVAETiledDecode"):
        call(node, samples=found, vae=vae, clamp=False)
        assert torch.equal(found["samples"], z)
    call("ExactVAECompare", image=image, vae=vae)
    assert torch.equal(image, before)


def test_the_loader_says_what_it_loaded(models):
    assert text("ExactVAELoader", vae_name="small.safetensors") == ("4 channels at 1/4, fp32 on cpu")


def test_a_note_stands_behind_the_plan():
    shown = host.Shown("by the way")
    shown("whole; at most 1 MiB")
    assert shown.text == "whole; at most 1 MiB; by the way"
