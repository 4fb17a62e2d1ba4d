"""Stable Video Diffusion's autoencoder against diffusers' own, random weights, float64; and its authors' names."""

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from exact_vae.vae_core import detect, from_weights
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.ops import splits_in_time
from support.headers import header
from support.random_networks import shake
from support.tensors import near

EXACT = 1e-9


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    known = shake(
        AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 64),
            layers_per_block=2,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
        )
    )
    mixes = [p for n, p in known.named_parameters() if n.endswith("mix_factor")]
    assert len(mixes) == 8 and len({p.item() for p in mixes}) == 8  # and none of them is the half of a fresh one
    return known


@pytest.fixture(scope="module")
def ours(theirs):
    return from_weights(theirs.state_dict())


def latent(frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, frames, 6, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_equals_diffusers(theirs, ours, frames):
    assert (ours.family, ours.temporal_ratio, ours.spatial_ratio) == ("svd", 1, 2)
    z = latent(frames)
    want = theirs.decode(z.transpose(1, 2).flatten(0, 1), num_frames=frames).sample
    got = ours.decode(z)
    assert near(got.transpose(1, 2).flatten(0, 1), want) < EXACT
    encoded = theirs.encode(want).latent_dist
    found = ours.encode(got)
    assert near(found.mode().transpose(1, 2).flatten(0, 1), encoded.mean) < EXACT
    assert found.mode().shape == z.shape


@torch.no_grad()
def test_images_are_clips_of_one_frame(theirs, ours):
    z = latent(1)
    assert near(ours.decode(z[:, :, 0]), ours.decode(z)[:, :, 0]) < 1e-12
    assert near(ours.decode(z[:, :, 0]), theirs.decode(z[:, :, 0], num_frames=1).sample) < EXACT


@torch.no_grad()
def test_bands_are_the_clip_at_once(ours):
    """All frames of a band: what comes later is seen too, so a clip is not cut in time but for encoding."""
    assert not splits_in_time(ours.network.decode_ops()) and splits_in_time(ours.network.encode_ops())
    z = latent(5)
    want = torch.stack([whole.run(ours.network.decode_ops(), one) for one in z.transpose(1, 2)]).transpose(1, 2)
    for how in ({}, {"rows": 100}, {"rows": 4}, {"rows": 3, "keep": "disk"}):
        plan = ours.plan("decode", z.shape, **how)
        assert plan.frames == 0
        assert near(ours.decode(z, **how), want) < 1e-12
    x = want.clamp(-1, 1)
    frames = torch.stack([ours.encode(x[:, :, t]).mode() for t in range(5)], 2)
    assert near(ours.encode(x, rows=4).mode(), frames) < 1e-12


@torch.no_grad()
def test_frames_see_those_before_and_after(ours):
    z = latent(5)
    other = z.clone()
    other[:, :, 2] += 1
    moved = (ours.decode(z) - ours.decode(other)).abs().amax((0, 1, 3, 4))
    assert (moved > 1e-6).all()
    assert near(ours.decode(torch.cat([z, other]))[:2], ours.decode(z)) < 1e-12  # and no clip another


NAMES = [  # the authors' for diffusers'
    (".spatial_res_block.", "."), (".time_mixer.mix_factor", ".mix_factor"),
    (".temporal_res_block.norm1.", ".time_stack.in_layers.0."),
    (".temporal_res_block.conv1.", ".time_stack.in_layers.2."),
    (".temporal_res_block.norm2.", ".time_stack.out_layers.0."),
    (".temporal_res_block.conv2.", ".time_stack.out_layers.3."),
    ("mid_block.resnets.0.", "mid.block_1."), ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.", "mid.attn_1."), (".to_q.", ".q."), (".to_k.", ".k."), (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."), (".group_norm.", ".norm."), ("up_blocks.0.", "up.1."), ("up_blocks.1.", "up.0."),
    ("down_blocks.", "down."), (".resnets.", ".block."), (".upsamplers.0.", ".upsample."),
    (".downsamplers.0.", ".downsample."), (".conv_shortcut.", ".nin_shortcut."), ("conv_norm_out", "norm_out"),
    ("decoder.time_conv_out.", "decoder.conv_out.time_mix_conv."),
]  # fmt: skip


@torch.no_grad()
def test_the_authors_names(theirs, ours):
    """Without quant convs, as in their checkpoints."""
    renamed = {}
    for name, tensor in theirs.state_dict().items():
        for old, new in NAMES:
            name = name.replace(old, new, 1)
        if not name.startswith("quant_conv"):
            renamed[f"first_stage_model.{name}"] = tensor
    found = from_weights(renamed)
    assert (found.family, found.config.quant_conv) == ("svd", False)
    assert torch.equal(found.decode(latent(3)), ours.decode(latent(3)))


@pytest.mark.parametrize("name", ["svd.ldm", "svd.diffusers"])
def test_published_files(name):
    found = detect(header(name)["shapes"])
    assert found.is_whole and found.family == "svd"
    assert (found.latent_channels, found.spatial_ratio, found.temporal_ratio) == (4, 8, 1)
    assert "Stable Video Diffusion" in found.title
