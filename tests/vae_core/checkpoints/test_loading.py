"""Loading: dtypes, and weights that are not copied twice."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, UnknownCheckpoint, from_weights, inspect, load
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights, small_kl


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_no_fp16_on_a_cpu(tmp_path, stored):
    """In its own dtype if the CPU computes it well; fp16 never, bf16 only where there are instructions for it."""
    path = tmp_path / "a.safetensors"
    save_file(random_weights("kl", small_kl(), stored), path)
    found = load(path).dtype
    assert found in (
        {stored, torch.float32} if stored is torch.bfloat16 else {torch.float32 if stored is torch.float16 else stored}
    )
    assert load(path, dtype=torch.float16).dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_dtype_that_is_asked_for(kl_file, dtype):
    vae = load(kl_file, dtype=dtype)
    weights = load_file(kl_file)
    assert vae.dtype is dtype
    assert all(torch.equal(t, weights[n].to(dtype)) for n, t in vae.network.state_dict().items())


def test_weights_in_memory_are_not_copied():
    weights = random_weights("kl", small_kl())
    vae = from_weights(weights)
    assert all(t.data_ptr() == weights[n].data_ptr() for n, t in vae.network.state_dict().items())


def test_a_vae_is_ready_to_run(kl_file):
    vae = load(kl_file)
    assert not vae.network.training
    assert not any(p.requires_grad for p in vae.network.parameters())
    assert repr(vae).startswith("VAE('small.safetensors': Autoencoder-KL (2-D), 4 channels at 1/4")


def test_a_full_checkpoint(tmp_path, kl_file):
    weights = {f"first_stage_model.{n}": t for n, t in load_file(kl_file).items()}
    path = tmp_path / "full.safetensors"
    save_file({**weights, "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(3)}, path)
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(load(path).decode(z), load(kl_file).decode(z))


def test_fp8_is_cast_and_integers_are_refused(tmp_path):
    weights = random_weights("kl", small_kl())
    path = tmp_path / "a.safetensors"
    save_file({n: t.to(torch.float8_e4m3fn) for n, t in weights.items()}, path)
    vae = load(path)
    assert vae.dtype is torch.float32
    assert torch.equal(
        vae.network.encoder.conv_in.weight, weights["encoder.conv_in.weight"].to(torch.float8_e4m3fn).float()
    )
    save_file({n: (t * 100).to(torch.int8) for n, t in weights.items()}, path)
    with pytest.raises(BrokenCheckpoint, match="stores weights as I8: quantised VAEs are not supported"):
        load(path)


BESIDE = {
    "bitsandbytes, 4 bits": ("absmax", "quant_map", "quant_state.bitsandbytes__nf4"),
    "bitsandbytes, 8 bits": ("SCB", "weight_format"),
    "quanto": ("weight._scale",),
    "blocks of fp8": ("weight_scale_inv",),
    "scales under another name": ("scale",),
}


@pytest.mark.parametrize("way", BESIDE)
def test_what_was_quantised_in_another_way_is_not_broken(tmp_path, kl_file, way):
    """To get it again would be in vain."""
    weights = load_file(kl_file)
    own = [name.removesuffix(".weight") for name in weights if ".attn_1." in name and name.endswith(".weight")]
    for name in own:
        weights[f"{name}.weight"] = weights[f"{name}.weight"].to(torch.int8)
        weights |= {f"{name}.{word}": torch.ones(3) for word in BESIDE[way]}
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(UnknownCheckpoint, match=r"quantised in a way that is not read \(.*take the file that it was"):
        load(tmp_path / "a.safetensors")
    assert not inspect(tmp_path / "a.safetensors").is_whole


def test_weights_in_memory_are_floats_that_a_vae_can_run_in():
    """As in files: integers without their scales would make an image of nothing, and float8 runs in fp32."""
    weights = random_weights("kl", small_kl())
    whole = {n: (t * 100).to(torch.int8) if t.ndim == 4 else t for n, t in weights.items()}
    with pytest.raises(BrokenCheckpoint, match="stored as int8: quantised VAEs are not supported"):
        from_weights(whole)
    with pytest.raises(BrokenCheckpoint, match="stored as bool"):
        from_weights({**weights, "decoder.conv_in.bias": weights["decoder.conv_in.bias"] > 0})
    with pytest.raises(BrokenCheckpoint, match="a tensor is called 7, which is no text"):
        from_weights({**weights, 7: torch.zeros(1)})
    assert from_weights({n: t.to(torch.float8_e4m3fn) for n, t in weights.items()}).dtype is torch.float32
    for odd in ({"dtype": torch.float8_e4m3fn}, {"dtype": torch.int8}, {"device": torch.device("cuda:77")}):
        with pytest.raises(BadRequest, match="cannot"):
            from_weights(weights, **odd)


def test_two_whole_vaes_are_not_one(tmp_path, kl_file):
    other = tmp_path / "other.safetensors"
    other.write_bytes(kl_file.read_bytes())
    with pytest.raises(BrokenCheckpoint, match="are both whole VAEs: give one VAE, or an encoder and a decoder"):
        load(kl_file, other)
