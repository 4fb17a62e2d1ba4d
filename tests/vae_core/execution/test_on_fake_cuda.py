"""Runs on a CUDA device that is not there (support/fake_cuda.py): devices, waits, layouts, kernels, memory."""

import functools
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from exact_vae.vae_core import VAE, Half, Plan, from_weights
from exact_vae.vae_core.execution import list_plans, make_request
from exact_vae.vae_core.ops import leaves
from support.fake_cuda import Layout, Watch, demand_guard, fake_cuda
from support.random_networks import random_weights
from support.slow import slow
from support.small_networks import AT_ONCE, SMALL
from torch.utils._python_dispatch import _disable_current_modes

SIZE = (256, 192)  # pixels: tensors have no numbers, so only the number of ops takes time
ROWS = 128  # of a band
BANDS = SIZE[0] // ROWS
# A network of each kind of op, with the frames of its clip; 0: an image.
KINDS = {"kl": 0, "dc_ae": 0, "wan": 5, "hunyuan_video": 5, "tiny_video": 9, "svd": 2, "minimax_h3": 22}
FRAMES = KINDS | {"cosmos": 9, "mochi": 7, "vidtok": 9, "ltx_video": 9, "kvae_video": 9}
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "bands": {"rows": ROWS},
    "bands in system memory": {"rows": ROWS, "keep": "system memory"},
    "bands on disk": {"rows": ROWS, "keep": "disk"},
    "parts of a clip": {},
}
# Values that the host reads in a call, each of which waits for the device: is what came, and what goes, in order?
READS = {"encode": 4, "decode": 4}
KERNELS_OF_AN_OP = 8  # on average at most, in a whole run
STATISTICS = 2**12  # bytes of numbers for each channel that a kernel takes meanwhile


class Seen(NamedTuple):
    """What was seen of one call; peak: bytes that it adds to what was there before."""

    plan: Plan
    ops: int
    kernels: int
    reads: Counter[tuple[bool, str]]
    waits: list[str]
    layouts: Counter[Layout]
    peak: int


@functools.cache
def see_all(kind: str, dtype: torch.dtype = torch.bfloat16) -> dict[tuple[str, str], Seen]:
    """Every call of a VAE of this kind, by its half and way."""
    demand_guard()
    weights = random_weights(*SMALL[kind], dtype)
    with fake_cuda() as watch:
        vae = from_weights(weights, kind, dtype, torch.device("cuda"))
        return {(part, way): see(watch, vae, kind, part, way) for part, way in list_calls(kind)}


def list_calls(kind: str) -> Iterator[tuple[str, str]]:
    for part in READS:
        in_parts = KINDS[kind] and kind != "svd" and (kind, part) not in AT_ONCE
        yield from ((part, way) for way in WAYS if way != "parts of a clip" or in_parts)


def see(watch: Watch, vae: VAE, kind: str, part: str, way: str) -> Seen:
    x = make_input(vae, kind, part)
    how = {"budget": budget_of_parts(vae, part, tuple(x.shape))} if way == "parts of a clip" else WAYS[way]
    plans: list[Any] = []
    watch.forget()
    before = watch.now
    made = run_half(vae, part, x, on_plan=plans.append, **how)
    assert made.device.type == "cuda"
    ops = vae.network.decode_ops() if part == "decode" else vae.network.encode_ops()
    return Seen(
        plan=plans[0],
        ops=len(list(leaves(ops))),
        kernels=sum(watch.kernels.values()),
        reads=watch.reads,
        waits=watch.waits_inside,
        layouts=watch.layouts,
        peak=watch.peak - before,
    )


def run_half(vae: VAE, part: str, x: torch.Tensor, **how: Any) -> torch.Tensor:
    return vae.decode(x, **how) if part == "decode" else vae.encode(x, **how).mean


def make_input(vae: VAE, kind: str, part: str, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """In fp32, as callers have it."""
    ratio, channels = (vae.spatial_ratio, vae.latent_channels) if part == "decode" else (1, vae.in_channels)
    frames = FRAMES.get(kind.partition(":")[0], 0)
    if frames and part == "decode" and vae.clip_law:
        frames = vae.clip_law.latents(frames)
    return torch.empty(1, channels, *([frames] if frames else []), *(n // ratio for n in size), device="cuda")


def budget_of_parts(vae: VAE, part: str, shape: tuple[int, ...]) -> int:
    """With which whole parts of one latent frame are the fastest plan that fits."""
    with _disable_current_modes():  # plans are counted on the meta device
        request = make_request(vae.family, vae.config, Half.of(part), shape, vae.dtype)
        return next(plan.peak for plan in list_plans(request, vae.device) if plan.frames == 1 and not plan.rows)


def cases(*ways: str) -> list[Any]:
    """(kind, part, way) of all calls in these ways."""
    calls = [(kind, *call) for kind in KINDS for call in list_calls(kind) if call[1] in ways]
    return [pytest.param(*call, id="-".join(call)) for call in calls]


@pytest.mark.parametrize(("kind", "part", "way"), cases(*WAYS))
def test_a_run_waits_for_nothing(kind, part, way):
    """The host asks for no value and no copy's end: it is always ahead of the device. A file has to be waited for."""
    seen = see_all(kind)[part, way]
    waits = [where for where in seen.waits if way != "bands on disk" or "bands/stores.py" not in where]
    assert not waits
    assert sum(seen.reads.values()) <= READS[part]


NOT_WEIGHTS = [("effnet", "encode"), ("rae", "encode"), ("rae", "decode"), ("consistency", "decode"),
               ("tiny_video: TAEH3", "decode"), ("minimax_h3", "encode"), ("minimax_h3", "decode")]  # fmt: skip


@pytest.mark.parametrize(("kind", "part"), NOT_WEIGHTS)
def test_numbers_that_no_weight_holds_are_not_waited_for(kind, part):
    """Means of colours, steps of a schedule, which frames of a clip are kept: the host knows, the device does not."""
    weights = random_weights(*SMALL[kind], torch.bfloat16)
    demand_guard()
    with fake_cuda() as watch:
        vae = from_weights(weights, kind, torch.bfloat16, torch.device("cuda"))
        side = vae.image_size or 64
        x = make_input(vae, kind, part, (side, side))
        watch.forget()
        run_half(vae, part, x)
    assert not watch.waits_inside
    assert not [move for move in watch.moves if move.blocking]


@pytest.mark.parametrize(("kind", "part", "way"), cases(*WAYS))
def test_a_run_holds_no_more_than_planned(kind, part, way):
    """Of all storages on the device; what torch's kernels take meanwhile is not seen here."""
    seen = see_all(kind)[part, way]
    assert bool(seen.plan.rows) == way.startswith("bands")
    assert seen.peak <= seen.plan.peak + STATISTICS


@pytest.mark.parametrize("part", READS)
@pytest.mark.parametrize("kind", ["kl", "dc_ae"])
def test_several_images_hold_no_more_than_planned(kind, part):
    """Products of matrices copy what lies otherwise than a single image does."""
    demand_guard()
    with fake_cuda() as watch:
        vae = from_weights(random_weights(*SMALL[kind], torch.bfloat16), kind, torch.bfloat16, torch.device("cuda"))
        x = torch.cat([make_input(vae, "kl", part)] * 3)
        plans: list[Any] = []
        watch.forget()
        before = watch.now
        run_half(vae, part, x, on_plan=plans.append)
    assert plans[0].images == 3 and watch.peak - before <= plans[0].peak + STATISTICS


@pytest.mark.parametrize("kind", ["wan", "wan: 2.2", "paella", "cosmos", "tiny"])
def test_a_padded_image_holds_no_more_than_planned(kind):
    """It is there as it came, and as the network reads it; not also as it was padded."""
    demand_guard()
    with fake_cuda() as watch:
        vae = from_weights(random_weights(*SMALL[kind], torch.bfloat16), kind, torch.bfloat16, torch.device("cuda"))
        x = torch.empty(1, vae.in_channels, 255, 191, device="cuda", dtype=torch.float64)
        plans: list[Any] = []
        watch.forget()
        before = watch.now
        run_half(vae, "encode", x, on_plan=plans.append)
    assert watch.peak - before <= plans[0].peak + STATISTICS


SMALL_RUNS = [("rae", "encode"), ("vidtok", "encode"), ("mage", "decode")]


@pytest.mark.parametrize(("kind", "part"), SMALL_RUNS)
def test_what_weights_and_norms_take_is_planned(kind, part):
    """A weight is copied once, to lie otherwise, and a norm of single pixels keeps numbers of each."""
    with on_device(kind) as (watch, vae):
        x = torch.cat([make_input(vae, "kl", part, (vae.image_size or 96,) * 2)] * 3)
        assert_as_planned(watch, lambda tell: run_half(vae, part, x, on_plan=tell))


@pytest.mark.parametrize("way", ["whole", "bands in system memory"])
@pytest.mark.parametrize("part", READS)
def test_frames_of_several_clips_hold_no_more_than_planned(part, way):
    """They lie otherwise than so many images do, and come in a dtype that is none of the run's."""
    with on_device("kl") as (watch, vae):
        image = make_input(vae, "kl", part, (128, 96)).double()
        x = image[:, :, None].repeat(2, 1, 3, 1, 1)
        how = {"rows": 32, "keep": "system memory"} if way != "whole" else {}
        assert_as_planned(watch, lambda tell: run_half(vae, part, x, on_plan=tell, **how))


def test_images_that_are_kept_are_planned():
    """Of a clip that is read frame by frame what became of the frames before is there, too."""
    with on_device("kl") as (watch, vae):
        clip = Clip((3, 5, 64, 48))
        assert_as_planned(watch, lambda tell: vae.encode_frames(clip, on_plan=tell).mean)


@pytest.mark.parametrize(("kind", "rows"), [("wan: 2.2", 16), ("cogvideox", 0)])
def test_pieces_hold_no_more_than_planned(kind, rows):
    """The last ones are gone when the next are made. An image of a VAE of clips is decoded as a single frame."""
    with on_device(kind) as (watch, vae):
        z = make_input(vae, "kl", "decode", (96, 96))
        z, stream = (z[:, :, None].repeat(1, 1, 3, 1, 1), vae.decode_frames) if rows else (z, vae.decode_rows)
        assert_as_planned(watch, lambda tell: deque(stream(z, on_plan=tell, rows=rows or None), maxlen=0))


class Clip(NamedTuple):
    """Frames in the host's memory, two at a time."""

    shape: tuple[int, int, int, int]

    def read(self) -> Iterator[torch.Tensor]:
        c, frames, *size = self.shape
        for first in range(0, frames, 2):
            yield torch.zeros(c, min(2, frames - first), *size)


@contextmanager
def on_device(kind: str) -> Iterator[tuple[Watch, VAE]]:
    demand_guard()
    with fake_cuda() as watch:
        weights = random_weights(*SMALL[kind], torch.bfloat16)
        yield watch, from_weights(weights, kind, torch.bfloat16, torch.device("cuda"))


def assert_as_planned(watch: Watch, run: Callable[[Callable[[Any], None]], Any]) -> None:
    """`run` is given what to tell of its plan."""
    plans: list[Any] = []
    watch.forget()
    before = watch.now
    run(plans.append)
    assert len(plans) == 1 and watch.peak - before <= plans[0].peak + STATISTICS


@pytest.mark.parametrize(("kind", "part", "way"), cases("whole"))
def test_kernels_of_a_whole_run(kind, part, way):
    """Of images in a batch, as the frames of SVD's clips are, each has norms of its own; pieces are run one by one.

    MiniMax-H3's are 3 x 2 tiles, encoded in two chunks. Mirrored borders take a kernel more, and so do frames in front.
    """
    seen = see_all(kind)[part, way]
    images = {"svd": KINDS[kind], "minimax_h3": 6 * (2 if part == "encode" else 1)}.get(kind, 1)
    more = 2 * (kind == "minimax_h3")
    assert seen.kernels <= (KERNELS_OF_AN_OP + more) * seen.ops * images


@pytest.mark.parametrize(("kind", "part", "way"), cases("bands", "bands in system memory"))
def test_a_band_takes_no_more_kernels_than_an_image(kind, part, way):
    seen, whole = see_all(kind)[part, way], see_all(kind)[part, "whole"]
    parts = -(-KINDS[kind] // 4) + 1 if seen.plan.frames else 1
    assert seen.kernels <= BANDS * parts * whole.kernels


@pytest.mark.parametrize(("kind", "part", "way"), cases("whole", "bands", "parts of a clip"))
def test_convolutions_are_channels_last(kind, part, way):
    """In what they read and in their weights: of any other layout cuDNN makes a copy first, at every call."""
    assert list_copied(see_all(kind)[part, way]) == []


def list_copied(seen: Seen) -> list[Any]:
    """The convolutions of which cuDNN copies something. There must be some that it could be."""
    convolutions = [layout for layout in seen.layouts if layout.op == "convolution"]
    assert convolutions
    return [layout for layout in convolutions if not {layout.x, layout.weight} <= {"last", "both"}]


MORE_LAYOUTS = [("effnet", "decode", "whole"), ("paella", "decode", "whole"), ("cosmos", "encode", "parts of a clip"),
                ("mochi", "encode", "parts of a clip"), ("mochi", "encode", "whole"),
                ("ltx_video: 2.3", "decode", "parts of a clip"), ("kvae_video", "decode", "whole"),
                ("vidtok", "encode", "parts of a clip")]  # fmt: skip


@pytest.mark.parametrize(("kind", "part", "way"), MORE_LAYOUTS)
def test_more_convolutions_are_channels_last(kind, part, way):
    """Transposed ones; and such of 1 x 1 pixel of one frame that is a view, whose strides may say anything."""
    demand_guard()
    with fake_cuda() as watch:
        weights = random_weights(*SMALL[kind], torch.bfloat16)
        vae = from_weights(weights, kind, torch.bfloat16, torch.device("cuda"))
        assert list_copied(see(watch, vae, kind, part, way)) == []


def test_a_run_in_fp32_waits_for_nothing():
    """Its upsampling is fused with the convolution after it."""
    calls = see_all("kl", torch.float32)
    assert not [where for (_, way), seen in calls.items() if way != "bands on disk" for where in seen.waits]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["kl", "wan", "dc_ae"])
def test_doublings_joined_in_half_precision(kind, dtype):
    """From weights of a file in fp32. That they are as they were is read once more, and before the run."""
    demand_guard()
    with fake_cuda() as watch:
        vae = from_weights(random_weights(*SMALL[kind]), kind, dtype, torch.device("cuda"))
        calls = [see(watch, vae, kind, "decode", way) for way in ("whole", "bands", "bands in system memory")]
    for seen in calls:
        assert not seen.waits and sum(seen.reads.values()) == READS["decode"] + 1
        assert seen.peak <= seen.plan.peak + STATISTICS
        assert not any(layout.op == "upsample_nearest2d" for layout in seen.layouts)
        assert list_copied(seen) == []


LIMIT = 2**31  # numbers that kernels of CUDA count with 32 bits


@pytest.mark.parametrize(("kind", "part"), [("kl", "decode"), pytest.param("wan", "encode", marks=slow)])
def test_no_tensor_has_more_numbers_than_kernels_can_count(kind, part):
    """Of an image and of a clip that would fit into memory whole."""
    size = (12288, 8192)
    weights = random_weights(*SMALL[kind], torch.bfloat16)
    demand_guard()
    with fake_cuda(free=2**50) as watch:
        vae = from_weights(weights, kind, torch.bfloat16, torch.device("cuda"))
        x = make_input(vae, kind, part, size)
        run_half(vae, part, x)
    assert watch.largest < LIMIT
