"""A VAE at its door: sizes, clips, dtypes, and the sentences bad input gets."""

import itertools

import pytest
import torch
from exact_vae.vae_core import (
    BadPixels,
    BadRequest,
    DoesNotFit,
    Half,
    LatentMismatch,
    NumericalOverflow,
    from_weights,
    load,
)
from exact_vae.vae_core.execution import progress
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.vq import VQConfig
from exact_vae.vae_core.ops import Conv2d
from support.random_networks import random_weights, small_kl

CODER = Coder((32, 64), (1, 1), (False, False), stem=32)


@pytest.fixture(scope="module")
def vae():
    return from_weights(random_weights("kl", small_kl()), "small.safetensors")


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (9, 11), (5, 4), (1, 1), (2, 31)])
def test_any_size_comes_back(vae, size):
    x = torch.rand(2, 3, *size) * 2 - 1
    posterior = vae.encode(x)
    latent = posterior.mode()
    assert latent.shape == (2, 4, -(-size[0] // 4), -(-size[1] // 4))
    assert posterior.size == size
    assert vae.decode(latent, size=posterior.size).shape == x.shape


def test_an_odd_image_is_continued_by_its_mirror_image(vae):
    x = torch.rand(1, 3, 10, 8) * 2 - 1
    mirrored = torch.cat([x, x.flip(2)[:, :, 1:3]], 2)
    assert torch.equal(vae.encode(x).mode(), vae.encode(mirrored).mode())


LAYOUTS = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "a view of (H, W, C)": lambda x: torch.stack([one.permute(1, 2, 0).contiguous().permute(2, 0, 1) for one in x]),
    "one image as a view of (H, W, C)": lambda x: x[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)[None],
    "columns before rows": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every second number": lambda x: torch.stack([x, x], -1)[..., 0],
    "a part of a larger image": lambda x: torch.nn.functional.pad(x, (1, 2, 3, 4))[..., 3:-4, 1:-2],
    "in the middle of a batch": lambda x: torch.cat([x, x, x])[len(x) : 2 * len(x)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(16, 24), (13, 8), (1, 8), (8, 1)])
def test_the_layout_of_memory_changes_no_bit(vae, layout, size):
    """Encoded and decoded, whole and in bands. The stride of a dimension of 1 says nothing, but kernels go by it."""
    x, z = torch.rand(1, 3, *size) * 2 - 1, torch.randn(1, 4, *size)
    for rows in (None, 4):
        latent, pixels = vae.encode(x, rows=rows).mode(), vae.decode(z, rows=rows)
        assert torch.equal(vae.encode(LAYOUTS[layout](x), rows=rows).mode(), latent)
        assert torch.equal(vae.decode(LAYOUTS[layout](z), rows=rows), pixels)


def test_frames_are_images_to_a_vae_of_images(vae):
    clip = torch.rand(2, 3, 5, 8, 12) * 2 - 1
    latent = vae.encode(clip).mode()
    assert latent.shape == (2, 4, 5, 2, 3)
    assert torch.allclose(latent[:, :, 2], vae.encode(clip[:, :, 2]).mode(), atol=1e-5)
    pixels = vae.decode(latent)
    assert pixels.shape == clip.shape
    assert torch.allclose(pixels[:, :, 4], vae.decode(latent[:, :, 4]), atol=1e-5)


def test_results_are_fp32_whatever_it_runs_in():
    vae = from_weights({n: t.bfloat16() for n, t in random_weights("kl", small_kl()).items()})
    posterior = vae.encode(torch.zeros(1, 3, 8, 8))
    assert (vae.dtype, posterior.mean.dtype) == (torch.bfloat16, torch.float32)
    assert vae.decode(posterior.mode()).dtype is torch.float32


@pytest.mark.parametrize("how", [{}, {"rows": 4}], ids=["whole", "bands"])
@torch.no_grad()
def test_what_fp16_cannot_hold_is_never_passed_on(how):
    """Numbers beyond 65504 that a norm makes. Those that it reads are none of fp16's trouble: test_rescale_fp16.py."""
    weights = random_weights("kl", small_kl())
    for name in ("encoder.norm_out", "decoder.norm_out"):
        weights[f"{name}.weight"] = torch.full_like(weights[f"{name}.weight"], 6e4)
    vae, x, z = from_weights(weights, "x"), torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 2, 2)
    for dtype in (torch.float32, torch.bfloat16):
        assert vae.to(dtype=dtype).decode(z, **how).isfinite().all() and vae.encode(x, **how).mean.isfinite().all()
    vae.to(dtype=torch.float16)
    words = "'x' overflowed in float16: the {} was finite, the result is not; {} it in bf16 or fp32."
    for run, given, what, verb in ((vae.decode, z, "latent", "decode"), (vae.encode, x, "image", "encode")):
        with pytest.raises(NumericalOverflow) as error:
            run(given, **how)
        assert str(error.value) == words.format(what, verb)
    with pytest.raises(NumericalOverflow, match="overflowed in float16"):
        list(vae.decode_rows(z, **how))


@pytest.mark.parametrize("doing", ["encode", "decode"])
@pytest.mark.parametrize("how", [{}, {"rows": 4}, {"rows": 4, "keep": "disk"}], ids=str)
def test_progress_counts_work(vae, doing, how):
    calls = []
    x = torch.zeros(2, 3, 32, 32) if doing == "encode" else torch.zeros(2, 4, 8, 8)
    getattr(vae, doing)(x, **how, progress=lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    assert {call[1] for call in calls} == {1000} and done[0] == 0 and done[-1] == 1000
    assert done == sorted(done) and len(set(done)) > 20
    assert max(b - a for a, b in itertools.pairwise(done)) < 200


def test_a_run_of_hours_may_be_stopped_between_its_thousandths(vae, monkeypatch):
    """Before every op, once there was no word for a while."""
    calls, clock = [], itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "TICKS", 2)
    vae.decode(torch.zeros(1, 4, 8, 8), progress=lambda done, total: calls.append(done))
    assert len(calls) > 20 and set(calls) == {0, 1, 2}


def test_progress_may_stop_the_run(vae):
    class Stop(BaseException):
        pass

    def stop(done, total):
        if done > 100:
            raise Stop

    with pytest.raises(Stop):
        vae.decode(torch.zeros(1, 4, 2, 2), progress=stop)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.full((1, 3, 8, 8), float("nan")), "these pixels hold NaN or infinity"),
        (torch.full((1, 3, 8, 8), float("inf")), "these pixels hold NaN or infinity"),
        (torch.full((1, 3, 8, 8), 255.0), r"these pixels reach 255: an image's must be numbers in \[-1, 1\]"),
        (torch.zeros(1, 4, 8, 8), r"of shape \(1, 4, 8, 8\): 'small.safetensors' encodes"),
        (torch.zeros(3, 8, 8), r"of shape \(3, 8, 8\)"),
        (torch.zeros(1, 3, 0, 8), r"of shape \(1, 3, 0, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "not of uint8"),
    ],
)
def test_bad_pixels(vae, pixels, words):
    with pytest.raises(BadPixels, match=words):
        vae.encode(pixels)


def test_a_latent_of_another_vae(vae):
    with pytest.raises(LatentMismatch) as e:
        vae.decode(torch.zeros(1, 16, 8, 8))
    assert str(e.value).startswith("this latent has 16 channels (shape (1, 16, 8, 8), as of SD 3.x or FLUX.1,")
    assert "but 'small.safetensors' needs 4: it is Autoencoder-KL (2-D), 4 channels at 1/4" in str(e.value)
    assert "Use the VAE of the model that made the latent." in str(e.value)


@pytest.mark.parametrize("z", [torch.zeros(4, 8, 8), torch.zeros(1, 4, 0, 8), torch.zeros(())])
def test_no_latent_at_all(vae, z):
    with pytest.raises(LatentMismatch, match="this is no latent, but"):
        vae.decode(z)


def test_no_tensor_at_all(vae):
    with pytest.raises(LatentMismatch, match="a latent must be a tensor, not list"):
        vae.decode([1, 2])
    with pytest.raises(BadPixels, match="pixels must be a tensor, not str"):
        vae.encode("photo.png")
    with pytest.raises(BadRequest, match="cannot be cropped to 3x-2"):
        vae.decode(torch.zeros(1, 4, 2, 2), size=(-2, 3))


def test_says_whether_the_latent_or_the_vae_broke():
    weights = random_weights("kl", small_kl())
    vae = from_weights(weights, "x")
    with pytest.raises(
        NumericalOverflow, match="this latent holds NaN or infinity: it was broken before it came to the VAE"
    ):
        vae.decode(torch.full((1, 4, 2, 2), float("nan")))
    weights["decoder.conv_out.bias"] = torch.full((3,), float("inf"))
    vae = from_weights(weights, "x")
    with pytest.raises(NumericalOverflow, match="'x' overflowed in float32: the latent was finite, the result is not"):
        vae.decode(torch.zeros(1, 4, 2, 2))
    weights["quant_conv.bias"] = torch.full((8,), float("nan"))
    with pytest.raises(NumericalOverflow, match="the image was finite, the result is not"):
        from_weights(weights, "x").encode(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_out_of_memory_names_the_op_and_what_to_do(vae, monkeypatch, error):
    target, forward = vae.network.decoder.up[1].block[0].conv2, Conv2d.forward

    def fail(self, x):
        if self is target:
            raise error
        return forward(self, x)

    monkeypatch.setattr(Conv2d, "forward", fail)
    with pytest.raises(DoesNotFit) as e:
        vae.decode(torch.zeros(1, 4, 3, 2))
    assert str(e.value) == (
        "decoding 1 x 2x3 with 'small.safetensors' ran out of memory at decoder.up.1.block.0.conv2: "
        "use a smaller image or batch, or bf16."
    )
    assert e.value.__cause__ is error


def test_other_errors_pass_as_they_are(vae, monkeypatch):
    def fail(self, x):
        raise RuntimeError("cuDNN is unhappy")

    monkeypatch.setattr(Conv2d, "forward", fail)
    with pytest.raises(RuntimeError, match="cuDNN is unhappy"):
        vae.decode(torch.zeros(1, 4, 3, 2))


def test_peak_bytes_takes_only_the_size(vae):
    assert vae.peak_bytes("decode", (1, 4, 8, 8)) == vae.peak_bytes("decode", (1, 99, 8, 8))
    one, two, three, four = (vae.peak_bytes("decode", (n, 4, 8, 8)) for n in (1, 2, 3, 4))
    # Of several images a norm is computed one by one: what it makes of one is there beside its result.
    assert two - one > three - two == four - three
    assert three - two > 0.5 * one - vae._request(Half.DECODER, (1, 4, 8, 8)).weights.meanwhile
    assert vae.peak_bytes("decode", (1, 4, 2, 8, 8)) == vae.peak_bytes("decode", (2, 4, 8, 8))
    assert vae.peak_bytes("encode", (1, 3, 30, 30)) == vae.peak_bytes("encode", (1, 3, 32, 32))


WHOLE, BANDS = "whole", "bands"  # of images 64 or 60 rows high
WAYS = [
    ({"rows": 8}, BANDS),
    ({"rows": 1000}, WHOLE),
    ({"rows": 3, "keep": "disk"}, BANDS),
    ({"keep": "device"}, BANDS),
    ({"budget": 1.1}, WHOLE),  # times what one image takes
    ({"budget": 0.95}, BANDS),
]


@pytest.mark.parametrize(("how", "chosen"), WAYS, ids=str)
@pytest.mark.parametrize("doing", ["encode", "decode"])
def test_no_way_of_running_changes_the_image(how, chosen, doing):
    vae = from_weights(random_weights("kl", small_kl(), torch.float64))
    x = torch.rand(3, 3, 61, 62).double() if doing == "encode" else torch.rand(3, 4, 15, 16).double()
    if "budget" in how:
        how = {"budget": int(how["budget"] * vae._request(Half.of(doing), x.shape).plan_whole(1, on_cpu=True).peak)}
    plan = vae.plan(doing, x.shape, **how)
    assert (BANDS if plan.rows else WHOLE) == chosen and plan.rows < 60
    results = [getattr(vae, doing)(x, **options) for options in ({}, how)]
    want, got = (r.mean if doing == "encode" else r for r in results)
    assert got.shape == want.shape and got.dtype == want.dtype
    assert (got - want).abs().max() <= 1e-12 * want.abs().max()


def test_a_plan_is_told_before_the_run(vae):
    assert vae.plan("decode", (1, 4, 8, 8)).rows == 0
    assert vae.plan("decode", (1, 4, 8, 8), rows=4, keep="disk").keep == "disk"
    assert vae.plan("decode", (1, 4, 8, 8), rows=4, keep="system memory").keep == "device"  # of a CPU it is the same
    assert vae.plan("decode", (1, 4, 64, 64), budget="16MiB").peak < 16 * 2**20
    with pytest.raises(DoesNotFit, match=r"decoding 1 x 512x512 with 'small.safetensors' needs .* only 1\.0 MiB"):
        vae.plan("decode", (1, 4, 512, 512), budget="1MiB")


def test_system_memory_is_the_device_of_a_cpu(vae):
    plans = [vae.plan("decode", (1, 4, 8, 8), rows=4, keep=keep) for keep in ("device", "system memory")]
    assert plans[0] == plans[1] and plans[0].keep == "device" and not plans[0].held
    z = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    want = vae.decode(z)
    assert torch.allclose(vae.decode(z, rows=4, keep="system memory"), want, atol=1e-4 * want.abs().max().item())


def test_what_cannot_be_planned(vae):
    with pytest.raises(BadRequest, match="no plan to 'paint': choose encode or decode"):
        vae.plan("paint", (1, 4, 8, 8))
    with pytest.raises(DoesNotFit, match=f"1 x {2**20}x{2**20} .*even at its smallest"):
        vae.plan("decode", (1, 4, 2**20, 2**20))
    for size in (2**40, 2**70):  # too many for a tensor, and for an integer of torch's
        with pytest.raises(DoesNotFit, match=f"1 x {size}x{size} .*is more than can be counted: check the size"):
            vae.plan("decode", (1, 4, size, size))


@pytest.mark.parametrize(("missing", "doing"), [("encoder", "encode"), ("decoder", "decode")])
def test_half_a_vae_plans_what_it_can_do(missing, doing):
    half = small_kl(**{missing: None, "quant_conv": missing != "encoder", "post_quant_conv": missing != "decoder"})
    vae, other = from_weights(random_weights("kl", half), "half"), {"encode": "decode", "decode": "encode"}[doing]
    assert vae.plan(other, (1, 4, 8, 8)).rows == 0
    words = f"'half' holds only the {other}r: load it together with the file of its {missing}."
    for call in (vae.plan, lambda part, shape: getattr(vae, part)(torch.zeros(shape))):
        with pytest.raises(BadRequest) as error:
            call(doing, (1, 3 if doing == "encode" else 4, 8, 8))
        assert str(error.value) == words


@pytest.mark.parametrize(("doing", "shape"), [("encode", (2, 3, 16, 16)), ("decode", (2, 4, 4, 4))])
def test_the_caller_is_told_the_plan_of_the_run_before_it(vae, doing, shape):
    told = []
    getattr(vae, doing)(torch.zeros(shape), rows=8, on_plan=told.append, progress=lambda done, _: told.append(done))
    assert told[0] == vae.plan(doing, shape, rows=8) and told[1] == 0
    assert all(isinstance(done, int) for done in told[1:])


@pytest.mark.parametrize(
    ("how", "words"),
    [({"rows": 0}, "0 rows"), ({"keep": "cloud"}, "cannot be kept in 'cloud'"), ({"budget": "lots"}, "no amount")],
)
def test_ways_that_there_are_not(vae, how, words):
    with pytest.raises(BadRequest, match=words):
        vae.decode(torch.zeros(1, 4, 2, 2), **how)


def test_statistics_in_another_dtype():
    """Those of fp64 follow a VAE to fp32, where its pixels meet them; not further."""
    weights = random_weights("vq", VQConfig(4, 4, 20, CODER, CODER), torch.float64)
    vae = from_weights(weights)
    assert vae.network.quantize.embedding.weight.dtype is torch.float64
    for dtype, kept in ((torch.float32, torch.float32), (torch.bfloat16, torch.float32)):
        assert vae.to(dtype=dtype).network.quantize.embedding.weight.dtype is kept
        assert vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 4, 4)


def test_to_another_dtype(kl_file):
    vae = load(kl_file).to(dtype=torch.float64)
    assert vae.dtype is torch.float64
    assert vae.decode(torch.zeros(1, 4, 2, 2)).dtype is torch.float64


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there(kl_file, device):
    with pytest.raises(BadRequest, match=f"the device '{device}' cannot be used"):
        load(kl_file, device=device)
