"""Autoencoder-KL against diffusers' own, random weights, float64, many shapes of network."""

import random
import re

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from diffusers.models.attention_processor import Attention
from exact_vae.vae_core import BrokenCheckpoint, UnknownCheckpoint, detect, from_weights, load
from exact_vae.vae_core.families import kl
from exact_vae.vae_core.families.registry import expected_shapes
from safetensors.torch import load_file, save_file
from support.random_networks import shake, small_kl
from support.tensors import random_images

EXACT = 1e-10


def random_facts(seed: int) -> dict:
    """Constructor arguments of diffusers' AutoencoderKL: widths, multipliers, depth, z, quant convs, attention."""
    pick = random.Random(seed)
    levels = pick.choice([1, 2, 3, 4])
    down, up = pick.choice(
        [("DownEncoderBlock2D", "UpDecoderBlock2D"), ("AttnDownEncoderBlock2D", "AttnUpDecoderBlock2D")]
    )
    quant = pick.choice([True, False])
    return {
        "block_out_channels": tuple(pick.choice([32, 64, 96]) for _ in range(levels)),
        "down_block_types": tuple(pick.choice([down, "DownEncoderBlock2D"]) for _ in range(levels)),
        "up_block_types": tuple(pick.choice([up, "UpDecoderBlock2D"]) for _ in range(levels)),
        "layers_per_block": pick.choice([1, 2, 3]),
        "latent_channels": pick.choice([1, 3, 4, 16, 32]),
        "in_channels": pick.choice([1, 3, 4]),
        "out_channels": pick.choice([1, 3, 4]),
        "use_quant_conv": quant,
        "use_post_quant_conv": quant,
        "mid_block_add_attention": pick.choice([True, False]),
    }


@pytest.mark.parametrize("seed", range(24))
@torch.no_grad()
def test_equals_diffusers(tmp_path, seed):
    theirs = shake(AutoencoderKL(**random_facts(seed)), seed)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    x = random_images(ours.in_channels, ours.spatial_ratio, seed)
    want = theirs.encode(x).latent_dist
    got = ours.encode(x)
    assert (got.mean - want.mean).abs().max() < EXACT
    assert (got.logvar - want.logvar).abs().max() < EXACT
    assert (got.kl() - want.kl()).abs().max() < 1e-8 * want.kl().max()
    assert torch.equal(got.mode(), got.mean)
    z = want.mean + 0.1
    assert (ours.decode(z) - theirs.decode(z).sample).abs().max() < EXACT


@torch.no_grad()
def test_flux2_equals_diffusers(tmp_path):
    """Latents at node level: 2x2 patchified, channel first, normalised by running statistics with eps 1e-4."""
    theirs = shake(AutoencoderKLFlux2(block_out_channels=(32, 64, 64, 64), layers_per_block=1, latent_channels=8))
    theirs.bn.running_mean.copy_(torch.randn(32, generator=torch.Generator().manual_seed(1)).double())
    theirs.bn.running_var.copy_(torch.rand(32, generator=torch.Generator().manual_seed(2)).double() * 1e-3)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert (ours.latent_channels, ours.spatial_ratio, theirs.config.batch_norm_eps) == (32, 16, 1e-4)
    x = random_images(3, 16)
    moments = theirs.encode(x).latent_dist
    b, c, h, w = moments.mean.shape
    patches = (
        moments.mean.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
    )
    mean, var = (t.double()[:, None, None] for t in (theirs.bn.running_mean, theirs.bn.running_var))
    got = ours.encode(x)
    assert (got.mean - moments.mean).abs().max() < EXACT
    assert (got.mode() - (patches - mean) / (var + 1e-4).sqrt()).abs().max() < 1e-9
    assert (ours.decode(got.mode()) - theirs.decode(moments.mean).sample).abs().max() < EXACT


@torch.no_grad()
def test_flux2_statistics_keep_fp32(tmp_path):
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    theirs = AutoencoderKLFlux2(block_out_channels=(32, 32), layers_per_block=1, latent_channels=4, **blocks)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.bfloat16)
    assert ours.dtype is torch.bfloat16
    assert ours.network.bn.running_var.dtype is torch.float32
    ours.network.bn.running_var.uniform_(1e-5, 1e-3)
    posterior = ours.encode(random_images(3, 4))
    assert posterior.mode().dtype is torch.float32
    want = torch.nn.functional.pixel_unshuffle(posterior.mean.double(), 2)
    want = want / (ours.network.bn.running_var.double()[:, None, None] + 1e-4).sqrt()
    assert (posterior.mode() - want).abs().max() < 1e-6 * want.abs().max()  # nothing of it was in bf16


@torch.no_grad()
def test_old_attention_names(tmp_path):
    """Files of diffusers < 0.15 say query, key, value, proj_attn."""
    theirs = shake(AutoencoderKL(**random_facts(3) | {"mid_block_add_attention": True}))
    assert any(isinstance(m, Attention) for m in theirs.modules())
    renames = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, tensor in theirs.state_dict().items():
        for new, old in renames.items():
            name = name.replace(f".{new}.", f".{old}.")
        weights[name] = tensor.contiguous()
    ours = from_weights(weights)
    assert detect({n: tuple(t.shape) for n, t in weights.items()}).layout == "diffusers-legacy"
    x = random_images(ours.in_channels, ours.spatial_ratio)
    assert (ours.encode(x).mean - theirs.encode(x).latent_dist.mean).abs().max() < EXACT


CONFIGS = {
    "plain": small_kl(),
    "no quant convs": small_kl(quant_conv=False, post_quant_conv=False),
    "narrower z": small_kl(z_channels=8, embed_dim=3),
    "no mid attention": small_kl(
        encoder=kl.Coder((32, 64), (2, 1), (False, False), mid_attention=False, stem=32),
        decoder=kl.Coder((32, 64), (1, 3), (False, False), mid_attention=False),
    ),
    "attention at a level": small_kl(
        encoder=kl.Coder((32, 64), (2, 2), (False, True), stem=32), decoder=kl.Coder((32, 64), (3, 3), (True, False))
    ),
    "another stem": small_kl(encoder=kl.Coder((64, 96, 64), (1, 2, 3), (False,) * 3, stem=32)),
    "a smaller decoder": small_kl(decoder=kl.Coder((32, 32, 32), (1, 1, 1), (False,) * 3)),
    "grey to RGBA": small_kl(in_channels=1, out_channels=4),
    "FLUX.2": small_kl(z_channels=8, embed_dim=8, patch=2),
    "encoder only": small_kl(decoder=None, post_quant_conv=False),
    "decoder only": small_kl(encoder=None, quant_conv=False),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_of_the_config(name):
    """What is built from a config is detected as that config."""
    config = CONFIGS[name]
    found = detect(expected_shapes("kl", config))
    assert found.config == config
    assert found.is_whole


@torch.no_grad()
def test_halves(tmp_path):
    """An encoder and a decoder in two bare files are the VAE they were cut from."""
    from support.random_networks import random_weights

    config = small_kl(z_channels=8, embed_dim=8)
    weights = random_weights("kl", config)
    encoder = {n.removeprefix("encoder."): t for n, t in weights.items() if n.startswith(("encoder.", "quant_conv."))}
    decoder = {n.removeprefix("decoder."): t for n, t in weights.items() if n.startswith(("decoder.", "post_quant"))}
    save_file(encoder, tmp_path / "encoder.safetensors")
    save_file(decoder, tmp_path / "decoder.safetensors")
    save_file(weights, tmp_path / "whole.safetensors")
    whole = load(tmp_path / "whole.safetensors", dtype=torch.float64)
    both = load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors", dtype=torch.float64)
    swapped = load(tmp_path / "decoder.safetensors", tmp_path / "encoder.safetensors", dtype=torch.float64)
    x = random_images(3, 4)
    for vae in (both, swapped):
        assert vae.config == whole.config
        assert torch.equal(vae.encode(x).mode(), whole.encode(x).mode())
        assert torch.equal(vae.decode(whole.encode(x).mode()), whole.decode(whole.encode(x).mode()))


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_bare_halves_of_diffusers(tmp_path, legacy):
    """Cut from a diffusers model, the quant convs beside them or inside: the same VAE."""
    facts = random_facts(3) | {"use_quant_conv": True, "use_post_quant_conv": True, "mid_block_add_attention": True}
    theirs = shake(AutoencoderKL(**facts))
    weights = {n: t.contiguous() for n, t in theirs.state_dict().items()}
    if legacy:
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        weights = {re.sub("to_q|to_k|to_v|to_out.0", lambda m: old[m[0]], n): t for n, t in weights.items()}
    for half, quant in (("encoder", "quant_conv."), ("decoder", "post_quant_conv.")):
        part = {n.removeprefix(f"{half}."): t for n, t in weights.items() if n.startswith((f"{half}.", quant))}
        save_file(part, tmp_path / f"{half}.safetensors")
    ours = load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")
    x = random_images(ours.in_channels, ours.spatial_ratio)
    assert (ours.encode(x).mean - theirs.encode(x).latent_dist.mean).abs().max() < EXACT
    z = ours.encode(x).mode()
    assert (ours.decode(z) - theirs.decode(z).sample).abs().max() < EXACT


@pytest.mark.parametrize(
    "other", [{"z_channels": 8, "embed_dim": 8}, {"decoder": kl.Coder((32, 64), (1, 1), (False,) * 2)}]
)
def test_halves_that_do_not_fit(tmp_path, other):
    """Of other channels or another ratio: two good files, but not of one VAE."""
    from support.random_networks import random_weights

    first, second = small_kl(decoder=None, post_quant_conv=False), small_kl(**other)
    save_file(random_weights("kl", first), tmp_path / "encoder.safetensors")
    part = {n: t for n, t in random_weights("kl", second).items() if n.startswith(("decoder", "post"))}
    save_file(part, tmp_path / "decoder.safetensors")
    with pytest.raises(
        BrokenCheckpoint, match=r"'encoder.safetensors' .* and 'decoder.safetensors' .* do not make one VAE"
    ):
        load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")


@torch.no_grad()
def test_a_replaced_half_takes_its_quant_conv_along(tmp_path):
    from support.random_networks import random_weights

    full, bare = small_kl(), small_kl(encoder=None, quant_conv=False, post_quant_conv=False)
    save_file(random_weights("kl", full), tmp_path / "full.safetensors")
    save_file(random_weights("kl", bare), tmp_path / "decoder.safetensors")
    both = load(tmp_path / "full.safetensors", tmp_path / "decoder.safetensors")
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(both.decode(z), load(tmp_path / "decoder.safetensors").decode(z))
    assert both.network.quant_conv is not None and both.network.post_quant_conv is None


def test_what_only_a_folder_s_config_tells(tmp_path):
    AutoencoderKL(**random_facts(0) | {"act_fn": "gelu"}).save_pretrained(tmp_path)
    with pytest.raises(UnknownCheckpoint, match=r"has act_fn .*: only VAEs with"):
        load(tmp_path)


@torch.no_grad()
def test_a_later_file_replaces_a_half(tmp_path):
    """FLUX.2's small decoder beside the full VAE: its widths, the other's encoder and statistics."""
    from support.random_networks import random_weights

    full = small_kl(z_channels=8, embed_dim=8, patch=2)
    small = small_kl(
        z_channels=8, embed_dim=8, encoder=None, quant_conv=False, decoder=kl.Coder((32,) * 3, (1,) * 3, (False,) * 3)
    )
    save_file(random_weights("kl", full), tmp_path / "full.safetensors")
    bare = {n.removeprefix("decoder."): t for n, t in random_weights("kl", small).items()}
    save_file(bare, tmp_path / "small.safetensors")
    vae = load(tmp_path / "full.safetensors", tmp_path / "small.safetensors")
    assert (vae.latent_channels, vae.config.decoder) == (32, small.decoder)
    assert vae.config.encoder == full.encoder
    assert torch.equal(vae.network.decoder.conv_in.weight, load_file(tmp_path / "small.safetensors")["conv_in.weight"])
    assert vae.decode(vae.encode(torch.zeros(1, 3, 16, 16)).mode()).shape == (1, 3, 16, 16)


@torch.no_grad()
def test_black_forest_names(tmp_path):
    """FLUX.2's own files keep the quant convs inside the halves."""
    from support.random_networks import random_weights

    weights = random_weights("kl", small_kl(z_channels=8, embed_dim=8, patch=2), torch.float64)
    inside = {
        ("encoder." if n.startswith("quant") else "decoder." if n.startswith("post") else "") + n: t
        for n, t in weights.items()
    }
    a, b = from_weights(weights), from_weights(inside)
    x = random_images(3, 8)
    assert torch.equal(a.encode(x).mode(), b.encode(x).mode())
    assert a.config == b.config
