"""The mask-conditioned decoder against diffusers' own, random weights, float64."""

import random

import pytest
import torch
from diffusers import AsymmetricAutoencoderKL
from exact_vae.vae_core import BadPixels, BadRequest, LatentMismatch, Tiles, detect, from_weights, load
from exact_vae.vae_core.families import asymmetric, kl
from exact_vae.vae_core.families.asymmetric import AsymmetricConfig
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.registry import expected_shapes
from support.random_networks import random_weights, shake, small_kl
from support.tensors import random_images

EXACT = 1e-9
CONFIG = AsymmetricConfig(**{**vars(small_kl()), "decoder": Coder((32, 64, 96), (2, 2, 2), (False,) * 3)})


def theirs(seed: int = 0) -> AsymmetricAutoencoderKL:
    """Four levels, as both published ones have; a decoder of other widths and depth than the encoder."""
    pick = random.Random(seed)
    return shake(
        AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            down_block_out_channels=tuple(pick.choice([32, 64]) for _ in range(4)),
            layers_per_down_block=1,
            up_block_types=("UpDecoderBlock2D",) * 4,
            up_block_out_channels=pick.choice([(32, 64, 64, 64), (32, 64, 128, 128)]),
            layers_per_up_block=pick.choice([1, 2]),
            latent_channels=4,
        ),
        seed,
    )  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_equals_diffusers(tmp_path, seed):
    known = theirs(seed)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert (ours.family, ours.spatial_ratio) == ("asymmetric", 8)
    x = random_images(3, 8, seed)
    want, got = known.encode(x).latent_dist, ours.encode(x)
    assert (got.mean - want.mean).abs().max() < EXACT
    assert (got.logvar - want.logvar).abs().max() < EXACT
    z = want.mean + 0.1
    assert (ours.decode(z) - known.decode(z).sample).abs().max() < EXACT
    assert (ours.decode(z, rows=5) - ours.decode(z)).abs().max() < 1e-12 * ours.decode(z).abs().max()


@torch.no_grad()
def test_the_condition_encoder_is_all_that_is_added():
    """Under CompVis' names; without its tensors the same file is an Autoencoder-KL, and decodes the same."""
    weights = random_weights("asymmetric", CONFIG)
    ours = from_weights(weights)
    plain = from_weights({n: t for n, t in weights.items() if not n.startswith("decoder.encoder.")})
    assert (ours.config, plain.config) == (CONFIG, kl.KLConfig(**vars(CONFIG)))
    z = torch.randn(1, 4, 3, 5)
    assert torch.equal(ours.decode(z), plain.decode(z))


@pytest.mark.parametrize("parts", [{}, {"encoder": None, "quant_conv": False}])
def test_round_trip_of_the_config(parts):
    config = AsymmetricConfig(**{**vars(CONFIG), **parts})
    found = detect(expected_shapes("asymmetric", config))
    assert (found.config, found.is_whole) == (config, True)


def masked(seed: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [-1, 1], and masks that are 0, 1, and between."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64) * 2 - 1
    return image, torch.rand(2, 1, *size, generator=generator, dtype=torch.float64).mul(3).sub(1).clamp(0, 1)


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_a_masked_decode_equals_diffusers(tmp_path, seed):
    known = theirs(seed)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    image, mask = masked(seed, (24, 40))
    z = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    want = known.decode(z, image=image, mask=mask).sample
    assert (want - known.decode(z).sample).abs().max() > 0.01
    assert (ours.decode(z, image=image, mask=mask) - want).abs().max() < EXACT
    for rows in (1, 7):
        assert (ours.decode(z, image=image, mask=mask, rows=rows) - want).abs().max() < EXACT


@torch.no_grad()
def test_masked_bands_equal_the_whole():
    vae = from_weights(random_weights("asymmetric", CONFIG, torch.float64))
    image, mask = masked(0, (30, 22))  # no multiples of 4: both are continued to the ratio
    z = vae.encode(image).mode()
    want = vae.decode(z, image=image, mask=mask, size=(30, 22))
    assert want.shape == image.shape
    for rows in (1, 3, 16):
        got = vae.decode(z, image=image, mask=mask, size=(30, 22), rows=rows)
        assert (got - want).abs().max() < 1e-12 * want.abs().max()
    plan = vae.plan("decode", z.shape, masked=True)
    assert plan.work > vae.plan("decode", z.shape).work


@torch.no_grad()
def test_a_mask_of_ones_leaves_the_decoder_alone():
    vae = from_weights(random_weights("asymmetric", CONFIG, torch.float64))
    z, (image, _) = torch.randn(2, 4, 3, 5, dtype=torch.float64), masked(1, (12, 20))
    got = vae.decode(z, image=image, mask=torch.ones(2, 1, 12, 20))
    assert (got - vae.decode(z)).abs().max() < 1e-12
    assert (vae.decode(z, image=image, mask=torch.zeros(2, 1, 12, 20)) - got).abs().max() > 0.01


@torch.no_grad()
def test_what_cannot_be_decoded_with_a_mask():
    vae = from_weights(random_weights("asymmetric", CONFIG))
    z, image, mask = torch.randn(1, 4, 3, 5), torch.zeros(1, 3, 12, 20), torch.ones(1, 1, 12, 20)
    with pytest.raises(BadRequest, match="blended tiles are decoded without an image and a mask: leave the tiles or"):
        vae.decode(z, image=image, mask=mask, tiles=Tiles(8, 4))
    with pytest.raises(BadRequest, match="give an image and a mask, or neither"):
        vae.decode(z, image=image)
    for bad in (mask[:, :, :8], mask.expand(1, 3, 12, 20), mask * 2, mask * torch.nan):
        with pytest.raises(BadPixels, match="it needs one channel, the same size, and numbers in"):
            vae.decode(z, image=image, mask=bad)
    with pytest.raises(LatentMismatch, match=r"latent of shape \(1, 4, 3, 5\) is not of images of shape"):
        vae.decode(z, image=image[..., :16], mask=mask[..., :16])
    with pytest.raises(BadRequest, match="cannot decode with an image and a mask: it is Autoencoder-KL"):
        from_weights(random_weights("kl", small_kl())).decode(z, image=image, mask=mask)


def test_the_published_x_1_5():
    """290 tensors, 194.30 million numbers (cross-attention/asymmetric-autoencoder-kl-x-1-5)."""
    shapes = expected_shapes("asymmetric", asymmetric.FAMILY.example)
    assert (len(shapes), round(sum(torch.Size(s).numel() for s in shapes.values()) / 1e6, 2)) == (290, 194.30)
    assert detect(shapes).config == asymmetric.FAMILY.example
