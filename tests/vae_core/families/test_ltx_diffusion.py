"""LTX-2.5's diffusion decoder against diffusers' own, with its noise; in bands; and from all its files."""

import json
from dataclasses import replace

import diffusers
import pytest
import torch
from exact_vae.vae_core import VAE, UnknownCheckpoint, detect, from_weights, inspect, load, save
from exact_vae.vae_core.checkpoints.saving import weights_as
from exact_vae.vae_core.families import ltx_diffusion
from exact_vae.vae_core.families.registry import build, expected_shapes
from safetensors.torch import save_file
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import random_tensors
from support.small_networks import SMALL, small
from support.tensors import clip, near

KIND = "ltx_diffusion"
EXACT = 1e-12


def rotate(self, x: torch.Tensor, positions: torch.Tensor, frequencies: torch.Tensor, axis: int) -> torch.Tensor:
    """As `LTX2VideoVaeRotaryPosEmbed3D._rotate_axis`, in fp64."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    shape = [1] * 5 + [len(frequencies)]
    shape[axis] = len(positions)
    angles = (positions.double()[:, None] * frequencies.double()).reshape(shape)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def embed(timesteps: torch.Tensor, dim: int, **ways) -> torch.Tensor:
    """As diffusers' get_timestep_embedding there, in fp64."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = timesteps.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


@pytest.fixture
def theirs(monkeypatch):
    """diffusers' decoder, small; what it computes in fp32 whatever it is given in fp64."""
    if not hasattr(diffusers, "LTX2VideoDiffusionDecoderModel"):
        pytest.skip("this diffusers has no such class")
    from diffusers.models import embeddings
    from diffusers.models.autoencoders import ltx2_diffusion_decoder as module

    monkeypatch.setattr(module.LTX2VideoVaeRotaryPosEmbed3D, "_rotate_axis", rotate)
    monkeypatch.setattr(embeddings, "get_timestep_embedding", embed)
    known = diffusers.LTX2VideoDiffusionDecoderModel(**DIFFUSERS[KIND][1]).double().eval()
    known.load_state_dict(random_tensors({n: tuple(t.shape) for n, t in known.state_dict().items()}, torch.float64))
    known.latents_std.abs_().add_(0.5)
    return known


def as_they_see(known) -> VAE:
    """The same VAE, whose attention sees as little as that of the small network."""
    vae = from_weights(known.state_dict())
    kernels = (*known.config.decoder_stage_kernels, known.config.decoder_stage5_kernel)
    config = replace(vae.config, kernels=kernels)
    network = build(KIND, config)
    network.load_state_dict(vae.network.state_dict(), assign=True)
    return VAE(network, KIND, config, name=KIND, dtype=vae.dtype, device=vae.device)


def draw_noise(frames: int, h: int, w: int) -> torch.Tensor:
    """Pixels of noise: of each row of patches, of all frames, what a generator of seed 0 gives next."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(frames, w // 4, 48, generator=generator) for _ in range(h // 4)]
    patches = torch.stack(rows, 1).double().unflatten(-1, (3, 4, 4))  # T, h, w, channel, column, row
    return patches.permute(3, 0, 1, 5, 2, 4).reshape(1, 3, frames, h, w)


def decode(known, z: torch.Tensor) -> torch.Tensor:
    """What diffusers makes of a raw latent."""
    context = known.decoder.forward_stage_4(known.decoder.forward_stages_1_to_3(z))
    frames, h, w = context.shape[1:4]
    return known.decoder.denoise(context, draw_noise(frames, 4 * h, 4 * w), 1)


@pytest.mark.parametrize(("frames", "h", "w"), [(3, 5, 5), (2, 9, 6), (4, 6, 8)])
@torch.no_grad()
def test_equals_diffusers(theirs, frames, h, w):
    vae = as_they_see(theirs)
    assert (vae.family, vae.spatial_ratio, vae.temporal_ratio, vae.parts) == (KIND, 8, 8, ("decoder",))
    z = 4 * clip(4, frames, h, w)[:1]
    want = decode(theirs, vae.network.from_latent_ops()[0](z))
    assert want.shape == (1, 3, 8 * frames - 7, 8 * h, 8 * w)
    assert near(vae.decode(z), want) < EXACT
    for rows in (8, 16, 40):
        assert near(vae.decode(z, rows=rows), want) < EXACT


@pytest.mark.parametrize("shape", [(1, 4, 2, 3, 4), (2, 4, 1, 2, 2), (1, 4, 3, 9, 8), (2, 4, 10, 3)])
@torch.no_grad()
def test_bands_are_the_whole(shape):
    """Clips that are smaller than what a pixel sees, and images: diffusers refuses these."""
    vae, z = small(KIND), torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = vae.decode(z, rows=1000)
    assert want.shape[-2:] == (8 * shape[-2], 8 * shape[-1]) and bool(want.isfinite().all())
    for how in ({"rows": 8}, {"rows": 24, "keep": "disk"}):
        assert near(vae.decode(z, **how), want) < EXACT
    assert near(vae.decode(-z), want) > 1e-3


@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame():
    vae, z = small(KIND), 4 * clip(4, 1, 4, 5)
    assert near(vae.decode(z[:, :, 0]), vae.decode(z)[:, :, 0]) < EXACT
    x = clip(3, 1, 32, 40)
    assert near(vae.encode(x[:, :, 0]).mode(), vae.encode(x).mode()[:, :, 0]) < EXACT


@torch.no_grad()
def test_the_encoder_is_ltx_video_s():
    """Of the same weights: latents of both decoders are the same."""
    vae, x = small(KIND), clip(3, 9, 16, 24)
    held = {name: t for name, t in vae.network.state_dict().items() if not name.startswith("decoder.")}
    other = from_weights(held)
    assert (other.family, other.parts) == ("ltx_video", ("encoder",))
    assert torch.equal(vae.encode(x).mode(), other.encode(x).mode())


@torch.no_grad()
def test_layouts(tmp_path):
    """Queries, keys and values are of one layer in Lightricks' files, of three in diffusers'."""
    vae, z = small(KIND), 4 * clip(4, 2, 3, 3)
    paths = [tmp_path / f"{layout}.safetensors" for layout in ("original", "diffusers")]
    for path in paths:
        save(vae, path, layout=path.stem)
    for path in paths:
        other = load(path, dtype=torch.float64)
        assert other.config.fused == (path.stem == "original")
        assert near(other.decode(z), vae.decode(z)) < EXACT
        for layout in ("original", "diffusers"):
            want = load(tmp_path / f"{layout}.safetensors", dtype=torch.float64)
            assert weights_as(other, layout).keys() == weights_as(want, layout).keys()


@pytest.mark.parametrize(("one", "other"), [("comfy", "diffusers"), ("diffusers", "comfy")])
def test_a_real_file_in_the_layout_of_the_other_has_its_names_and_shapes(one, other):
    """Of the decoder, which alone is in diffusers' file."""
    found, known = detect(header(f"ltx-2.5-diffusion.{one}")["shapes"]), header(f"ltx-2.5-diffusion.{other}")["shapes"]
    vae = VAE(
        build(KIND, found.config), KIND, found.config, name=KIND, dtype=torch.float32, device=torch.device("meta")
    )
    layout = "diffusers" if other == "diffusers" else "original"
    ours = {name: tuple(t.shape) for name, t in weights_as(vae, layout).items() if not name.startswith("encoder.")}
    theirs = {name: tuple(shape) for name, shape in known.items() if not name.startswith("encoder.")}
    assert ours == theirs


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"model_output_type": "v"}, "model_output_type 'v': only VAEs with 'x0'"),
        ({"model_output_type": "x0", "dims": 3, "decoder": {"patch_size": 4}}, None),
    ],
)
def test_the_config_in_a_file_s_metadata_counts(tmp_path, said, refused):
    weights = {name: t.clone() for name, t in weights_as(small(KIND, torch.float32)).items()}
    path = tmp_path / "x.safetensors"
    save_file(weights, path, {"config": json.dumps({"vae": {"_class_name": "CausalDiffusionVAE", **said}})})
    if refused:
        with pytest.raises(UnknownCheckpoint, match=refused):
            inspect(path)
    else:
        assert inspect(path).family == KIND


def test_a_folder_of_diffusers_that_takes_several_steps_is_refused(theirs, tmp_path):
    known = theirs.float()
    known.register_to_config(decoder_stage_kernels=ltx_diffusion.KERNELS, decoder_stage5_kernel=(11, 11, 11))
    known.save_pretrained(tmp_path / "one")
    assert inspect(tmp_path / "one").family == KIND
    known.register_to_config(decoder_num_inference_steps=4)
    known.save_pretrained(tmp_path / "four")
    with pytest.raises(UnknownCheckpoint, match="decoder_num_inference_steps 4: only VAEs with 1"):
        inspect(tmp_path / "four")


def test_the_config_is_in_the_shapes():
    family, config = SMALL[KIND]
    shapes = expected_shapes(family, config)
    assert ltx_diffusion.detect(shapes) == config
    for name in shapes:
        found = ltx_diffusion.detect({n: (7,) if n == name and s else s for n, s in shapes.items()})
        assert found in (config, None), name


@torch.no_grad()
def test_an_encoder_whose_variance_is_none():
    """Its authors take the deviation for zero, and its last channel for nothing."""
    posterior = small(KIND).encode(clip(3, 9, 16, 24))
    assert posterior.logvar.eq(-30).all() and near(posterior.sample(), posterior.mode()) < 1e-6


def test_gradients_pass():
    z = clip(4, 2, 3, 3)[:1].requires_grad_()
    vae = small(KIND)
    vae.decode(z, grad=True).square().mean().backward()
    assert z.grad is not None and bool(z.grad.isfinite().all()) and float(z.grad.abs().max()) > 0


@pytest.mark.parametrize("rows", [8, 24])
def test_progress_in_bands_does_not_leap_at_the_end(rows):
    """Bands of a few rows report together as much work as was planned."""
    seen: list[int] = []
    small(KIND, torch.float32).decode(clip(4, 2, 16, 8)[:1], rows=rows, progress=lambda done, _: seen.append(done))
    assert seen[-1] == 1000 and seen[-2] > 975
