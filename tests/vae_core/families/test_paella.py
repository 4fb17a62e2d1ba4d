"""Stage A against diffusers' PaellaVQModel, random weights, float64, under both names of the codebook."""

import random

import pytest
import torch
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from exact_vae.vae_core import detect, from_weights, load
from exact_vae.vae_core.families import paella
from exact_vae.vae_core.families.paella import PaellaConfig
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.ops import Conv2d
from support.headers import header
from support.random_networks import random_weights, shake
from support.tensors import random_images

EXACT = 1e-9
SMALL = PaellaConfig(z_channels=3, codes=20, widths=(16, 24, 40), blocks=2)


def theirs(seed: int) -> PaellaVQModel:
    pick = random.Random(seed)
    facts = {
        "levels": pick.choice([1, 2, 3]),
        "bottleneck_blocks": pick.choice([1, 3]),
        "embed_dim": pick.choice([32, 48]),
        "latent_channels": pick.choice([3, 4]),
        "num_vq_embeddings": pick.choice([17, 64]),
    }
    model = shake(PaellaVQModel(**facts), seed)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
        if name == "vquantizer.embedding.weight":
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return model  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_equals_diffusers(tmp_path, seed):
    """Theirs sees pixels in [0, 1]; pipelines decode without the codebook, which `network.vquantizer` can apply."""
    known = theirs(seed)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert ours.family == "paella"
    x = random_images(3, ours.spatial_ratio, seed)
    z = known.encode((x + 1) / 2).latents
    got = ours.encode(x)
    assert (got.mode() - z).abs().max() < EXACT and got.std.abs().max() == 0
    assert ((ours.decode(z) + 1) / 2 - known.decode(z).sample).abs().max() < EXACT
    coded = known.decode(z, force_not_quantize=False).sample
    assert ((ours.decode(ours.network.vquantizer(z)) + 1) / 2 - coded).abs().max() < EXACT
    assert (coded - known.decode(z).sample).abs().max() > 1e-3


@pytest.mark.parametrize("rows", [1, 3, 16])
@torch.no_grad()
def test_bands(rows):
    """At the borders too, where a window sees the outermost row again."""
    vae = from_weights(random_weights("paella", SMALL, torch.float64))
    x = torch.rand(1, 3, 41, 30, dtype=torch.float64) * 2 - 1
    whole, bands = vae.encode(x).mode(), vae.encode(x, rows=rows).mode()
    assert (bands - whole).abs().max() < 1e-12 * whole.abs().max()
    image = vae.decode(whole, size=(41, 30))
    assert image.shape == x.shape
    assert (vae.decode(whole, size=(41, 30), rows=rows) - image).abs().max() < 1e-12 * image.abs().max()


@torch.no_grad()
def test_the_authors_names():
    """In a full checkpoint too: the same weights, the same images."""
    weights = random_weights("paella", SMALL, torch.float64)
    original = {f"vae.{name.replace('embedding', 'codebook')}": tensor for name, tensor in weights.items()}
    a, b = from_weights(weights), from_weights({**original, "model.diffusion_model.down_blocks.0.0.kv": torch.ones(1)})
    x = random_images(3, a.spatial_ratio)
    assert torch.equal(a.encode(x).mode(), b.encode(x).mode())
    assert detect({name: t.shape for name, t in original.items()}).layout == "original"


@pytest.mark.parametrize("config", [SMALL, PaellaConfig(4, 30, (16,), 1, in_channels=4), paella.FAMILY.example])
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("paella", config))
    assert (found.config, found.is_whole) == (config, True)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
@torch.no_grad()
def test_depthwise_convolutions_are_rounded_once(dtype, most):
    """In half precision they sum in fp32; and there are images that are continued by their outermost pixels."""
    conv, x = Conv2d(16, 16, groups=16, border="replicate").to(dtype), torch.randn(1, 16, 9, 7).to(dtype)
    got, truth = conv(x).double(), conv.double()(x.double())
    conv.weight.data, conv.bias.data = conv.weight.abs(), conv.bias.abs()
    summed = 10 * 2**-24 * conv(x.double().abs())  # nine products and the bias, in whatever order
    assert ((got - truth).abs() <= most * (truth.abs() + summed) + summed).all()


def test_title():
    title = detect(header("stable-cascade-stage-a.comfy")["shapes"]).title
    assert title == "Paella VQ autoencoder, 4 channels at 1/4: Stable Cascade (stage A) or Würstchen"
