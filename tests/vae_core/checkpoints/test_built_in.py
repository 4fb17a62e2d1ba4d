"""The VAE in the box is a file like any other: found by its shapes, loaded strictly, and it keeps its promises."""

import json

import pytest
import torch
from exact_vae.training.recipe import DEMO, LONGER
from exact_vae.vae_core import BrokenCheckpoint, Tiles, inspect, load, readers
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.families.kl import FAMILY
from exact_vae.vae_core.images.metrics import colour_shift, psnr
from safetensors.torch import load_file, save_file
from support.slow import slow

# What the training reached on this photograph, less a little for other processors.
PSNR, COLOUR_SHIFT = 25.3, 0.006


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    """(1, 3, 422, 750) in [0, 1]"""
    return readers.read(built_in.PHOTOGRAPH)[0].movedim(-1, 1)


def test_its_shapes_say_what_it_is():
    found = inspect(built_in.VAE_FILE)
    assert (found.family, found.layout, found.config) == ("kl", "ldm", DEMO.config)
    assert (found.latent_channels, found.spatial_ratio) == (4, 8)
    assert found.is_whole and set(found.dtypes) == {"F16"}
    assert found.title == "Autoencoder-KL (2-D), 4 channels at 1/8"  # and not SD's, whose latents are others


def test_it_is_small_and_says_where_it_comes_from():
    assert built_in.VAE_FILE.stat().st_size <= 8e6
    metadata = inspect(built_in.VAE_FILE).metadata
    assert metadata["modelspec.license"] == "MIT"
    assert "CC0" in metadata["data"]
    recipe = json.loads(metadata["recipe"])
    assert len(recipe.pop("source")) == 1  # the weights that the last course went on from
    assert {**recipe, "source": []} == json.loads(json.dumps(LONGER.to_dict()))


def test_it_is_what_load_loads_when_nothing_is_given():
    vae = load()
    assert vae.name == built_in.VAE_FILE.name
    assert vae.dtype in (torch.float32, torch.bfloat16)  # never fp16 on a CPU
    assert load(built_in.VAE_FILE, dtype=torch.float64).dtype == torch.float64


def test_it_is_loaded_strictly(tmp_path):
    weights = load_file(built_in.VAE_FILE)
    del weights["decoder.up.0.block.1.conv2.bias"]
    save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(BrokenCheckpoint, match=r"decoder\.up\.0\.block\.1\.conv2\.bias"):
        load(tmp_path / "broken.safetensors")


def test_a_photograph_it_never_saw_comes_back(photograph):
    vae = load(dtype=torch.float32)
    posterior = vae.encode(photograph * 2 - 1)
    assert posterior.mean.shape == (1, 4, 53, 94)
    decoded = (vae.decode(posterior.mode(), size=posterior.size) + 1) / 2
    assert decoded.shape == photograph.shape
    assert psnr(photograph, decoded).item() > PSNR
    assert colour_shift(photograph, decoded).item() < COLOUR_SHIFT


@slow
def test_bands_give_its_image_and_blended_tiles_do_not(photograph):
    """The numbers of web/docs/ExactVAETiledDecode.md."""
    vae = load(dtype=torch.float32)
    z = vae.encode(photograph * 2 - 1).mode()
    whole, bands, large, small = (
        (vae.decode(z, size=(422, 750), **how) + 1).div(2).clamp(0, 1)
        for how in ({}, {"rows": 64}, {"tiles": Tiles(512, 64)}, {"tiles": Tiles(256, 64)})
    )
    assert psnr(bands, whole).item() > 120  # measured: 143.6
    assert psnr(large, whole).item() == pytest.approx(47.9, abs=0.5)
    assert psnr(small, whole).item() == pytest.approx(36.6, abs=0.5)
    assert colour_shift(small, whole).item() == pytest.approx(0.006, abs=0.001)


def test_fp16_weights_do_not_hurt_in_bf16(photograph):
    exact, rough = (load(dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    x = photograph[..., :128, :128] * 2 - 1
    a, b = (vae.decode(vae.encode(x).mode()) for vae in (exact, rough))
    assert psnr((a + 1) / 2, (b.float() + 1) / 2).item() > 35


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_its_family_states_its_rounding(photograph, dtype):
    """Trained weights, rounded for both: up to 0.006 was measured in bf16, 0.0008 in fp16."""
    exact, rough = load(dtype=torch.float32), load(dtype=torch.float32).to(dtype=dtype)
    for ours, theirs in zip(exact.network.parameters(), rough.network.parameters(), strict=True):
        ours.data = theirs.data.float()
    x = (photograph[..., 100:228, 100:228] * 2 - 1).to(dtype)
    stated = FAMILY.rounding.bf16 if dtype is torch.bfloat16 else FAMILY.rounding.fp16
    z = exact.encode(x.float()).mean
    latent = z.to(dtype).float()
    for got, want in ((rough.encode(x).mean, z), (rough.decode(latent), exact.decode(latent))):
        assert (got - want).square().mean().sqrt() < stated * want.std()


def test_diffusers_loads_it_and_gives_the_same_image(photograph):
    diffusers = pytest.importorskip("diffusers")
    config = {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1,
              "block_out_channels": (64, 64, 64, 128), "down_block_types": ("DownEncoderBlock2D",) * 4,
              "up_block_types": ("UpDecoderBlock2D",) * 4, "norm_num_groups": 32}  # fmt: skip
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    theirs = diffusers.AutoencoderKL(**config)
    theirs.load_state_dict(convert_ldm_vae_checkpoint(load_file(built_in.VAE_FILE), theirs.config))
    x = photograph[..., :96, :128] * 2 - 1
    ours = load(dtype=torch.float64)
    with torch.no_grad():
        moments = theirs.double().encode(x.double()).latent_dist
        decoded = theirs.decode(moments.mean).sample
    posterior = ours.encode(x.double())
    assert torch.allclose(posterior.mean, moments.mean, atol=1e-10)
    assert torch.allclose(ours.decode(posterior.mode()), decoded, atol=1e-9)
