"""Latents as other programs keep and pack them."""

import math
import zipfile

import numpy as np
import pytest
import torch
from exact_vae.vae_core import BadRequest, LatentMismatch, from_weights
from exact_vae.vae_core.latents import latent_of_z, read_latent_file, unpack
from safetensors.torch import save_file
from support.node_calls import call
from support.random_networks import random_weights, small_kl


def pack_as_diffusers(latent):
    """FluxPipeline._pack_latents of huggingface/diffusers (Apache-2.0)."""
    b, c, h, w = latent.shape
    latent = latent.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return latent.reshape(b, (h // 2) * (w // 2), c * 4)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (6, 10), (2, 2)])
def test_packed_latents_of_flux_1(h, w):
    latent = torch.randn(2, 16, h, w)
    found, space = unpack(pack_as_diffusers(latent), (8 * h, 8 * w))
    assert torch.equal(found, latent) and space.models.startswith("FLUX.1")
    if h == w:
        assert torch.equal(unpack(pack_as_diffusers(latent))[0], latent)


def test_packed_latents_of_flux_2():
    latent = torch.randn(1, 128, 3, 5)
    assert torch.equal(unpack(latent.flatten(2).transpose(1, 2), (48, 80))[0], latent)


@pytest.mark.parametrize("shape", [(1, 15, 64), (1, 6, 128)])
def test_tokens_that_make_no_square_need_a_size(shape):
    with pytest.raises(LatentMismatch, match="do not make a square image"):
        unpack(torch.zeros(shape))
    with pytest.raises(LatentMismatch, match="do not make an image of 64x64"):
        unpack(torch.zeros(shape), (64, 64))
    with pytest.raises(LatentMismatch, match="is not packed"):
        unpack(torch.zeros(1, 4, 8))


def test_convert_latent_unpacks(vae_of_16):
    raw = torch.randn(1, 16, 8, 12)
    scaled = {"samples": pack_as_diffusers((raw - 0.1159) * 0.3611), "noise_mask": torch.ones(1, 1, 64, 96)}
    found = call("ExactConvertLatent", samples=scaled, to="raw")
    assert torch.allclose(found["samples"], raw, atol=1e-5)
    assert found["exact_vae"]["space"] == "flux1" and found["exact_vae"]["convention"] == "raw"
    with pytest.raises(LatentMismatch, match="packed, as pipelines of FLUX"):
        vae_of_16.decode(scaled["samples"])


@pytest.fixture
def vae_of_16():
    return from_weights(random_weights("kl", small_kl(z_channels=16)))


def test_what_the_encoder_of_flux_2_gives_becomes_a_latent():
    vae = from_weights(random_weights("kl", small_kl(patch=2)), "flux2")
    posterior = vae.encode(torch.rand(1, 3, 32, 48) * 2 - 1)
    assert torch.equal(latent_of_z(posterior.mean, vae), posterior.mode())
    with pytest.raises(LatentMismatch, match="use latents"):
        vae.decode(posterior.mean)
    with pytest.raises(LatentMismatch, match="sides in 2s"):
        latent_of_z(torch.zeros(1, vae.config.z_channels, 3, 4), vae)


KEPT = {  # name of the file, of the tensor, shape: shape that is read, space, convention
    ("a_1024x0768_sdxl.npz", "latents", (4, 6, 8)): ((1, 4, 6, 8), "sdxl", "raw"),
    ("a_0512x0512_sd.npz", "latents", (4, 6, 8)): ((1, 4, 6, 8), "sd1", "raw"),
    ("a_flux.npz", "latents_6x8", (16, 6, 8)): ((1, 16, 6, 8), "flux1", "scaled"),
    ("a.npz", "latents", (4, 6, 8)): ((1, 4, 6, 8), None, None),
    ("a_0832x0480_wan.safetensors", "latents_3x6x8_bfloat16", (16, 3, 6, 8)): ((1, 16, 3, 6, 8), "wan21", "normalised"),
    ("a_0832x0480_fk.safetensors", "latents_1x6x8_bfloat16", (16, 6, 8)): ((1, 16, 6, 8), "flux1", "scaled"),
    ("a_0832x0480_f2d.safetensors", "latents_6x8_float32", (128, 6, 8)): ((1, 128, 6, 8), "flux2", "raw"),
    ("a_hv.safetensors", "latents_1x8x8_bfloat16", (16, 1, 8, 8)): ((1, 16, 1, 8, 8), "hunyuan-video", "raw"),
    ("a.safetensors", "latents", (2, 4, 6, 8)): ((2, 4, 6, 8), None, None),
    ("a_sdxl.safetensors", "latents", (16, 6, 8)): ((1, 16, 6, 8), None, None),
}


@pytest.mark.parametrize(("kept", "want"), KEPT.items(), ids=lambda one: str(one[0]))
def test_what_trainers_keep_is_read(tmp_path, kept, want):
    (file, name, shape), (read, space, convention) = kept, want
    latent = torch.randn(shape)
    if file.endswith(".npz"):
        np.savez(tmp_path / file, **{name: latent.numpy(), "original_size": np.array([64, 48])})
    else:
        kind = torch.bfloat16 if "bfloat16" in name else torch.float32
        save_file({name: latent.to(kind), "latents_control_0_1x6x8_bfloat16": torch.zeros(1)}, tmp_path / file)
        latent = latent.to(kind).float()
    found = read_latent_file(tmp_path / file)
    assert found.latent.shape == read and torch.equal(found.latent.flatten(), latent.flatten())
    assert (found.tag and found.tag.space, found.tag and found.tag.convention) == (space, convention)


def test_several_latents_in_a_file_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", latents_6x8=np.zeros((4, 6, 8), "f4"), latents_8x6=np.zeros((4, 8, 6), "f4"))
    with pytest.raises(LatentMismatch, match=r"holds 2 latents \(latents_6x8, latents_8x6\)"):
        read_latent_file(tmp_path / "a.npz")


BROKEN = {
    "objects": lambda p: np.savez(p, latents=np.array([{}], object)),
    "complex": lambda p: np.savez(p, latents=np.zeros((4, 2, 2), "c8")),
    "whole numbers": lambda p: np.savez(p, latents=np.zeros((4, 2, 2), "i4")),
    "text": lambda p: np.savez(p, latents=np.array(["a"])),
    "nothing": lambda p: np.savez(p, other=np.zeros(3)),
    "no numbers": lambda p: np.savez(p, latents=np.zeros((4, 0, 2), "f4")),
    "no archive": lambda p: p.write_bytes(b"PK" * 100),
    "empty": lambda p: p.write_bytes(b""),
    "a lie": lambda p: lie(p, "(4, 1000000, 1000000)"),
    "a longer lie": lambda p: lie(p, f"({'9' * 300},)"),
    "no shape": lambda p: lie(p, "5"),
    "code": lambda p: lie(p, "__import__('os').abort()"),
}


def lie(path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "latents.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 64
        )


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_archives_get_a_sentence(tmp_path, kind):
    BROKEN[kind](tmp_path / "a.npz")
    with pytest.raises((BadRequest, LatentMismatch), match=r"a\.npz"):
        read_latent_file(tmp_path / "a.npz")


def test_fortran_order_and_other_endianness(tmp_path):
    want = np.arange(48, dtype=">f8").reshape(4, 3, 4)
    np.savez(tmp_path / "a.npz", latents=np.asfortranarray(want))
    assert torch.equal(read_latent_file(tmp_path / "a.npz").latent[0], torch.tensor(want.astype("f4")))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.complex64])
def test_latents_of_other_numbers_in_a_file(tmp_path, dtype):
    save_file({"latent": torch.zeros(1, 4, 2, 2, dtype=dtype)}, tmp_path / "a.safetensors")
    with pytest.raises(LatentMismatch, match="a latent is of floats"):
        read_latent_file(tmp_path / "a.safetensors")


def test_a_number_alone_is_no_latent(tmp_path):
    save_file({"latent": torch.tensor(math.pi)}, tmp_path / "a.safetensors")
    with pytest.raises(LatentMismatch, match="this is no latent"):
        read_latent_file(tmp_path / "a.safetensors")
