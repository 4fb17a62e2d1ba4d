"""HunyuanVideo's autoencoders against diffusers' own, random weights, float64; bands against the clip at once."""

import pytest
import torch
from diffusers import AutoencoderKLHunyuanImageRefiner, AutoencoderKLHunyuanVideo, AutoencoderKLHunyuanVideo15
from exact_vae.vae_core import BadRequest, detect, from_weights, load
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.bands.state import Past
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.ops import Conv3d
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import shake
from support.tensors import clip, moments, near

EXACT = 1e-9
TRADING = {"latent_channels": 4, "block_out_channels": (32, 32, 64, 64, 64), "layers_per_block": 1}
KINDS = {
    "hunyuan_video": (
        AutoencoderKLHunyuanVideo,
        {"latent_channels": 4, "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1},
    ),
    "hunyuan_video_15": (AutoencoderKLHunyuanVideo15, TRADING),
}


def theirs(make, config):
    torch.manual_seed(0)
    known = shake(make(**config).eval())
    for name, gamma in known.named_parameters():
        gamma.data += 0.1 * torch.randn_like(gamma) if name.endswith("gamma") else 0
    return known


def ldm_names(weights: dict[str, torch.Tensor], turned: bool) -> dict[str, torch.Tensor]:
    """The same under the names of Tencent's files."""
    top = max(int(n.split(".")[2]) for n in weights if n.startswith("decoder.up_blocks."))
    renamed = {}
    for name, tensor in weights.items():
        parts = name.split(".")
        if parts[1] == "up_blocks":
            parts[1:3] = ["up", str(top - int(parts[2])) if turned else parts[2]]
        new = ".".join(parts).replace("down_blocks", "down").replace("mid_block.attentions.0", "mid.attn_1")
        new = new.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
        for old, ldm in (("resnets", "block"), ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"),
                         ("conv_shortcut", "nin_shortcut"), ("conv_norm_out", "norm_out"), ("group_norm", "norm"),
                         ("to_out.0", "proj_out"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v")):  # fmt: skip
            new = new.replace(old, ldm)
        flat = tensor.ndim == 2
        renamed[new] = tensor[..., None, None, None] if flat else tensor
    return renamed


@pytest.mark.parametrize("layout", ["diffusers", "ldm"])
@pytest.mark.parametrize(("family", "frames"), [(family, t) for family in KINDS for t in (1, 9)])
@torch.no_grad()
def test_equals_diffusers(family, frames, layout):
    known = theirs(*KINDS[family])
    weights = known.state_dict()
    ours = from_weights(weights if layout == "diffusers" else ldm_names(weights, family == "hunyuan_video"))
    assert ours.family == family
    ratio = ours.spatial_ratio
    x = clip(3, frames, 2 * ratio, 3 * ratio)
    want = [known.encode(one).latent_dist for one in x.split(1)]  # their mask of version 1.5 is for one clip
    got, z = ours.encode(x), torch.cat([one.mean for one in want])
    assert near(got.mode(), z) < EXACT
    if frames > 1:
        assert near(got.logvar, torch.cat([one.logvar for one in want])) < EXACT
    assert near(ours.decode(z), torch.cat([known.decode(one).sample for one in z.split(1)])) < EXACT


@torch.no_grad()
def test_the_refiner_is_hunyuan_video_15_for_images():
    known = theirs(AutoencoderKLHunyuanImageRefiner, TRADING)
    ours = from_weights(known.state_dict())
    assert ours.family == "hunyuan_video_15"
    x = clip(3, 1, 32, 48)
    z = known.encode(x).latent_dist.mean
    assert near(ours.encode(x[:, :, 0]).mode(), z[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decode(z).sample[:, :, 0]) < EXACT


@pytest.mark.parametrize("family", KINDS)
@torch.no_grad()
def test_images_are_clips_of_one_frame(family):
    """Each of a batch for itself, whole and in bands."""
    ours = from_weights(theirs(*KINDS[family]).state_dict())
    ratio = ours.spatial_ratio
    x = clip(3, 1, 3 * ratio, 2 * ratio)
    want = at_once(ours, "encode", x)[:, :, 0]
    for how in HOW:
        assert near(moments(ours.encode(x[:, :, 0], **how)), want) < 1e-12
    z = want[:, :4]
    want = at_once(ours, "decode", z[:, :, None])[:, :, 0]
    for how in HOW:
        assert near(ours.decode(z, **how), want) < 1e-12


HOW = [{}, {"rows": 8}, {"rows": 5, "keep": "disk"}]


@pytest.mark.parametrize("family", KINDS)
@torch.no_grad()
def test_bands_are_the_clip_at_once(family):
    ours = from_weights(theirs(*KINDS[family]).state_dict())
    ratio = ours.spatial_ratio
    for doing, y in (("encode", clip(3, 13, 3 * ratio, 2 * ratio)), ("decode", clip(4, 4, 3, 2))):
        want = at_once(ours, doing, y)
        for how in HOW:
            plan = ours.plan(doing, y.shape, **how)
            assert plan.frames == (family == "hunyuan_video_15")  # the other's norms see all frames
            assert bool(plan.rows) == (0 < how.get("rows", 0) < 3 * ratio)
            got = getattr(ours, doing)(y, **how)
            assert near(moments(got) if doing == "encode" else got, want) < 1e-12


def at_once(vae, doing: str, x: torch.Tensor) -> torch.Tensor:
    """What all frames together give, whole."""
    ops = vae.network.encode_ops() if doing == "encode" else vae.network.decode_ops()
    return torch.stack([whole.run(ops, one.contiguous()) for one in x.transpose(1, 2)]).transpose(1, 2)


@torch.no_grad()
def test_memory_of_a_plan_grows_with_what_attention_remembers_alone():
    """Besides the clip and what is made of it: keys and values of each frame, held and put together."""
    ours = from_weights(theirs(*KINDS["hunyuan_video_15"]).state_dict())
    peaks = []
    for t in (40, 76):  # both are run a latent frame at a time
        plan, ends = ours.plan("decode", (1, 4, t, 8, 8)), 8 * (2 * 4 * t * 8**2 + 3 * (4 * t - 3) * 128**2)
        peaks.append(plan.peak - ends)
    assert peaks[1] - peaks[0] == 36 * 3 * (2 * 64 * 8**2) * 8


@torch.no_grad()
def test_a_convolution_that_skips_frames_in_parts():
    ops = Conv3d(2, 3, 3, stride=(2, 1, 1), repeats=True).double().ops()
    x, past = clip(2, 9, 4, 5)[0].transpose(0, 1), Past(OnDevice())
    parts = [whole.run(ops, part, past=past) for part in (x[:1], x[1:5], x[5:7], x[7:])]
    assert near(torch.cat(parts), whole.run(ops, x)) < 1e-12


@pytest.mark.parametrize("family", KINDS)
@torch.no_grad()
def test_a_clip_of_another_length_is_continued_with_its_last_frame(family):
    ours = from_weights(theirs(*KINDS[family]).state_dict())
    x = clip(3, 3, 16, 16)
    longer = torch.cat([x, x[:, :, -1:], x[:, :, -1:]], 2)
    assert near(ours.encode(x).mean, ours.encode(longer).mean) < 1e-12


def test_halves(tmp_path):
    for family, (make, config) in KINDS.items():
        weights = theirs(make, config).state_dict()
        half = {n: t.contiguous() for n, t in weights.items() if n.startswith(("decoder.", "post_quant"))}
        save_file(half, tmp_path / "decoder.safetensors")
        ours = load(tmp_path / "decoder.safetensors")
        assert (ours.family, ours.config.parts, ours.temporal_ratio) == (family, ("decoder",), 4)
        with pytest.raises(BadRequest, match="only the decoder"):
            ours.encode(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("name", "family", "channels", "ratio"),
    [("hunyuanvideo.comfy", "hunyuan_video", 16, 8), ("hunyuanvideo.diffusers", "hunyuan_video", 16, 8),
     *((f"{kind}.{layout}", "hunyuan_video_15", 32, 16) for kind in ("hunyuanvideo15", "hunyuanimage21-refiner")
       for layout in ("comfy", "ldm")),
     ("hunyuanimage21-refiner.diffusers", "hunyuan_video_15", 32, 16),
     ("hunyuanvideo15.checkpoint-prefixed", "hunyuan_video_15", 32, 16)],
)  # fmt: skip
def test_published_files(name, family, channels, ratio):
    found = detect(header(name)["shapes"])
    assert found.is_whole and found.family == family
    assert (found.latent_channels, found.spatial_ratio, found.temporal_ratio) == (channels, ratio, 4)
