"""LTX-Video's autoencoders against diffusers' own, random weights, float64; clips in parts against clips at once."""

import json
import math

import diffusers
import pytest
import torch
from diffusers.models import embeddings, normalization
from exact_vae.vae_core import UnknownCheckpoint, detect, from_weights, inspect, load
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.families import ltx_video
from exact_vae.vae_core.families.blocks.ltx import PixelNorm
from exact_vae.vae_core.families.registry import expected_shapes
from safetensors.torch import save_file
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import random_weights, shake
from support.small_networks import SMALL
from support.tensors import clip, moments, near

EXACT = 1e-9
KINDS = [kind for kind in DIFFUSERS if kind.startswith("ltx_video")]


def _embed(timesteps: torch.Tensor, dim: int, **ways) -> torch.Tensor:
    """As diffusers' get_timestep_embedding for LTX-Video, in the dtype of the time."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=timesteps.dtype) / (dim // 2))
    angles = timesteps[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


@pytest.fixture(autouse=True)
def exact_norms_and_times(monkeypatch):
    """diffusers computes both in fp32 whatever it is given; its rounding would hide ours."""
    monkeypatch.setattr(embeddings, "get_timestep_embedding", _embed)
    monkeypatch.setattr(
        normalization.RMSNorm, "forward", lambda self, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
    )


def theirs(kind: str):
    """Without noise, which diffusers draws anew at each call."""
    torch.manual_seed(0)
    name, settings = DIFFUSERS[kind]
    known = shake(getattr(diffusers, name)(**settings))
    known.latents_std.abs_().add_(0.5)
    for name, t in known.named_parameters():
        t.data *= "per_channel_scale" not in name
    return known


@pytest.mark.parametrize(("kind", "frames"), [*((kind, 9) for kind in KINDS), (KINDS[0], 1), (KINDS[2], 17)])
@torch.no_grad()
def test_equals_diffusers(kind, frames):
    known = theirs(kind)
    ours = from_weights(known.state_dict())
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("ltx_video", 32, 8)
    mean, std = (t[:, None, None, None] for t in (known.latents_mean, known.latents_std))
    want, got = known.encode(clip(3, frames, 64, 64)).latent_dist, ours.encode(clip(3, frames, 64, 64))
    assert near(got.mode(), (want.mean - mean) / std) < EXACT
    if frames > 1:
        assert near(moments(got), torch.cat([want.mean, want.logvar], 1)) < EXACT
    z = 4 * clip(4, 1 + frames // 8, 2, 3)
    told = torch.full((2,), 0.05, dtype=torch.float64) if ours.config.timed else None
    assert near(ours.decode(z), known.decode(z * std + mean, told).sample) < EXACT


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_images_are_clips_of_one_frame(kind):
    ours = from_weights(theirs(kind).state_dict())
    x, z = clip(3, 1, 64, 32), 4 * clip(4, 1, 2, 2)
    assert near(ours.encode(x[:, :, 0]).mode(), ours.encode(x).mode()[:, :, 0]) < 1e-12
    ops = ours.network.decode_ops()
    want = torch.stack(
        [whole.run(ops, one) for one in ours.network.per_channel_statistics.denormalize(z[:, :, 0])[:, None]]
    )
    assert near(ours.decode(z[:, :, 0]), want[:, 0]) < 1e-12


HOW = [{}, {"rows": 1000}, {"rows": 40}, {"rows": 5, "keep": "disk"}]


@pytest.mark.parametrize("kind", ["ltx_video", "ltx_video 2"])
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(kind):
    """Of a clip of more latent frames than any op waits for, and of fewer: then none makes a frame before the end."""
    ours = from_weights(theirs(kind).state_dict())
    for latents in (2, 10):
        z = 4 * clip(4, latents, 2, 2)[:1]
        raw = ours.network.from_latent_ops()[0](z)
        want = whole.run(ours.network.decode_ops(), raw[0].transpose(0, 1).contiguous()).transpose(0, 1)[None]
        assert want.shape == (1, 3, 8 * latents - 7, 64, 64)
        for how in HOW[: 4 if latents == 2 else 3]:
            assert not how or ours.plan("decode", z.shape, **how).frames == 1
            assert near(ours.decode(z, **how), want) < 1e-12


@torch.no_grad()
def test_frames_are_seen_by_those_before_them():
    """A decoder that looks ahead: the last latent frame changes even the first frame of a short clip."""
    ours = from_weights(theirs("ltx_video 2.3").state_dict())
    z = 4 * clip(4, 3, 2, 2)
    other = z.clone()
    other[:, :, 2] += 1
    assert (ours.decode(z) - ours.decode(other)).abs().amax((0, 1, 3, 4)).min() > 1e-6


def test_memory_of_a_plan_grows_with_the_result_alone():
    """Besides the clip, its latent and what is made of it, more frames take no more, once all ops have begun."""
    ours = from_weights(theirs("ltx_video 0.9.5").state_dict())
    peaks = []
    for t in (4, 40, 80):
        plan, ends = ours.plan("decode", (1, 4, t, 4, 4)), 8 * (2 * 4 * t * 4**2 + 3 * (8 * t - 7) * 128**2)
        peaks.append(plan.peak - ends)
    assert peaks[0] == peaks[1] == peaks[2]


@torch.no_grad()
def test_no_noise_is_added():
    """Whatever the file says of its strength: the same latent twice is the same clip."""
    weights = theirs("ltx_video 0.9.1").state_dict()
    noisy = {n: t + 1 if "per_channel_scale" in n else t for n, t in weights.items()}
    z = clip(4, 2, 2, 2)
    assert torch.equal(from_weights(noisy).decode(z), from_weights(weights).decode(z))


@torch.no_grad()
def test_a_file_may_leave_out_by_how_much_a_time_is_multiplied():
    """It is 1000 in all of them: diffusers' first file of 0.9.1 does not say so."""
    weights = theirs("ltx_video 0.9.1").state_dict()
    weights["decoder.timestep_scale_multiplier"].fill_(1000)
    bare = from_weights({n: t for n, t in weights.items() if not n.endswith("multiplier")})
    z = clip(4, 2, 2, 2)
    assert not bare.config.scaled and torch.equal(bare.decode(z), from_weights(weights).decode(z))


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind.startswith("ltx_video")])
def test_the_config_is_in_the_shapes(kind):
    family, config = SMALL[kind]
    shapes = expected_shapes(family, config)
    assert ltx_video.detect(shapes) == config
    for name in shapes:
        assert ltx_video.detect({n: (7,) if n == name and s else s for n, s in shapes.items()}) == config, name


def test_published_files():
    """Which have shortcuts beside the decoder's changes, and which mirror images at their borders."""
    known = {"ltxv-0.9.0": (False, False), "ltxv-0.9.1": (True, False), "ltxv-0.9.5": (True, False),
             "ltx-2.0": (True, True), "ltx-2.3": (False, False)}  # fmt: skip
    for name, facts in known.items():
        configs = {detect(header(f"{name}.{layout}")["shapes"]).config for layout in ("original", "diffusers")}
        (config,) = configs
        assert (config.bridged, config.mirrored) == facts


def test_other_statistics_are_left_over():
    shapes = dict(header("ltx-2.3.original")["shapes"])
    shapes |= {
        f"per_channel_statistics.{n}": (128,) for n in ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")
    }
    assert detect(shapes).is_whole


@pytest.mark.parametrize(("setting", "fits"), [("false", True), ("true", False)])
def test_a_causal_decoder_is_refused(tmp_path, setting, fits):
    """Of the same shapes as the others: only a folder's config tells."""
    weights = {n: t.float().contiguous() for n, t in theirs("ltx_video 2.3").state_dict().items()}
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "AutoencoderKLLTX2Video", "decoder_causal": json.loads(setting)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if fits:
        assert load(tmp_path).family == "ltx_video"
        return
    with pytest.raises(UnknownCheckpoint, match="decoder_causal True: only VAEs with False"):
        load(tmp_path)


@torch.no_grad()
def test_statistics_stay_exact():
    """In half precision too: they are buffers, and the latent is normalised in fp32."""
    ours = from_weights(theirs("ltx_video 2").state_dict()).to(torch.bfloat16)
    statistics = ours.network.per_channel_statistics
    assert {t.dtype for t in statistics.buffers()} == {torch.float32}
    assert ours.encode(clip(3, 1, 64, 64).float()).mode().dtype is torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_norms_of_half_precision_are_in_fp32(dtype, grad, told):
    """Of channels whose squares fp16 cannot hold, and of none at all; the input stays as it is."""
    x = (torch.randn(2, 8, 3, 5) * 1000).to(dtype)
    x[:, :, 0, 0] = 0
    shift, scale = torch.randn(2, 8, dtype=torch.float64).to(dtype)
    kept = x.clone()
    with torch.set_grad_enabled(grad):
        y = PixelNorm(*(shift, 1 + scale) if told else ())(x)
    want = x.double() / (x.double().square().mean(1, keepdim=True) + 1e-8).sqrt()
    want = want * (1 + scale.double())[:, None, None] + shift.double()[:, None, None] if told else want
    assert y.dtype is dtype and torch.equal(x, kept)
    assert torch.allclose(y.double(), want, rtol=4 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"causal_decoder": True, "norm_layer": "pixel_norm"}, "causal_decoder True: only VAEs with False"),
        ({"norm_layer": "group_norm"}, "norm_layer 'group_norm': only VAEs with 'pixel_norm'"),
        ({"causal_decoder": False, "patch_size": 4, "latent_log_var": "uniform", "dims": 3}, None),
    ],
    ids=["causal", "norms", "published"],
)
def test_the_config_in_a_file_s_metadata_counts(tmp_path, said, refused):
    """Lightricks' files have it. What is no JSON, or of another network, is another program's."""
    weights = {name: t.clone() for name, t in random_weights(*SMALL["ltx_video"]).items()}
    config = json.dumps({"vae": {"_class_name": "CausalVideoAutoencoder", **said}})
    save_file(weights, tmp_path / "x.safetensors", {"config": config})
    if refused:
        with pytest.raises(UnknownCheckpoint, match=refused):
            inspect(tmp_path / "x.safetensors")
        return
    assert inspect(tmp_path / "x.safetensors").family == "ltx_video"
    for other in ("{", "[1]", json.dumps({"vae": {"_class_name": "Another", "causal_decoder": True}})):
        save_file(weights, tmp_path / "y.safetensors", {"config": other})
        assert inspect(tmp_path / "y.safetensors").family == "ltx_video"
