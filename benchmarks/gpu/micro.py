"""What do single ops cost on the device? Layouts, biases, upsampling, norms and attention at the decoders' shapes."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu.attention import list_tasks as list_attention_tasks
from gpu.clock import measure_memory, median_ms
from gpu.flags import set_tf32
from gpu.rows import Row
from gpu.tasks import Setting, Task, describe

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TAPS = 3
COMPARED, BAND = 6, 16  # bands of so many rows of a result are compared with float64, from the first rows to the last
GROUPS = 32
EPS = 1e-6


class Shape(NamedTuple):
    """Of a convolution in a decoder at 1024 px, or of a clip's at 480 x 832: channels in and out, (T,) H and W."""

    c_in: int
    c_out: int
    space: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.c_in} -> {self.c_out}, {'x'.join(map(str, self.space))}"


Ways = dict[str, Callable[[], object]]
Work = Callable[[Shape, str, torch.dtype], list[Row]]

SD_SHAPES = (
    Shape(128, 128, (1024, 1024)),
    Shape(256, 256, (512, 512)),
    Shape(512, 512, (256, 256)),
    Shape(512, 512, (128, 128)),
    Shape(256, 128, (1024, 1024)),
    Shape(512, 256, (512, 512)),
    Shape(128, 3, (1024, 1024)),
)
WAN_SHAPES = (
    Shape(96, 96, (4, 480, 832)),
    Shape(192, 192, (4, 240, 416)),
    Shape(96, 96, (16, 480, 832)),  # large enough for the fault that is gone around
    Shape(384, 384, (2, 120, 208)),
)
DOUBLED = (Shape(512, 512, (128, 128)), Shape(512, 512, (256, 256)), Shape(256, 256, (512, 512)))
NORMED = (Shape(128, 128, (1024, 1024)), Shape(256, 256, (512, 512)), Shape(512, 512, (256, 256)))
TINY = Shape(64, 64, (16, 16))
TINY_CLIP = Shape(32, 32, (4, 16, 16))


def list_tasks(setting: Setting) -> Iterator[Task]:
    """The most telling first: each kind at its largest shape, then the others."""
    tiny = setting.tiny
    clips = (TINY_CLIP,) if tiny else WAN_SHAPES
    kinds = [
        _list_tasks_of("convolution", time_convolutions, (TINY,) if tiny else SD_SHAPES, setting),
        _list_tasks_of("norm", time_norms, (TINY,) if tiny else NORMED, setting),
        _list_tasks_of("upsampling", time_upsampling, (TINY,) if tiny else DOUBLED, setting),
        _list_tasks_of("convolution of a clip", time_clip_convolutions, clips, setting),
        list(list_attention_tasks(setting)),
        _list_tasks_in_others(setting),
    ]
    yield from (tasks.pop(0) for _ in range(max(map(len, kinds))) for tasks in kinds if tasks)


def _list_tasks_of(title: str, work: Work, shapes: tuple[Shape, ...], setting: Setting, dtype: str = "") -> list[Task]:
    dtype = dtype or setting.half
    call = partial(_call_without_tf32, work, device=setting.device, dtype=DTYPES[dtype])
    return [Task({"op": title, "shape": str(shape), "dtype": dtype}, partial(call, shape)) for shape in shapes]


def _list_tasks_in_others(setting: Setting) -> list[Task]:
    """What cards without bf16 depend on: layouts and upsampling in fp16 and fp32, at one shape each."""
    kinds = (
        ("convolution", time_convolutions, SD_SHAPES[1], TINY),
        ("convolution of a clip", time_clip_convolutions, WAN_SHAPES[1], TINY_CLIP),
        ("upsampling", time_upsampling, DOUBLED[1], TINY),
    )
    return [
        task
        for title, work, shape, tiny in kinds
        for dtype in ("fp32", "fp16")
        if dtype != setting.half and (setting.on_cuda or dtype != "fp16")
        for task in _list_tasks_of(title, work, (tiny if setting.tiny else shape,), setting, dtype)
    ]


@torch.no_grad()
def _call_without_tf32(work: Work, shape: Shape, device: str, dtype: torch.dtype) -> list[Row]:
    """fp32 is what is meant by it; torch allows TF32 to convolutions."""
    with set_tf32(False):
        return work(shape, device, dtype)


def time_ways(ways: Ways, device: str, flops: float = 0.0, check: Callable[[Any], Row] = lambda y: {}) -> list[Row]:
    """A row for each way to do the same: milliseconds, TFLOP/s, MiB beside what it reads, and what a check says."""
    return [{"way": way, **_time_way(work, device, flops, check)} for way, work in ways.items()]


def _time_way(work: Callable[[], object], device: str, flops: float, check: Callable[[Any], Row]) -> Row:
    try:
        ms = median_ms(work, device, cold=True)
        rate = {"TFLOP/s": flops / ms / 1e9} if flops else {}
        return {"ms": ms, **rate, "MiB": measure_memory(work, device)["allocated"], **check(work())}
    except Exception as e:
        return {"error": describe(e)}


def time_convolutions(shape: Shape, device: str, dtype: torch.dtype) -> list[Row]:
    """Of images: every layout, with and without a bias that is added apart, and with cuDNN's own search."""
    flops = 2.0 * shape.c_in * shape.c_out * TAPS**2 * math.prod(shape.space)
    ways: Ways = {}
    for layout, (x, w) in _list_layouts(shape, device, dtype).items():
        bias = torch.randn(shape.c_out, device=device, dtype=dtype)
        ways[f"{layout}, no bias"] = partial(F.conv2d, x, w, padding=1)
        ways[f"{layout}, bias"] = partial(F.conv2d, x, w, bias, padding=1)
        ways[f"{layout}, bias, benchmark"] = partial(_call_in_benchmark_mode, ways[f"{layout}, bias"])
    return time_ways(ways, device, flops)


def time_clip_convolutions(shape: Shape, device: str, dtype: torch.dtype) -> list[Row]:
    """Of clips: `conv3d` in every layout, as ours call it, and by convolutions of images; and how wrong they are.

    'frames in channels' is the way around the versions of cuDNN that ops/faults.py names: has ours their fault at all?
    """
    from exact_vae.vae_core.ops import clip_conv

    flops = 2.0 * shape.c_in * shape.c_out * TAPS**3 * math.prod(shape.space)
    ways: Ways = {}
    layouts = _list_layouts(shape, device, dtype)
    for layout, (x, w) in layouts.items():
        ways[f"conv3d, {layout}"] = partial(_convolve_clip, x, w)
    x, w = layouts["NHWC x and w"]
    frames = x[0].transpose(0, 1).contiguous(memory_format=LAST[4])
    direct, apart = _make_conv(w), _make_conv(w)
    clip_conv.lay_out_weight(direct.weight, clip_conv.CHANNELS_LAST_3D)
    ways["conv3d NDHWC direct"] = partial(clip_conv._convolve_directly, direct, frames, (0, 1, 1))
    ways["frames in channels"] = partial(clip_conv._convolve_frames, apart, frames, (1, 1))
    taps = [tap.contiguous(memory_format=LAST[4]) for tap in w.unbind(2)]
    ways["tap by tap, NHWC"] = partial(_convolve_tap_by_tap, frames, taps)
    return time_ways(ways, device, flops, partial(_compare_bands, _compute_bands(frames, w)))


def _convolve_clip(x: Tensor, w: Tensor) -> Tensor:
    """(1, C, T, H, W) -> (T', C', H, W)"""
    return F.conv3d(x, w, padding=(0, 1, 1))[0].transpose(0, 1)


def _make_conv(w: Tensor) -> nn.Conv3d:
    conv = nn.Conv3d(w.shape[1], w.shape[0], TAPS, bias=False, device="meta")
    conv.weight = nn.Parameter(w.clone(), requires_grad=False)
    return conv


def _compute_bands(frames: Tensor, w: Tensor) -> dict[int, Tensor]:
    """Bands of the result in float64, by their first rows: from the top of the image to its end."""
    x, rows = frames.transpose(0, 1)[None], frames.shape[-2]
    bands = {}
    for first in {round(i * max(0, rows - BAND) / (COMPARED - 1)) for i in range(COMPARED)}:
        above, below = max(0, first - 1), min(rows, first + BAND + 1)
        made = _convolve_clip(x[..., above:below, :].double(), w.double())
        bands[first] = made[..., first - above :, :][..., :BAND, :]
    return bands


def _compare_bands(bands: dict[int, Tensor], y: Tensor) -> Row:
    """Errors of y beside them, in standard deviations: root mean square, and the largest."""
    apart = [(y[..., first : first + true.shape[-2], :].double() - true) / true.std() for first, true in bands.items()]
    mean = sum(one.square().mean().item() for one in apart) / len(apart)
    return {"rms": mean**0.5, "largest error": max(one.abs().max().item() for one in apart)}


def _list_layouts(shape: Shape, device: str, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """x and weight; of a clip x has the frames before it too."""
    before = (TAPS - 1,) if len(shape.space) == 3 else ()
    space = (*(n + more for n, more in zip(shape.space, before, strict=False)), *shape.space[len(before) :])
    x = torch.randn((1, shape.c_in, *space), device=device, dtype=dtype)
    w = torch.randn((shape.c_out, shape.c_in, *(TAPS,) * len(space)), device=device, dtype=dtype) / 64
    last = LAST[x.ndim]
    x_last, w_last = x.contiguous(memory_format=last), w.contiguous(memory_format=last)
    return {"NCHW": (x, w), "NHWC x": (x_last, w), "NHWC x and w": (x_last, w_last)}


def _call_in_benchmark_mode(work: Callable[[], object]) -> object:
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        return work()


def _convolve_tap_by_tap(frames: Tensor, taps: list[Tensor]) -> Tensor:
    n = len(frames) - len(taps) + 1
    y = F.conv2d(frames[:n], taps[0], padding=1)
    for i, tap in enumerate(taps[1:], 1):
        y += F.conv2d(frames[i : i + n], tap, padding=1)
    return y


def time_upsampling(shape: Shape, device: str, dtype: torch.dtype) -> list[Row]:
    """Nearest x2 and a 3 x 3 convolution, in one or in two. Rates count what the two do."""
    flops = 2.0 * shape.c_in * shape.c_out * TAPS**2 * math.prod(shape.space) * 4
    (x, w), (x_last, w_last) = (_list_layouts(shape, device, dtype)[name] for name in ("NCHW", "NHWC x and w"))
    up = _draw_weight((shape.c_in, shape.c_out, 4, 4), device, dtype)
    phases = [_draw_weight((shape.c_out, shape.c_in, 2, 2), device, dtype) for _ in range(4)]
    ways: Ways = {
        "upsample + conv, NCHW": partial(_double_and_convolve, x, w),
        "upsample + conv, NHWC": partial(_double_and_convolve, x_last, w_last),
        "transposed conv, NHWC": partial(F.conv_transpose2d, x_last, up, stride=2, padding=1),
        "transposed conv, NCHW": partial(F.conv_transpose2d, x, up.contiguous(), stride=2, padding=1),
        "four phases, NHWC": partial(_convolve_phases, x_last, phases),
        "one conv of four phases + shuffle, NHWC": partial(_convolve_and_shuffle, x_last, torch.cat(phases)),
    }
    return time_ways(ways, device, flops)


def _draw_weight(shape: tuple[int, ...], device: str, dtype: torch.dtype) -> Tensor:
    """In channels_last."""
    return (torch.randn(shape, device=device, dtype=dtype) / 64).contiguous(memory_format=LAST[4])


def _double_and_convolve(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), w, padding=1)


def _convolve_phases(x: Tensor, phases: list[Tensor]) -> Tensor:
    b, _, h, w = x.shape
    shape = (b, len(phases[0]), 2 * h, 2 * w)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=LAST[4])
    for i, phase in enumerate(phases):
        row, column = divmod(i, 2)
        made = F.conv2d(x, phase, padding=1)
        y[..., row::2, column::2] = made[..., row : row + h, column : column + w]
    return y


def _convolve_and_shuffle(x: Tensor, w: Tensor) -> Tensor:
    """As if all four phases looked at the same pixels: the time is that of the real thing, the numbers are not."""
    return F.pixel_shuffle(F.conv2d(x, w, padding=1)[..., 1:, 1:], 2)


def time_norms(shape: Shape, device: str, dtype: torch.dtype) -> list[Row]:
    """A group norm and a SiLU, and Wan's RMS norm, of what a convolution of this shape reads."""
    x = _list_layouts(shape, device, dtype)["NCHW"][0]
    x_last = x.contiguous(memory_format=LAST[4])
    weight, bias = (torch.randn(shape.c_in, device=device, dtype=dtype) for _ in range(2))
    norm = partial(F.group_norm, num_groups=GROUPS, weight=weight, bias=bias, eps=EPS)
    as_batch = partial(_normalize_as_batch, weight=weight, bias=bias)
    ways: Ways = {
        "group_norm, NCHW": partial(norm, x),
        "group_norm, NHWC": partial(norm, x_last),
        "group_norm + silu, NCHW": partial(_chain, x, norm),
        "group_norm + silu, NHWC": partial(_chain, x_last, norm),
        "statistics, NHWC": partial(_gather_statistics, x_last),
        "statistics, NCHW": partial(_gather_statistics, x),
        "statistics + batch_norm, NHWC": partial(as_batch, x_last),
        "statistics + batch_norm + silu, NHWC": partial(_chain, x_last, as_batch),
        "silu in place, NHWC": partial(F.silu, x_last.clone(), inplace=True),
        "RMS norm over channels, NHWC": partial(_normalize_root_mean_square, x_last, weight),
        "copy": partial(x_last.clone),
    }
    return [*time_ways(ways, device), _check_statistics(x_last)]


def _check_statistics(x: Tensor) -> Row:
    """Are torch's statistics those of the numbers: is its variance divided by their count, and how exact is it?"""
    mean, var = (t.double() for t in _gather_statistics(x))
    exact = x.double()
    apart = [mean - exact.mean((0, 2, 3)), var / exact.var((0, 2, 3), correction=0) - 1]
    return {"way": "statistics beside float64", "largest error": max(t.abs().max().item() for t in apart)}


def _chain(x: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
    return F.silu(norm(x), inplace=True)


def _gather_statistics(x: Tensor) -> tuple[Tensor, ...]:
    mean, var = (torch.zeros(x.shape[1], device=x.device) for _ in range(2))
    return torch.batch_norm_update_stats(x, mean, var, 0.0)


def _normalize_as_batch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A group norm by the statistics of channels: pooled, then a batch norm's arithmetic."""
    mean, var = (t.view(GROUPS, -1) for t in _gather_statistics(x))
    pooled = mean.mean(1, keepdim=True)
    spread = var.mean(1, keepdim=True) + (mean - pooled).square().mean(1, keepdim=True)
    means, variances = (t.expand_as(mean).flatten().contiguous() for t in (pooled, spread))
    return F.batch_norm(x, means, variances, weight.float(), bias.float(), eps=EPS)


def _normalize_root_mean_square(x: Tensor, weight: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    scale = (x.shape[1] ** 0.5 / size.clamp_min(EPS)).to(x.dtype)
    return x * scale * weight.view(1, -1, 1, 1)
