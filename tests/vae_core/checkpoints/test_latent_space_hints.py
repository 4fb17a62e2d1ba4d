"""Whose latents a VAE makes, where something around it says so."""

import json

import pytest
import torch
from exact_vae.vae_core import detect, inspect, load
from exact_vae.vae_core.checkpoints.latent_space_hints import whose
from exact_vae.vae_core.families.kl import FAMILY
from exact_vae.vae_core.families.registry import spaces
from exact_vae.vae_core.latents.spaces import SPACES, find_spaces
from exact_vae.vae_core.reports.description import describe_file
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights, small_kl

FOUR, SIXTEEN = find_spaces(4, 8, "kl"), find_spaces(16, 8, "kl")


def test_what_shapes_tell():
    assert FOUR == ("sd1", "sdxl", "playground25") and SIXTEEN == ("sd3", "flux1", "cogview4")
    assert find_spaces(128, 16, "kl") == ("flux2",) and find_spaces(16, 8, "wan") == ("wan21",)
    found = detect(header("sd1.ldm")["shapes"])
    assert spaces(found.family, found.config) == FOUR
    assert spaces("kl", small_kl()) == ()  # of sizes that no model has


@pytest.mark.parametrize(
    ("fitting", "name", "space"),
    [
        (FOUR, "cond_stage_model.transformer.text_model.x", "sd1"),
        (FOUR, "cond_stage_model.model.x", "sd1"),
        (FOUR, "conditioner.embedders.0.x", "sdxl"),
        (SIXTEEN, "model.diffusion_model.joint_blocks.0.x", "sd3"),
        (SIXTEEN, "model.diffusion_model.double_blocks.0.x", "flux1"),
        (FOUR, "model.diffusion_model.double_blocks.0.x", None),  # which no model of 4 channels has
        (FOUR, "decoder.conv_in.weight", None),
        (("flux2",), "x", "flux2"),
        ((), "cond_stage_model.x", None),
    ],
)
def test_names_beside_the_vae(fitting, name, space):
    assert whose(fitting, ["first_stage_model.decoder.x", name]) == space


def test_playground_has_sdxl_s_names_and_two_more():
    assert whose(FOUR, ["conditioner.embedders.0.x", "edm_mean", "edm_std"]) == "playground25"


def test_metadata():
    assert whose(FOUR, (), {"modelspec.architecture": "stable-diffusion-xl-v1-base"}) == "sdxl"
    assert whose(FOUR, (), {"modelspec.architecture": "flux-1-dev"}) is None


@pytest.mark.parametrize("beside", ["config.json", "vae/config.json"])
def test_a_folder_of_diffusers(tmp_path, beside):
    config = tmp_path / beside
    config.parent.mkdir(exist_ok=True)
    for facts, space in (
        ({"scaling_factor": 0.13025}, "sdxl"),
        ({"scaling_factor": 0.18215, "shift_factor": None}, "sd1"),
        ({"scaling_factor": 0.5}, "playground25"),
        ({"scaling_factor": 9}, None),
        ({"scaling_factor": "x"}, None),
        ([], None),
    ):
        config.write_text(json.dumps(facts))
        assert whose(FOUR, (), {}, tmp_path) == space
    config.write_text("{")
    assert whose(FOUR, (), {}, tmp_path) is None
    config.write_text(json.dumps({"scaling_factor": 0.3611, "shift_factor": 0.1159}))
    assert whose(SIXTEEN, (), {}, tmp_path) == "flux1"


def test_a_full_checkpoint(tmp_path):
    """`load` and `inspect` agree, and say nothing where nothing is known."""
    weights = {f"first_stage_model.{n}": t.half() for n, t in random_weights("kl", FAMILY.example).items()}
    save_file({**weights, "conditioner.embedders.0.x": torch.zeros(1)}, tmp_path / "full.safetensors")
    found = inspect(tmp_path / "full.safetensors")
    assert found.latent_space == load(tmp_path / "full.safetensors").latent_space == "sdxl"
    assert f"the latents of {SPACES['sdxl'].models} (sdxl)" in describe_file(found)
    assert load().latent_space is None  # the built-in VAE: nobody's


def test_a_tiny_vae(shared):
    """Its author's file name says whose latents they are."""
    file = shared / "weights" / "taef2_encoder.pth"
    assert inspect(file).latent_space == load(file).latent_space == "flux2"
