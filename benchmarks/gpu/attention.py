"""What does attention cost? With one wide head by each of torch's backends and in chunks; and to the nearest pixels."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu.clock import choose_half, measure_memory, median_ms
from gpu.rows import Row
from gpu.tasks import Setting, Task, describe

SHAPES = ((16384, 512), (4096, 512), (16384, 384), (4096, 384))  # tokens, width: of images of 1024 and 512 px
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
CHUNKS = (512, 1024, 2048, 4096)  # queries
COMPARED = 256  # queries
# Of LTX-2.5's decoder, 17 frames of 480 x 832: frames, rows, columns, heads, and channels of a head.
NEARBY, KERNEL = (17, 120, 208, 4, 64), (11, 11, 11)
BLOCKS = ((4, 8, 8), (8, 8, 8), (4, 4, 8), (4, 8, 16), (2, 8, 8), (4, 4, 4))  # of queries


def list_tasks(setting: Setting) -> Iterator[Task]:
    for tokens, width in ((256, 64),) if setting.tiny else SHAPES:
        labels = {"op": "attention", "shape": f"{tokens} tokens, one head of {width}"}
        yield Task(labels, partial(time_attention, tokens, width, setting.device), 4)
    shape, kernel = ((3, 9, 10, 1, 8), (3, 3, 3)) if setting.tiny else (NEARBY, KERNEL)
    if setting.tiny or setting.on_cuda:
        labels = {"op": "attention to the nearest", "shape": f"{_name(shape)}, windows of {_name(kernel)}"}
        yield Task(labels, partial(time_nearby, shape, kernel, setting.device), 8)


@torch.no_grad()
def time_attention(tokens: int, width: int, device: str) -> list[Row]:
    """A row for each way: milliseconds, TFLOP/s, MiB, and its error beside fp32."""
    q, k, v = (torch.randn((1, 1, tokens, width), device=device).to(choose_half(device)) for _ in range(3))
    true = F.scaled_dot_product_attention(q[..., :COMPARED, :].float(), k.float(), v.float())
    ways: dict[str, Callable[[], Tensor]] = {"as torch chooses": partial(F.scaled_dot_product_attention, q, k, v)}
    ways |= {name: partial(_call_backend, backend, q, k, v) for name, backend in BACKENDS.items()}
    ways |= {f"chunks of {n} queries": partial(attend_in_chunks, q, k, v, n) for n in CHUNKS if n <= tokens}
    return [{"way": way, **_time_way(work, true, 4.0 * tokens**2 * width, device)} for way, work in ways.items()]


def _time_way(work: Callable[[], Tensor], true: Tensor, flops: float, device: str) -> Row:
    try:
        ms = median_ms(work, device, cold=True)
        apart = (work()[..., :COMPARED, :].float() - true).square().mean().sqrt() / true.std()
    except Exception as e:
        return {"refused": describe(e)}
    memory = measure_memory(work, device)["allocated"]
    return {"ms": ms, "TFLOP/s": flops / ms / 1e9, "MiB": memory, "rms": apart.item()}


@torch.no_grad()
def time_nearby(shape: tuple[int, ...], kernel: tuple[int, ...], device: str) -> list[Row]:
    """A row for each size of blocks: milliseconds, TFLOP/s of what windows need, MiB, and its error beside fp32."""
    from exact_vae.vae_core.ops import attend_nearby

    def attend(*qkv: Tensor, block: tuple[int, ...]) -> Tensor:
        return attend_nearby(*qkv, kernel, block=block).flatten(0, 3)[None]

    q, k, v = (torch.randn(shape, device=device).to(choose_half(device)) for _ in range(3))
    true = attend(q.float(), k.float(), v.float(), block=BLOCKS[0])[:, :COMPARED]
    flops = 4.0 * q.numel() * math.prod(map(min, shape, kernel))
    return [
        {"way": f"blocks of {_name(block)}", **_time_way(partial(attend, q, k, v, block=block), true, flops, device)}
        for block in BLOCKS
    ]


def _name(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _call_backend(backend: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v)


def attend_in_chunks(q: Tensor, k: Tensor, v: Tensor, queries: int) -> Tensor:
    """The scores of some queries at a time, in fp32 where torch's product gives it, and their softmax."""
    made = torch.empty_like(q)
    keys, values = k[0, 0].T, v[0, 0]
    for some, place in zip(q[0, 0].split(queries), made[0, 0].split(queries), strict=True):
        scores = torch.mm(some * q.shape[-1] ** -0.5, keys)
        torch.mm(torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype), values, out=place)
    return made
