"""Pipelines of diffusers with our VAE in the place of theirs: the same images and clips."""

import copy
import logging
import pickle
import subprocess
import sys

import diffusers
import pytest
import torch
from exact_vae.vae_core import VAE, BadRequest, RunOptions, from_weights
from exact_vae.vae_core.diffusers import as_vae, list_facts
from support.diffusers_networks import DIFFUSERS
from support.random_networks import random_weights, small_kl
from support.small_networks import small

try:
    import transformers  # noqa: F401 - without it diffusers has no pipelines
    from support.tiny_pipelines import PIPELINES, SIDE, sd
except ImportError:
    PIPELINES = {}
needs_pipelines = pytest.mark.skipif(not PIPELINES, reason="diffusers has no pipelines without transformers")


def ours(theirs: torch.nn.Module) -> VAE:
    return from_weights(theirs.state_dict(), "ours")


def run(pipe, given, output_type="pt"):
    pipe.set_progress_bar_config(disable=True)
    shown = given.get("image") is not None or "video" in given
    sized = {} if shown else {"height": SIDE, "width": SIDE}
    generator = torch.Generator().manual_seed(0)
    return pipe(**sized, **given, num_inference_steps=2, generator=generator, output_type=output_type)[0]


@needs_pipelines
@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_gives_the_same_image(name):
    torch.manual_seed(0)
    pipe, given = PIPELINES[name]()
    expected = torch.as_tensor(run(pipe, given))
    pipe.vae = as_vae(ours(pipe.vae), like=pipe.vae, options=RunOptions(rows=2))
    assert expected.std() > 1e-4
    torch.testing.assert_close(torch.as_tensor(run(pipe, given)), expected, rtol=0, atol=1e-5)


@needs_pipelines
def test_a_pipeline_made_with_it_moves_it(caplog):
    pipe, given = sd()
    vae = ours(pipe.vae)
    made = type(pipe)(**{**pipe.components, "vae": as_vae(vae, latent_space="sd1")}, requires_safety_checker=False)
    torch.testing.assert_close(run(made, given), run(pipe, given), rtol=0, atol=1e-5)
    made.to(torch.bfloat16)
    assert vae.dtype == made.vae.dtype == made.unet.dtype == torch.bfloat16
    made.vae.enable_tiling()
    with caplog.at_level(logging.INFO, "exact_vae"):
        made.vae.enable_slicing()
    assert "enable_slicing does nothing" in caplog.text


def test_torch_compile_leaves_it_as_it_is(caplog):
    """Traced, the planning would be: minutes of compiling, for the time of a run in plain torch or more."""
    made = as_vae(small("kl"), latent_space="sd1")
    z, traced = torch.randn(1, 4, 3, 3), []
    compiled = torch.compile(made.decode, backend=lambda graph, _: traced.append(graph) or graph.forward)
    assert torch.equal(compiled(z).sample, made.decode(z).sample) and not traced
    with caplog.at_level(logging.INFO, "exact_vae"):
        made.compile(mode="max-autotune")
    assert "compile does nothing" in caplog.text


@needs_pipelines
def test_a_pipeline_offloads_it():
    """accelerate's hooks run before encode and decode."""
    pytest.importorskip("accelerate")
    pipe, given = sd()
    expected = run(pipe, given)
    pipe.vae = as_vae(ours(pipe.vae), like=pipe.vae)
    pipe.enable_model_cpu_offload(device="cpu")
    torch.testing.assert_close(run(pipe, given), expected, rtol=0, atol=1e-5)


KINDS = ("kl", "kl FLUX.2", "svd", "hunyuan_video", "ltx_video", "dc_ae Sana", "wan", "wan 2.2", "kandinsky6", "tiny")


@pytest.fixture(scope="module", params=KINDS)
def pair(request) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(diffusers' VAE, ours as one)"""
    torch.manual_seed(0)
    name, settings = DIFFUSERS[request.param]
    if not hasattr(diffusers, name):
        pytest.skip("this diffusers has no such class")
    theirs = getattr(diffusers, name)(**settings).double().eval()
    return theirs, as_vae(from_weights(theirs.state_dict(), request.param, torch.float64), like=theirs)


def pixels(vae: VAE) -> torch.Tensor:
    """Two images, or a clip of a number of frames that every VAE of clips here takes."""
    torch.manual_seed(1)
    frames = {"ltx_video": 9, "hunyuan_video": 5, "wan": 5, "kandinsky6": 5}.get(vae.family)
    return torch.rand(*((1, 3, frames) if frames else (2, 3)), 32, 32, dtype=torch.float64) * 2 - 1


@torch.no_grad()
def test_it_encodes_and_decodes_as_theirs(pair):
    theirs, mine = pair
    x = pixels(mine.vae)
    a, b = theirs.encode(x, return_dict=False)[0], mine.encode(x, return_dict=False)[0]
    if not isinstance(a, torch.Tensor):
        drawn = [one.sample(torch.Generator().manual_seed(2)) for one in (a, b)]
        torch.testing.assert_close(drawn[1], drawn[0], rtol=0, atol=1e-6)
        a, b = a.mode(), b.mode()
    torch.testing.assert_close(b, a, rtol=0, atol=1e-6)
    frames = {"num_frames": 2} if mine.vae.family == "svd" else {}
    shown = theirs.decode(a, **frames).sample
    torch.testing.assert_close(mine.decode(a, **frames).sample.clamp(-1, 1), shown.clamp(-1, 1), rtol=0, atol=1e-6)
    assert isinstance(mine.decode(a, False, **frames), tuple)  # where most of theirs have return_dict
    if frames:
        with pytest.raises(BadRequest, match=r"2 latents are no clips of 3 frames"):
            mine.decode(a, num_frames=3)


def test_its_facts_are_those_of_their_config(pair):
    theirs, mine = pair
    found = list_facts(mine.vae, mine.vae.latent_space or "sd1")
    counted = ("block_out_channels", "encoder_block_out_channels")
    same = ("latent_channels", "z_dim", "temperal_downsample", "scale_factor_spatial", "scale_factor_temporal")
    for name in (*same, *counted):
        if theirs.config.get(name) is not None and mine.vae.family not in ("hunyuan_video", "ltx_video"):
            value, known = found[name], theirs.config[name]
            assert (len(value), name) == (len(known), name) if name in counted else (value, name) == (known, name)
    for name in ("spatial_compression_ratio", "temporal_compression_ratio", "temperal_downsample"):
        if hasattr(theirs, name):
            assert (getattr(mine, name), name) == (getattr(theirs, name), name)
            assert mine.vae.family == "wan" or (found[name], name) == (getattr(theirs, name), name)


def test_a_place_of_other_channels():
    vae = small("kl", torch.float32)
    with pytest.raises(BadRequest, match="latents of 'flux1' have 16 channels"):
        as_vae(vae, latent_space="flux1")
    with pytest.raises(BadRequest, match="the VAE that it would take the place of has 16"):
        as_vae(vae, like=diffusers.AutoencoderKL(latent_channels=16))


def test_other_pixels_than_a_pipeline_has_are_not_given_to_it():
    with pytest.raises(BadRequest, match="cannot stand in a pipeline of MiniMax-H3, whose pixels are"):
        as_vae(small("minimax_h3"))


def test_the_scale_must_be_known_and_is_the_space_s():
    vae = small("kl", torch.float32)
    vae.latent_space = None
    with pytest.raises(BadRequest, match=r"give latent_space .* or like=pipe.vae"):
        as_vae(vae)
    wide = from_weights(random_weights("kl", small_kl(z_channels=16, embed_dim=16)))
    config = as_vae(wide, latent_space="flux1").config
    assert (config.scaling_factor, config.shift_factor, config.latents_mean) == (0.3611, 0.1159, None)
    vae.latent_space = "sdxl"
    assert as_vae(vae).config.scaling_factor == 0.13025


def test_a_tiny_vae_is_not_scaled():
    config = as_vae(small("tiny", torch.float32)).config
    assert (config.scaling_factor, config.shift_factor, config.latents_mean) == (1, 0, None)


def test_statistics_stay_fp32_and_are_found_by_flux2_and_ltx_video():
    flux2, ltx = (as_vae(small(kind, torch.float32)) for kind in ("kl: FLUX.2", "ltx_video"))
    assert flux2.half().bn.running_mean.dtype == torch.float32
    assert flux2.dtype == flux2.vae.dtype == torch.float16
    assert flux2.float().to(dtype=torch.bfloat16).dtype == torch.bfloat16
    assert ltx.latents_mean.shape == ltx.latents_std.shape == (ltx.vae.latent_channels,)
    assert not hasattr(ltx, "bn") and not hasattr(flux2, "latents_mean")


def test_it_is_a_module_that_is_copied_and_pickled():
    vae = as_vae(small("kl", torch.float32), latent_space="sd1")
    z = torch.randn(1, 4, 3, 5)
    expected = vae.decode(z).sample
    for other in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
        assert other is not vae and other.vae.network is other.network
        assert torch.equal(other.decode(z).sample, expected)
    assert len(list(vae.parameters())) == len(list(vae.vae.network.parameters()))
    assert vae(torch.zeros(1, 3, 6, 10)).sample.shape == (1, 3, 6, 10)


def test_weights_that_were_taken_away_are_said():
    vae = as_vae(small("kl", torch.float32), latent_space="sd1")
    vae.network.to("meta")
    with pytest.raises(BadRequest, match="enable_model_cpu_offload"):
        vae.decode(torch.zeros(1, 4, 2, 2))


def test_it_says_that_diffusers_is_missing():
    code = "import sys; sys.modules['diffusers'] = None\nfrom exact_vae.vae_core.diffusers import as_vae\nas_vae(None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "BadRequest: as_vae needs diffusers" in done.stderr
