"""At a smaller scale inside, a network computes the same; in fp16 it holds what would overflow."""

import re

import pytest
import torch
from exact_vae.vae_core import NumericalOverflow, from_weights
from exact_vae.vae_core.checkpoints.saving import save
from exact_vae.vae_core.execution import make_request, whole
from exact_vae.vae_core.execution.progress import ProgressObserver
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.rewrite.rescale_fp16 import SCALE, rescale
from exact_vae.vae_core.families import FAMILIES, Half
from exact_vae.vae_core.ops import (
    Affine,
    Conv2d,
    Residual,
    SideInput,
    as_single_frame,
    chain,
    declared,
    leaves,
    silu,
    splits_in_time,
    times,
)
from safetensors.torch import load_file
from support.random_networks import random_weights, shake
from support.small_networks import RESCALED, SMALL, run_half, small
from torch import Tensor, nn

EXACT = 1e-12
KINDS = [kind for kind in SMALL if kind.split(":")[0] in RESCALED]
ROUNDING = {family.name: family.rounding for family in FAMILIES}


def apart(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


def is_norm(op) -> bool:
    return isinstance(op, nn.GroupNorm) or declared(op).normalizes


def pixels_or_z(vae, part: str) -> Tensor:
    """(C, T, H, W), or (C, H, W) of a VAE of images."""
    generator = torch.Generator().manual_seed(5)
    net, ratio = vae.network, vae.spatial_ratio
    if part == "encode":
        frames = net.clip_law.first + net.clip_law.step if net.clip_law else 2
        shape = (vae.in_channels, frames, 2 * ratio, 3 * ratio)
    else:
        shape = (vae.latent_channels, 2, 2, 3)
    shape = shape if vae.temporal_ratio else (shape[0], *shape[2:])
    x = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return x if part == "encode" else whole.run(net.from_latent_ops(), 2 * x[None])[0]


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_computes_the_same(kind, part, monkeypatch):
    """As everything runs in fp16, but in float64: whole, in bands, and a few frames at a time."""
    vae = small(kind)
    x = pixels_or_z(vae, part)
    want = run_half(vae, part, x)
    cut = x.ndim == 4 and splits_in_time(vae.network.encode_ops() if part == "encode" else vae.network.decode_ops())
    monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse.computes_in_fp16", lambda ops: True)
    for way in ({}, {"numbers": 200}, {"frames": 1, "numbers": 200})[: 3 if cut else 2]:
        assert apart(run_half(vae, part, x, **way), want) < EXACT, way


# How often what is shrunk comes back, or is shrunk only then: attention in time makes its result at full size.
# MiniMax-H3 has one of its own, from [-1, 1] to [0, 1], and so has Kandinsky 6, to n / 128 - 1 and back.
RESIZED = {"hunyuan_image": 1, "hunyuan_video_15": 1, "hunyuan_image_3": 1, "mochi": 4, "cosmos": 1, "minimax_h3": 1,
           "kandinsky6": 1}  # fmt: skip
FULL_SIZE = {"mochi": 1}  # norms of a stream that an activation reads as it is, so that it cannot be shrunk


@pytest.mark.parametrize("kind", KINDS)
def test_every_norm_reads_what_is_small(kind):
    """Of clips and of images. What is shrunk comes back at most once, where the stream itself is the result."""
    vae = small(kind)
    for ops in (vae.network.encode_ops(), vae.network.decode_ops(), vae.network.masked_decode_ops()):
        for seen in (ops, as_single_frame(ops) if not (vae.clip_law and vae.clip_law.images_are_clips) else ()):
            made = list(leaves(rescale(seen)))
            norms, own = [[op for op in some if is_norm(op)] for some in (made, list(leaves(seen)))]
            unchanged = {id(op) for op in norms} & {id(op) for op in own}
            assert len(norms) == len(own) and len(unchanged) <= FULL_SIZE.get(kind, 0)
            assert sum(isinstance(op, Affine) for op in made) <= RESIZED.get(kind, 0)


@torch.no_grad()
def test_a_masked_decode_is_the_same():
    vae = small("asymmetric")
    ops = vae.network.masked_decode_ops()
    z, side_input = torch.randn(1, 4, 2, 3, dtype=torch.float64), torch.rand(1, 4, 4, 6, dtype=torch.float64)
    want = whole.run(ops, z, side_input=side_input)
    assert apart(whole.run(rescale(ops), z, side_input=side_input), want) < EXACT
    assert apart(whole.run(ops, z, side_input=1 - side_input), want) > 1e-3


@torch.no_grad()
def test_what_does_not_know_scales_is_given_its_own():
    """An activation right on the stream, a join that is not linear, an end that is a norm's input."""
    conv, again, norm = (shake(m) for m in (Conv2d(4, 32), Conv2d(32, 32), nn.GroupNorm(8, 32)))
    x = torch.randn(1, 4, 5, 7, dtype=torch.float64)
    body = Residual(chain(norm, silu, again))
    for ops in (
        (conv, body, torch.tanh),
        (conv, body, SideInput((Conv2d(4, 32).double(), silu), torch.maximum), norm),
        (conv, body),
        (conv, body, SideInput((Conv2d(4, 32).double(),), times), norm),
        (conv, torch.tanh, Residual((norm, again)), Residual((silu,))),
        (norm, torch.tanh, body, norm),
    ):
        given = x if ops[0] is conv else x.repeat(1, 8, 1, 1)
        side = None if ops[0] is not conv else x
        want = whole.run(ops, given, side_input=side)
        for scale in (SCALE, 2.0**-12):
            assert apart(whole.run(rescale(ops, scale), given, side_input=side), want) < EXACT


# Who writes the stream, and who changes its resolution or its channels: the same function at another scale.
WRITES = {
    "kl": (r"(conv_in|conv2|proj_out)\.(weight|bias)$", r"(nin_shortcut|sample\.conv)\.bias$"),
    "wan": (r"(coder\.conv1|residual\.6|proj)\.(weight|bias)$", r"(shortcut|resample\.1|time_conv)\.bias$"),
}


def enlarged(kind: str, by: float) -> dict[str, Tensor]:
    """Weights of about the same function, in fp16, with activations `by` times as large between the layers."""
    both, bias = WRITES[kind]
    return {
        name: (t * by if re.search(both, name) or re.search(bias, name) else t).half()
        for name, t in random_weights(*SMALL[kind]).items()
    }


@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize("kind", WRITES)
@torch.no_grad()
def test_fp16_holds_what_would_overflow(kind, part, monkeypatch):
    weights = enlarged(kind, 2.0**16)
    exact, rough = (from_weights({n: t.float() for n, t in weights.items()}) for _ in range(2))
    rough.to(dtype=torch.float16)
    x = pixels_or_z(exact, part).half()
    want = run_half(exact, part, x.float())
    for numbers in (0, 3000):
        got = run_half(rough, part, x, numbers)
        assert (got - want).square().mean().sqrt() <= ROUNDING[kind].fp16 * want.std()
    monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse.computes_in_fp16", lambda ops: False)
    assert not run_half(rough, part, x).isfinite().all()


def test_it_is_so_at_the_door(tmp_path, monkeypatch):
    """And the weights stay those of the file: saved they are the same, and the VAE's mark is."""
    weights = enlarged("kl", 2.0**16)
    exact = from_weights({n: t.float() for n, t in weights.items()}, "x")
    vae = from_weights(weights, "x", torch.float16)
    z = torch.randn(1, 4, 4, 4)
    want, within = exact.decode(z), ROUNDING["kl"].fp16
    for got in (vae.decode(z), vae.decode(z, rows=4), torch.cat(list(vae.decode_rows(z, rows=4)), -2)[None]):
        assert (got - want).square().mean().sqrt() <= within * want.std()
    image = want.clamp(-1, 1)
    z = exact.encode(image).mean
    assert (vae.encode(image).mean - z).square().mean().sqrt() <= within * z.std()
    save(vae, tmp_path / "x.safetensors")
    saved = load_file(tmp_path / "x.safetensors")
    assert saved.keys() == weights.keys() and all(torch.equal(saved[n], weights[n]) for n in saved)
    assert vae.fingerprint == exact.fingerprint
    monkeypatch.setattr("exact_vae.vae_core.execution.rewrite.fuse.computes_in_fp16", lambda ops: False)
    with pytest.raises(NumericalOverflow):
        vae.decode(z)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_nothing_changes_but_in_fp16(dtype):
    network = small("kl", dtype).network
    ops = network.decode_ops()
    norms, kept = ([op for op in leaves(some) if is_norm(op)] for some in (ops, fuse(ops)))
    assert all(a is b for a, b in zip(norms, kept, strict=True))


def test_the_plan_counts_the_weights_that_are_made():
    """Of those that write at another scale than they read, weight and bias; of the others on the stream the bias."""
    family, config = SMALL["kl"]
    weights = random_weights(family, config)
    both = r"(post_quant_conv|decoder\..*(conv1|conv2|proj_out))\.(weight|bias)$"
    bias = r"decoder\..*(conv_in|nin_shortcut|sample\.conv)\.bias$"
    made = sum(2 * t.numel() for n, t in weights.items() if re.search(both, n) or re.search(bias, n))
    assert make_request(family, config, Half.DECODER, (1, 4, 2, 2), torch.float16).weights.meanwhile == made
    assert make_request(family, config, Half.DECODER, (1, 4, 2, 2), torch.bfloat16).weights.meanwhile == 0


def test_errors_name_the_ops_of_the_network():
    vae = from_weights({n: t.half() for n, t in random_weights(*SMALL["kl"]).items()}, "x", torch.float16)
    observer = ProgressObserver(vae.network, vae.plan("decode", (1, 4, 2, 2)), 1, None)
    names = set()
    for op in leaves(fuse(vae.network.decode_ops())):
        observer.begin_op(op)
        names.add(observer.where)
    assert {" at decoder.conv_in", " at decoder.up.0.block.1.norm2", " at decoder.mid.attn_1"} <= names
