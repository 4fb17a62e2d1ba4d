"""KVAE 2-D against diffusers' own class, random weights, float64."""

import random

import pytest
import torch
from diffusers import AutoencoderKLKVAE
from exact_vae.vae_core import BadRequest, detect, from_weights, load
from exact_vae.vae_core.families import kvae
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.kvae import KVAEConfig
from exact_vae.vae_core.families.registry import expected_shapes
from support.headers import header
from support.random_networks import random_weights, shake
from support.tensors import random_images

EXACT = 1e-9
SMALL = KVAEConfig(
    z_channels=5,
    encoder=Coder((32, 64, 64), (1, 1, 1), (False,) * 3, mid_attention=False, stem=32),
    decoder=Coder((32, 64, 64), (2, 2, 2), (False,) * 3, mid_attention=False),
)


def theirs(seed: int) -> AutoencoderKLKVAE:
    pick = random.Random(seed)
    model = AutoencoderKLKVAE(
        channels=32,
        num_enc_blocks=pick.choice([1, 2]),
        num_dec_blocks=pick.choice([1, 2]),
        z_channels=pick.choice([3, 4, 16]),
        ch_mult=pick.choice([(1, 2), (1, 1, 2), (2, 1, 1)]),
    )
    return shake(model, seed)  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(6))
@torch.no_grad()
def test_equals_diffusers(tmp_path, seed):
    """Borders differ from convolution to convolution; images down to one column of the latent show them."""
    known = theirs(seed)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert (ours.family, ours.spatial_ratio) == ("kvae", 2 ** (len(known.config.ch_mult) - 1))
    narrow = torch.rand(1, 3, 2 * ours.spatial_ratio, ours.spatial_ratio, dtype=torch.float64)
    for x in (random_images(3, ours.spatial_ratio, seed), narrow):
        moments = known.encode(x).latent_dist
        got = ours.encode(x)
        assert (got.mean - moments.mean).abs().max() < EXACT
        assert (got.std - moments.std).abs().max() < EXACT
        z = torch.randn(moments.mean.shape, dtype=torch.float64)
        image = known.decode(z).sample
        assert (ours.decode(z) - image).abs().max() < EXACT * image.abs().max()
        assert (known.decode(-z).sample - image).abs().max() > 1e-3 * image.abs().max()


@pytest.mark.parametrize("rows", [1, 3, 16])
@torch.no_grad()
def test_bands(rows):
    """At the borders too, which are mirrored or repeated."""
    vae = from_weights(random_weights("kvae", SMALL, torch.float64))
    x = torch.rand(1, 3, 41, 30, dtype=torch.float64) * 2 - 1
    z = torch.randn(1, 5, 7, 4, dtype=torch.float64)
    for whole, bands in (
        (vae.encode(x).mode(), vae.encode(x, rows=rows).mode()),
        (vae.decode(z), vae.decode(z, rows=rows)),
    ):
        assert (bands - whole).abs().max() < 1e-12 * whole.abs().max()


@pytest.mark.parametrize("config", [SMALL, kvae.FAMILY.example])
def test_round_trip_of_the_config(config):
    shapes = expected_shapes("kvae", config)
    found = detect(shapes)
    assert (found.config, found.is_whole) == (config, True)
    for half in ("encoder", "decoder"):
        alone = {name: shape for name, shape in shapes.items() if name.startswith(half)}
        bare = {name.removeprefix(f"{half}."): shape for name, shape in alone.items()}
        for found in (detect(alone), detect(bare)):
            assert (found.family, found.config.parts, found.is_whole) == ("kvae", (half,), True)


@pytest.mark.parametrize(
    "lost",
    [
        "decoder.norm_out.norm_layer.weight",
        "encoder.conv_out.weight",
        "encoder.down.0.downsample.spatial_conv.weight",
        "decoder.conv_in.weight",
    ],
)
def test_without_a_tensor_it_is_still_no_other(lost):
    shapes = header("kvae-2d.diffusers")["shapes"]
    found = detect({name: shape for name, shape in shapes.items() if name != lost})
    assert (found.family, found.config, list(found.missing)) == ("kvae", kvae.FAMILY.example, [lost])


def test_its_borders_are_its_own():
    with pytest.raises(BadRequest, match="cannot have the border 'circular': those of clips, Paella's and KVAE's"):
        from_weights(random_weights("kvae", SMALL), border="circular")


def test_its_title():
    assert detect(header("kvae-2d.diffusers")["shapes"]).title == "KVAE 2-D, 16 channels at 1/8: KVAE 2-D"
