"""No plan makes a tensor that its device cannot count the numbers of."""

import math

import pytest
import torch
from exact_vae.vae_core import DoesNotFit, Half, RunOptions
from exact_vae.vae_core.execution import choose_plan, list_plans, make_request
from exact_vae.vae_core.execution.plans.fitting import propose_fitting
from exact_vae.vae_core.execution.plans.limits import INT32, NO_LIMIT, Limit, find_limit
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.plans.request import Request
from exact_vae.vae_core.families.registry import family_named
from exact_vae.vae_core.ops.attention import SCORES

CUDA, CPU, MPS = torch.device("cuda"), torch.device("cpu"), torch.device("mps")
BF16, F32 = torch.bfloat16, torch.float32
AMPLE = RunOptions(budget="500GiB")


def request(family: str, half: str, *shape: int, dtype: torch.dtype = BF16, **how) -> Request:
    return make_request(family, family_named(family).example, Half.of(half), shape, dtype, **how)


def choose(wanted: Request, device: torch.device = CUDA, options: RunOptions = AMPLE) -> Plan:
    return choose_plan(wanted, device, options, what="this")


# Published networks at sizes that people run: (family, half, shape, how it is run, numbers at once in units of 2^31).
TOO_LARGE = [
    ("kl", "decode", (1, 4, 512, 512), "rows", 2.00),  # 4096 pixels
    ("kl", "encode", (1, 3, 4096, 4096), "rows", 1.0005),  # only as it is padded
    ("kl", "decode", (4, 4, 256, 256), "images", 2.00),  # four of 2048
    ("wan", "decode", (1, 16, 21, 60, 104), "frames", 2.89),  # 81 frames of 832 x 480
    ("wan", "encode", (1, 3, 81, 480, 832), "frames", 1.48),
    ("hunyuan_video", "decode", (1, 16, 17, 60, 104), "rows", 3.21),  # 65 frames; it sees all at once
    ("hunyuan_video_15", "decode", (1, 32, 23, 30, 52), "frames", 2.18),
]


@pytest.mark.parametrize(("family", "half", "shape", "how", "at_once"), TOO_LARGE, ids=lambda x: str(x)[:30])
def test_a_way_that_fits_the_memory_but_not_32_bits_is_not_taken(family, half, shape, how, at_once):
    wanted = request(family, half, *shape)
    assert wanted.whole.largest / INT32 == pytest.approx(at_once, abs=0.006)
    plan = choose(wanted)
    assert plan.largest < INT32 <= wanted.whole.largest
    assert (how == "rows") == (plan.rows > 0) and (how == "frames") == (plan.frames > 0 and not plan.rows)
    assert how != "images" or plan.images == 1
    assert all(other.largest < INT32 for other in list_plans(wanted, CUDA))


def test_the_fastest_way_that_fits_is_taken():
    """Of Wan's 81 frames, as many at a time as can be; of a batch, as many images."""
    assert choose(request("wan", "decode", 1, 16, 21, 60, 104)).frames == 4
    assert choose(request("wan", "encode", 1, 3, 81, 480, 832)).frames == 8
    assert choose(request("kl", "decode", 4, 4, 128, 128)).images == 4
    assert choose(request("kl", "decode", 8, 4, 192, 192)).images == 2


def test_a_cpu_counts_as_far_as_it_likes():
    batch = request("kl", "decode", 4, 4, 256, 256, dtype=F32)
    assert any(plan.largest >= INT32 for plan in list_plans(batch, CPU))
    assert find_limit(CPU, F32).numbers == math.inf


def test_what_the_run_begins_and_ends_with_counts_unless_it_is_streamed():
    wide = (1, 4, 3400, 3400)  # 27200 pixels, 3 colours: 2.2e9 numbers
    with pytest.raises(DoesNotFit, match=r"^this needs a tensor of 2\.22 billion numbers at least, but its device "
                       r"counts to 2\.15 billion: use a smaller image or batch, or a CPU\.$"):  # fmt: skip
        choose(request("tiny", "decode", *wide))
    assert choose(request("tiny", "decode", *wide, streamed=True)).rows
    assert choose(request("tiny", "decode", *wide), CPU)


def test_what_attention_gathers_counts():
    """Its keys are one tensor of the whole image, however low the bands are."""
    plans = request("kl", "decode", 1, 4, 2049, 2048, streamed=True)
    assert plans.plan_bands(8).largest == 512 * 2049 * 2048 > INT32
    with pytest.raises(DoesNotFit, match="needs a tensor of"):
        choose(plans)


def test_frames_remembered_by_attention_count():
    """HunyuanVideo 1.5 keeps the keys of all earlier frames."""
    wanted = request("hunyuan_video_15", "decode", 1, 32, 40, 30, 52)
    plan = next(p for p in list_plans(wanted, CUDA) if p.frames == 1 and p.rows)
    assert plan.largest >= 1024 * 40 * 30 * 52


def test_metal_ends_the_process_over_4_gib():
    assert find_limit(MPS, F32).numbers == find_limit(MPS, BF16).numbers == 2**30
    large = request("kl", "decode", 1, 4, 336, 336, dtype=F32)  # 2688 pixels: 256 channels of them are 1.8e9 numbers
    assert 2**30 < large.whole.largest < INT32
    assert choose(large).rows == 0
    plan = choose(large, MPS)
    assert plan.rows and plan.largest < 2**30


def test_scores_that_a_device_makes_count():
    """Of a few queries at a time. In fp32 they and their softmax take 8 bytes each."""
    large = request("kl", "decode", 1, 4, 256, 256)
    assert large.whole.scores == SCORES < 256**4  # 2048 pixels
    limits = NO_LIMIT, Limit(INT32, find_limit(MPS, F32).score_bytes)
    least, most = (next(propose_fitting(large, 2**50, {}, limit=limit, what="this")).peak for limit in limits)
    assert most == least + 8 * SCORES
    banded = large.plan_bands(8)
    assert 0 < banded.scores <= min(SCORES, banded.numbers // 512 * 256**2)
