"""VQGAN and MoVQ against diffusers' own VQModel, random weights, float64, in both layouts."""

import random
import re

import pytest
import torch
from diffusers import VQModel
from exact_vae.vae_core import detect, from_weights, load
from exact_vae.vae_core.families import vq
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.families.vq import Codebook, VQConfig
from exact_vae.vae_core.posterior import Posterior
from support.headers import header
from support.random_networks import random_weights, shake
from support.tensors import random_images

EXACT = 1e-9


def facts(seed: int, spatial: bool) -> dict:
    pick = random.Random(seed)
    levels = pick.choice([1, 2, 3])
    attention = pick.choice([True, False])
    down = [("Attn" if attention and i == levels - 1 else "") + "DownEncoderBlock2D" for i in range(levels)]
    up = [("Attn" if attention and i == 0 else "") + "UpDecoderBlock2D" for i in range(levels)]
    channels = pick.choice([3, 4, 16])
    return {
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "block_out_channels": tuple(pick.choice([32, 64]) for _ in range(levels)),
        "layers_per_block": pick.choice([1, 2]),
        "latent_channels": channels,
        "num_vq_embeddings": pick.choice([17, 64]),
        "vq_embed_dim": channels if spatial else pick.choice([channels, 5]),
        "norm_type": "spatial" if spatial else "group",
        "mid_block_add_attention": spatial or pick.choice([True, False]),
    }


def theirs(seed: int, spatial: bool) -> VQModel:
    model = shake(VQModel(**facts(seed, spatial)), seed)
    generator = torch.Generator().manual_seed(seed)
    codes = model.quantize.embedding.weight
    codes.data = torch.randn(codes.shape, generator=generator, dtype=torch.float64)  # fresh ones are almost zero
    return model  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(10))
@torch.no_grad()
def test_vqgan_equals_diffusers(tmp_path, seed):
    known = theirs(seed, spatial=False)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert (ours.family, ours.config.spatial) == ("vq", False)
    x = random_images(3, ours.spatial_ratio, seed)
    z = known.encode(x).latents
    got = ours.encode(x)
    assert (got.mode() - z).abs().max() < EXACT
    assert got.std.abs().max() == 0
    assert (ours.decode(z) - known.decode(z).sample).abs().max() < EXACT
    assert (known.decode(z, force_not_quantize=True).sample - known.decode(z).sample).abs().max() > 1e-3
    codes = known.quantize(z)[0]
    assert (ours.decode(codes) - known.decode(z).sample).abs().max() < EXACT  # codes are their own nearest


@pytest.mark.parametrize("seed", range(10))
@torch.no_grad()
def test_movq_equals_diffusers(tmp_path, seed):
    """As Kandinsky's pipelines decode, without the codebook; and with it, put before by hand."""
    known = theirs(seed, spatial=True)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert (ours.family, ours.config.spatial) == ("vq", True)
    x = random_images(3, ours.spatial_ratio, seed)
    z = known.encode(x).latents
    assert (ours.encode(x).mode() - z).abs().max() < EXACT
    assert (ours.decode(z) - known.decode(z, force_not_quantize=True).sample).abs().max() < EXACT
    assert (ours.decode(ours.network.quantize(z)) - known.decode(z).sample).abs().max() < EXACT
    for rows in (1, 3, 16):
        assert (ours.decode(z, rows=rows) - ours.decode(z)).abs().max() < 1e-12 * ours.decode(z).abs().max()


def original(weights: dict[str, torch.Tensor], levels: int) -> dict[str, torch.Tensor]:
    """diffusers' names -> those of MoVQGAN, attention as 1x1 convolutions."""
    words = {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "conv_norm_out": "norm_out",
             "mid_block.attentions.0": "mid.attn_1", "attentions": "attn", "resnets": "block", "down_blocks": "down",
             "spatial_norm": "norm", "group_norm": "norm", "to_out.0": "proj_out", "to_": "", "conv_shortcut":
             "nin_shortcut", "downsamplers.0": "downsample", "upsamplers.0": "upsample"}  # fmt: skip
    renamed = {}
    for name, tensor in weights.items():
        linear = tensor.ndim == 2 and not name.startswith("quantize.")
        for new, old in words.items():
            name = name.replace(new, old)
        name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        renamed[name] = tensor[:, :, None, None] if linear else tensor
    return renamed


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_layouts_are_names_only(seed, spatial):
    known = theirs(seed, spatial)
    weights = {name: t.contiguous() for name, t in known.state_dict().items()}
    a, b = from_weights(weights), from_weights(original(weights, len(known.config.block_out_channels)))
    assert a.config == b.config
    x = random_images(3, a.spatial_ratio, seed)
    z = a.encode(x).mode()
    assert (b.encode(x).mode() - z).abs().max() < 1e-12
    assert (b.decode(z) - a.decode(z)).abs().max() < 1e-12


SMALL = VQConfig(
    z_channels=4,
    embed_dim=4,
    codes=40,
    encoder=Coder((32, 64, 64), (1, 1, 1), (False, False, True), stem=32),
    decoder=Coder((32, 64, 64), (2, 2, 2), (False, False, True)),
    spatial=True,
)
PLAIN = VQConfig(**{**vars(SMALL), "spatial": False, "embed_dim": 3})


@pytest.mark.parametrize("config", [SMALL, PLAIN, vq.FAMILY.example])
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("vq", config))
    assert (found.config, found.is_whole) == (config, True)


@pytest.mark.parametrize("name", ["amused-vq.diffusers", "kandinsky-movq.ldm"])
def test_without_its_codebook_it_is_still_no_autoencoder_kl(name):
    """Nor with any other single tensor lost or bent: that z is not doubled is told by several."""
    shapes = header(name)["shapes"]
    for lost in ("quantize.embedding.weight", "encoder.conv_out.weight", "quant_conv.weight", "decoder.conv_in.weight"):
        rest = {n: s for n, s in shapes.items() if n != lost}
        found = detect(rest)
        assert (found.family, {detect(shapes).names[n] for n in found.missing}) == ("vq", {lost})
        bent = (shapes[lost][0] * 2, *shapes[lost][1:])
        assert detect({**shapes, lost: bent}).family == "vq"


@torch.no_grad()
def test_the_nearest_code():
    """Also if not all pixels fit into one piece of work; in fp32 even if the network runs in bf16."""
    codebook = Codebook(50, 3)
    codes = torch.randn(50, 3, dtype=torch.float64)
    codebook.embedding.weight = codes
    z = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    want = codes[(z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1).argmin(-1)].permute(0, 3, 1, 2)
    before, vq.DISTANCES = vq.DISTANCES, 300
    try:
        assert torch.equal(codebook(z), want)
    finally:
        vq.DISTANCES = before
    vae = from_weights(random_weights("vq", PLAIN), dtype=torch.bfloat16)
    assert vae.network.quantize.embedding.weight.dtype is torch.float32
    assert vae.decode(torch.randn(1, 3, 4, 4)).shape == (1, 3, 16, 16)


def test_a_posterior_of_a_point():
    vae = from_weights(random_weights("vq", SMALL))
    posterior = vae.encode(torch.zeros(1, 3, 6, 5))
    assert isinstance(posterior, Posterior) and posterior.size == (6, 5) and posterior.kl() == 0
    assert vae.decode(posterior.mode(), size=posterior.size).shape == (1, 3, 6, 5)


def test_titles_say_whose_latents():
    found = [detect(header(name)["shapes"]).title for name in ("kandinsky-movq.ldm", "amused-vq.diffusers")]
    assert [title.rpartition(": ")[2] for title in found] == ["Kandinsky 2.x", "aMUSEd"]
