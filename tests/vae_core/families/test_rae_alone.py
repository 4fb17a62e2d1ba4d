"""RAE's decoder as its authors publish it, alone: whose features it decodes, and what joins it from files beside it."""

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders import autoencoder_rae as theirs
from exact_vae.vae_core import UnknownCheckpoint, inspect, load, save
from exact_vae.vae_core.checkpoints import from_weights
from exact_vae.vae_core.families import rae
from exact_vae.vae_core.families.names.rae import to_diffusers
from exact_vae.vae_core.reports import describe_file, describe_vae
from safetensors.torch import save_file
from support.rae_weights import (
    IMAGENET,
    KINDS,
    SIDE,
    Z,
    in_transformers_4,
    near,
    weights_of,
)
from support.small_networks import small


@pytest.fixture
def image():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def authors_files(folder, kind: str = "siglip2") -> dict[str, torch.Tensor]:
    """A decoder, the statistics of the latent and an encoder, as the authors keep them; and all tensors in one."""
    weights = weights_of(kind)
    weights["decoder.decoder_pos_embed"] = torch.randn(1, 5, 128, dtype=torch.float64)
    bare = {in_transformers_4(n.replace("decoder.", "encoder."), "mae", "").removeprefix("."): t
            for n, t in weights.items() if n.startswith("decoder.")}  # fmt: skip
    bare = {n.replace("encoder.layer.", "decoder_layers."): t for n, t in bare.items()}
    mean, var = weights["_latents_mean"], weights["_latents_std"] ** 2
    (folder / "ViTXL_n08").mkdir(parents=True)
    torch.save(bare, folder / "ViTXL_n08" / "model.pt")
    torch.save({"mean": mean, "var": var}, folder / "stat.pt")
    module = {"siglip2": "vision_model", "mae": "vit"}.get(kind, "")
    own = {in_transformers_4(n, kind, module).removeprefix("."): t
           for n, t in weights.items() if n.startswith("encoder.")}  # fmt: skip
    beside = {"siglip2": "text_model.head.weight", "mae": "decoder.mask_token"}.get(kind, "layernorm.weight")
    save_file({**own, beside: torch.zeros(Z)}, folder / "model.safetensors")
    weights |= {"encoder_mean": colours(kind)[0], "encoder_std": colours(kind)[1]}
    return {**weights, "_latents_std": (var + 1e-5).sqrt() - 1e-5}


def colours(kind: str) -> list[torch.Tensor]:
    return [torch.tensor(t).view(1, 3, 1, 1) for t in (((0.5,) * 3, (0.5,) * 3) if kind == "siglip2" else IMAGENET)]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_authors_decoder(tmp_path, kind, image):
    """Alone it decodes features; with their statistics, latents; and with the encoder it is whole."""
    folder = tmp_path / kind / "base_p16"
    weights = authors_files(folder, kind)
    known = theirs.RAEDecoder(Z, 128, 1, 2, 32, num_patches=4, patch_size=16, image_size=SIDE).double().eval()
    known.decoder_pos_embed = weights["decoder.decoder_pos_embed"]
    own = [name for name in weights if name.startswith("decoder.") and not name.endswith("pos_embed")]
    names = to_diffusers(own)
    known.load_state_dict({names[n].removeprefix("decoder."): weights[n] for n in own}, strict=True)
    features = torch.randn(2, Z, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, std = colours(kind)
    want = known.unpatchify(known(features.flatten(2).transpose(1, 2)).logits) * std + mean
    decoder, stat = folder / "ViTXL_n08" / "model.pt", folder / "stat.pt"
    alone = load(decoder)
    assert (alone.parts, alone.latent_space, alone.config.version) == (("decoder",), None, kind)
    assert f"read as {kind}" in describe_vae(alone, "fp64") and "note:       it decodes features" in describe_file(
        inspect(decoder)
    )
    assert near((alone.decode(features) + 1) / 2, want)
    latent = (features - weights["_latents_mean"]) / (weights["_latents_std"] + 1e-5)
    whole_latents = load(decoder, stat)
    assert near(whole_latents.decode(latent), alone.decode(features))
    assert "note:" not in describe_vae(whole_latents, "fp64")
    for files in ((decoder, stat, folder), (folder, decoder, stat)):
        vae, whole = load(*files), from_weights(weights)
        assert (vae.parts, vae.config.encoder.kind, vae.config.version) == (("encoder", "decoder"), kind, "")
        assert near(vae.encode(2 * image - 1).mode(), whole.encode(2 * image - 1).mode())
        assert near(vae.decode(latent), whole.decode(latent))


def test_a_decoder_that_nothing_tells_is_not_run(tmp_path):
    """Its name, its folder's or the encoder tells; and what it is saved as."""
    authors_files(tmp_path / "models")
    decoder, stat = tmp_path / "models" / "ViTXL_n08" / "model.pt", tmp_path / "models" / "stat.pt"
    words = r"nor its name tell whether it is of dinov2, siglip2 or mae, .*: put that word into its name or into that"
    with pytest.raises(UnknownCheckpoint, match=words):
        load(decoder)
    with pytest.raises(UnknownCheckpoint, match=words):
        load(decoder, stat)
    assert "version:    dinov2 or siglip2 or mae: nothing tells" in describe_file(inspect(decoder))
    assert load(decoder, tmp_path / "models" / "model.safetensors").config.encoder.kind == "siglip2"
    told = decoder.rename(tmp_path / "rae_siglip2.pt")
    save(load(told), tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors").config == load(told).config
    with pytest.raises(UnknownCheckpoint, match=r"stat\.pt': no VAE .*, which are the statistics of RAE's latents"):
        load(stat)
    save(small("kl"), tmp_path / "kl.safetensors")
    with pytest.raises(UnknownCheckpoint, match=r"stat\.pt': no VAE .*, which are the statistics of RAE's latents"):
        load(tmp_path / "kl.safetensors", stat)


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("decoders/dinov2/wReg_base/ViTXL_n08_i512/model.pt", "dinov2"),
        ("decoders/siglip2/base_p16_i256/ViTXL_n08/model.pt", "siglip2"),
        ("vae/RAE-mae-base-p16-ViTXL-n08.safetensors", "mae"),
        ("siglip2_decoder/model.pt", "siglip2"),
        ("mae/models/vae/model.pt", None),
        ("vae/dinov2_or_mae.pt", None),
        ("vae/maelstrom.pt", None),
    ],
)
def test_whose_features_a_name_says(path, version):
    assert rae.find_version(Path(path)) == version
