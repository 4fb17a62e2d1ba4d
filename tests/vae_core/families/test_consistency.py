"""SD's consistency decoder against diffusers' class, with the same noise, in float64."""

import pytest
import torch
from diffusers import ConsistencyDecoderVAE
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.checkpoints.saving import weights_as
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.blocks.unet import UNetConfig
from exact_vae.vae_core.families.consistency import FAMILY, AddNoise, ConsistencyConfig
from exact_vae.vae_core.families.consistency import detect as detect_own
from exact_vae.vae_core.families.registry import expected_shapes
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import shake
from support.small_networks import small

DRAWING = (
    "diffusers.models.autoencoders.consistency_decoder_vae",
    "diffusers.schedulers.scheduling_consistency_decoder",
)


@pytest.fixture(scope="module")
def known() -> ConsistencyDecoderVAE:
    """Three blocks to a level on the way up, two of them of other widths than the level."""
    torch.manual_seed(0)
    return shake(ConsistencyDecoderVAE(**DIFFUSERS["consistency"][1]))


@pytest.fixture(scope="module")
def vae(known):
    return from_weights(known.state_dict())


@pytest.fixture
def z() -> torch.Tensor:
    return 5 * torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@torch.no_grad()
def test_both_halves_are_diffusers(known, vae, z, monkeypatch):
    """Of noise in fp32, which diffusers would draw in the dtype of the latent: in fp32 they need no help."""

    def draw(shape, generator=None, device=None, dtype=None, layout=None):
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)

    for module in DRAWING:
        monkeypatch.setattr(f"{module}.randn_tensor", draw)
    want = known.decode(z, generator=torch.Generator().manual_seed(0)).sample
    got = vae.decode(z)
    assert want.std() > 0.1 and (got - want).abs().max() < 1e-9 * want.abs().max()
    assert (vae.decode(-z) - got).abs().max() > 1e-2
    x = torch.rand(1, 3, 16, 24, dtype=torch.float64) * 2 - 1
    moments = known.encode(x).latent_dist.parameters
    assert (torch.cat([vae.encode(x).mean, vae.encode(x).logvar], 1) - moments).abs().max() < 1e-9


@torch.no_grad()
def test_in_fp32_the_noise_is_that_of_a_generator_on_the_cpu(known, vae, z):
    single = ConsistencyDecoderVAE(**DIFFUSERS["consistency"][1]).eval()
    single.load_state_dict({name: t.float() for name, t in known.state_dict().items()})
    want = single.decode(z.float(), generator=torch.Generator().manual_seed(0)).sample
    assert (vae.decode(z).float() - want).abs().max() < 1e-3


@torch.no_grad()
def test_however_it_is_run(vae, z):
    """Row by row, or in a batch: the noise is where it was, and every image has the same."""
    whole = vae.decode(z, size=(15, 21))
    assert whole.shape == (1, 3, 15, 21)
    rows = torch.cat(list(vae.decode_rows(z, size=(15, 21), rows=8)), 1)
    batch = vae.decode(torch.cat([-z, z]), size=(15, 21))
    for got in (rows, batch[1]):
        assert (got - whole[0]).abs().max() < 1e-12 * whole.abs().max()


def test_noise_lies_in_channels():
    made = AddNoise()(torch.zeros(2, 4, 3, 2))
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(1, 3, 24, 16, generator=generator) for _ in range(2))
    noise = torch.nn.functional.pixel_shuffle(made[:, 4:], 8)
    assert torch.equal(noise, torch.cat([first, second], 1).expand(2, -1, -1, -1))
    assert AddNoise()(torch.zeros(1, 4, 9, 9, device="meta")).shape == (1, 388, 9, 9)


@pytest.mark.parametrize(
    "config",
    [
        FAMILY.example,
        ConsistencyConfig(None, UNetConfig((32, 64, 64, 96), 2, 48, 1024), quant_conv=False),
        ConsistencyConfig(
            Coder((32,) * 4, (1,) * 4, (False,) * 4, stem=32), UNetConfig((32,) * 4, 1, 32, 1024), made=3
        ),
    ],
)
def test_the_config_comes_back(config):
    assert detect_own(expected_shapes("consistency", config)) == config


def test_its_authors_file_is_the_decoder():
    found = detect(header("consistency-decoder.original-unet")["shapes"])
    whole = detect(header("consistency-decoder.diffusers")["shapes"])
    assert (found.parts, whole.parts) == (("decoder",), ("encoder", "decoder"))
    assert found.config.decoder == whole.config.decoder == FAMILY.example.decoder
    assert "SD 1.x" in found.title


def test_a_decoder_in_its_authors_names(z):
    made = small("consistency")
    bare = {name: t for name, t in weights_as(made, "original").items() if not name.startswith(("encoder.", "quant_"))}
    assert {"embed_image.f.weight", "down.0.1.f_1.weight", "up.3.2.f_1.weight", "mid.1.f_t.bias"} <= bare.keys()
    assert torch.equal(from_weights(bare).decode(z), made.decode(z))
