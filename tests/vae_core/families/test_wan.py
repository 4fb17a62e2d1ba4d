"""Wan's autoencoders against diffusers' own, random weights, float64; clips in parts against clips at once."""

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLQwenImage21, AutoencoderKLWan
from diffusers.models.autoencoders import autoencoder_kl_qwenimage, autoencoder_kl_qwenimage21, autoencoder_kl_wan
from exact_vae.vae_core import BadRequest, detect, from_weights, load
from exact_vae.vae_core.families.wan import RMSNorm
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import shake
from support.slow import mark_slow
from support.tensors import clip, near

EXACT = 1e-9
SMALL = {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1}
KINDS = {
    "2.1": (AutoencoderKLWan, SMALL),
    "other widths": (AutoencoderKLWan, {**SMALL, "dim_mult": [1, 2, 2, 4], "temperal_downsample": [True, False, True]}),
    "Qwen-Image-Layered": (AutoencoderKLQwenImage, {**SMALL, "input_channels": 4}),
    "2.2": (
        AutoencoderKLWan,
        {**SMALL, "decoder_base_dim": 16, "is_residual": True, "patch_size": 2, "scale_factor_spatial": 16}
        | {"in_channels": 12, "out_channels": 12},
    ),
    "Qwen-Image-2.1": (AutoencoderKLQwenImage21, {**SMALL, "decoder_base_dim": 16}),
}


@pytest.fixture(autouse=True)
def exact_upsampling(monkeypatch):
    """diffusers doubles pixels in fp32 whatever it is given; its rounding would hide ours."""
    for module in (autoencoder_kl_wan.WanUpsample, autoencoder_kl_qwenimage.QwenImageUpsample,
                   autoencoder_kl_qwenimage21.QwenImage21Upsample):  # fmt: skip
        monkeypatch.setattr(module, "forward", torch.nn.Upsample.forward)


def theirs(kind: str):
    torch.manual_seed(0)
    make, config = KINDS[kind]
    known = shake(make(**config))
    for name, gamma in known.named_parameters():
        gamma.data += 0.1 * torch.randn_like(gamma) if name.endswith("gamma") else 0
    return known


@pytest.mark.parametrize(
    ("kind", "frames"),
    [*((kind, t) for kind in list(KINDS)[:4] for t in (1, 9)), ("Qwen-Image-2.1", 1), ("2.1", 21), ("2.2", 5)],
)
@torch.no_grad()
def test_equals_diffusers(kind, frames):
    known = theirs(kind)
    ours = from_weights(known.state_dict())
    assert ours.family == "wan"
    ratio = ours.spatial_ratio
    want = known.encode(clip(ours.in_channels, frames, 2 * ratio, 3 * ratio)).latent_dist
    got = ours.encode(clip(ours.in_channels, frames, 2 * ratio, 3 * ratio))
    assert near(got.mode(), want.mean) < EXACT
    if frames > 1:
        assert near(got.logvar, want.logvar) < EXACT
    z = want.mean * 0.1
    assert near(ours.decode(z).clamp(-1, 1), known.decode(z).sample) < EXACT


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_images_are_clips_of_one_frame(kind):
    ours = from_weights(theirs(kind).state_dict())
    ratio = ours.spatial_ratio
    x = clip(ours.in_channels, 1, 2 * ratio, ratio)
    assert near(ours.encode(x[:, :, 0]).mode(), ours.encode(x).mode()[:, :, 0]) < 1e-12
    z = ours.encode(x).mode()
    assert near(ours.decode(z[:, :, 0]), ours.decode(z)[:, :, 0]) < 1e-12


HOW = [{}, {"rows": 1000}, {"rows": 8}, {"rows": 5, "keep": "disk"}, {"rows": 3, "keep": "device"}]


@pytest.mark.parametrize("kind", mark_slow(["2.1", "2.2"], ["2.2"]))
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(kind, at_once):
    ours = from_weights(theirs(kind).state_dict())
    ratio = ours.spatial_ratio
    x, z = clip(3, 13, 3 * ratio, 2 * ratio), clip(ours.latent_channels, 4, 3, 2)
    for doing, y in (("encode", x), ("decode", z)):
        want = at_once(ours, doing, y)
        for how in HOW:
            plan = ours.plan(doing, y.shape, **how)
            assert (plan.frames == 1 or not how) and bool(plan.rows) == (0 < how.get("rows", 0) < 48)
            got = getattr(ours, doing)(y, **how)
            if doing == "encode":
                got = torch.cat([got.mean, got.logvar], 1)
            assert near(got, want) < 1e-12


@pytest.fixture
def at_once():
    """What all frames together give, whole."""

    def run(vae, doing: str, x: torch.Tensor) -> torch.Tensor:
        from exact_vae.vae_core.execution import whole

        ops = vae.network.encode_ops() if doing == "encode" else vae.network.decode_ops()
        return torch.stack([whole.run(ops, one.contiguous()) for one in x.transpose(1, 2)]).transpose(1, 2)

    return run


@torch.no_grad()
def test_a_clip_of_another_length_is_continued_with_its_last_frame():
    ours = from_weights(theirs("2.1").state_dict())
    x = clip(3, 7, 16, 16)
    longer = torch.cat([x, x[:, :, -1:], x[:, :, -1:]], 2)
    assert near(ours.encode(x).mean, ours.encode(longer).mean) < 1e-12


@torch.no_grad()
def test_memory_of_a_plan_grows_with_the_result_alone():
    """Besides the clip, its latent and what is made of it, ten times the frames take no more."""
    ours = from_weights(theirs("2.1").state_dict())
    peaks = []
    for t in (4, 40):
        plan, ends = ours.plan("decode", (1, 4, t, 16, 16)), 8 * (2 * 4 * t * 16**2 + 3 * (4 * t - 3) * 128**2)
        peaks.append(plan.peak - ends)
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grad", [False, True])
def test_norms_of_half_precision_are_in_fp32(dtype, grad):
    """Of channels whose squares fp16 cannot hold, and of none at all; the input stays as it is."""
    norm, x = RMSNorm(8).to(dtype), (torch.randn(2, 8, 3, 5) * 1000).to(dtype)
    norm.gamma.data.normal_()
    x[:, :, 0, 0] = 0
    kept, gamma = x.clone(), norm.gamma.double().view(8, 1, 1)
    with torch.set_grad_enabled(grad):
        y = norm(x)
    want = torch.nn.functional.normalize(x.double(), dim=1) * 8**0.5 * gamma
    assert y.dtype is dtype and torch.equal(x, kept)
    assert torch.allclose(y.double(), want, rtol=2 * torch.finfo(dtype).eps, atol=0)


@torch.no_grad()
def test_the_enlarging_decoder(tmp_path):
    """Twice the size: its last convolution makes four pixels of each."""
    known = theirs("2.1")
    weights = known.state_dict()
    torch.manual_seed(1)
    weights["decoder.conv_out.weight"] = torch.randn(12, 8, 3, 3, 3, dtype=torch.float64) / 10
    weights["decoder.conv_out.bias"] = torch.zeros(12, dtype=torch.float64)
    ours = from_weights(weights)
    assert (ours.spatial_ratio, ours.decoded_ratio, ours.out_channels) == (8, 16, 3)
    last = known.decoder.conv_out
    last.weight.data, last.bias.data = weights["decoder.conv_out.weight"], weights["decoder.conv_out.bias"]
    known.decoder.conv_out.out_channels = 12
    z = clip(4, 1, 2, 3) * 0.02
    want = known.decode(z).sample[:, :, 0]
    assert near(ours.decode(z[:, :, 0]).clamp(-1, 1), torch.nn.functional.pixel_shuffle(want, 2)) < EXACT
    assert ours.decode(z[:, :, 0], size=(15, 20)).shape == (2, 3, 30, 40)
    assert near(ours.decode(z[:, :, 0], rows=8), ours.decode(z[:, :, 0])) < 1e-12


def test_files_for_images_leave_out_the_tap_in_time(tmp_path):
    """Qwen-Image-2.1 as diffusers saves it, and a re-export of Qwen-Image without time convolutions."""
    save_file({n: t.contiguous() for n, t in theirs("Qwen-Image-2.1").state_dict().items()}, tmp_path / "q.safetensors")
    found = load(tmp_path / "q.safetensors", dtype=torch.float64)
    assert found.temporal_ratio is None and found.family == "wan"
    known = theirs("2.1").state_dict()
    flat = {n: t[:, :, -1] if t.ndim == 5 else t for n, t in known.items() if ".time_conv." not in n}
    ours, images = from_weights(known), from_weights({n: t.contiguous() for n, t in flat.items()})
    z = clip(4, 1, 3, 2)[:, :, 0]
    assert images.temporal_ratio is None
    assert near(images.decode(z), ours.decode(z)) < 1e-12


def test_halves(tmp_path):
    weights = theirs("2.1").state_dict()
    half = {n: t.contiguous() for n, t in weights.items() if n.startswith(("decoder.", "post_quant"))}
    save_file(half, tmp_path / "decoder.safetensors")
    ours = load(tmp_path / "decoder.safetensors")
    assert ours.config.parts == ("decoder",) and (ours.spatial_ratio, ours.temporal_ratio) == (8, 4)
    with pytest.raises(BadRequest, match="only the decoder"):
        ours.encode(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("kind", ["2.1", "2.2"])
def test_frames_flow_on(kind):
    """No frame is seen by those before it."""
    ours = from_weights(theirs(kind).state_dict())
    z = clip(4, 3, 2, 2)
    other = z.clone()
    other[:, :, 2] += 1
    a, b = ours.decode(z), ours.decode(other)
    assert torch.equal(a[:, :, :5], b[:, :, :5]) and not torch.equal(a[:, :, 5:], b[:, :, 5:])


PUBLISHED = [
    ("wan21.original", 16, 8, 4, 3, 1), ("wan21.diffusers", 16, 8, 4, 3, 1), ("wan22.original", 48, 16, 4, 3, 1),
    ("wan22.diffusers", 48, 16, 4, 3, 1), ("qwen-image.comfy", 16, 8, 4, 3, 1),
    ("qwen-image.diffusers", 16, 8, 4, 3, 1), ("qwen-image.checkpoint-prefixed", 16, 8, 4, 3, 1),
    ("qwen-image-layered.comfy", 16, 8, 4, 4, 1), ("qwen-image-layered.diffusers", 16, 8, 4, 4, 1),
    ("qwen-image-2.1.comfy", 64, 16, None, 4, 1), ("wan21-upscale2x.original", 16, 8, 4, 3, 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "channels", "ratio", "frames", "colours", "upscale"), PUBLISHED)
def test_published_files(name, channels, ratio, frames, colours, upscale):
    found = detect(header(name)["shapes"])
    assert found.is_whole and found.family == "wan"
    assert (found.latent_channels, found.spatial_ratio, found.temporal_ratio) == (channels, ratio, frames)
    assert (found.in_channels, found.out_channels, found.decoded_ratio) == (colours, colours, ratio * upscale)
