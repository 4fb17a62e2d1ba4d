"""Plans for a VAE: how it would encode or decode a request, under a budget or in the memory that is free now."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from numbers import Integral
from typing import Any

import torch

from ...errors import BadRequest, DoesNotFit
from ...families import ClipLaw, Config, Half, Network
from ...families.doubling import Joined, list_planned_ops
from ...families.registry import build, clip_law
from ...ops import Conv3d, Nest, Ops, as_single_frame, unfolds, walk
from .. import whole
from ..options import DEFAULTS, RunOptions
from ..rewrite.fuse import fuse
from . import budget as memory
from . import scratch
from .clip_request import ClipRequest
from .fitting import add_scores, propose_fitting
from .limits import find_limit
from .places import DEVICE, DISK, SYSTEM
from .plan import Plan
from .request import Request
from .shapes import ShapesOnly


def make_request(
    family: str,
    config: Config,
    half: Half,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    *,
    streamed: bool = False,
    masked: bool = False,
    joined: Joined = (),
    apart: bool = False,
    copied: int = 0,
    device: torch.device | None = None,
) -> Request:
    """To encode pixels or decode a latent of this shape, (B, C, H, W) or (B, C, T, H, W); C is the config's own.

    streamed  the image comes or goes row by row, the clip by its frames
    masked    decode beside an image and its mask
    joined    in half precision: what each doubling is joined to, see `find_joined`
    apart     images come one after the other, and what becomes of each is kept
    copied    bytes of the largest weight that is laid out anew before the run, see `count_copied`
    device    that it is for, if what its convolutions take beside tensors is to be counted
    Raises DoesNotFit for more pixels than can be counted, BadRequest for what is no such shape.
    """
    shape = demand_shape(shape)
    unfolded = device is not None and unfolds(device)
    return _make_request(family, config, half, shape, dtype, streamed, masked, joined, apart, copied, unfolded)


def demand_shape(shape: object) -> tuple[int, ...]:
    """The shape itself. Raises BadRequest for what is none of (B, C, H, W) or (B, C, T, H, W), as a tensor."""
    found: tuple[Any, ...] = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, torch.Tensor) else ()
    if len(found) not in (4, 5) or not all(isinstance(n, Integral) and int(n) > 0 for n in found):
        said = "a tensor" if isinstance(shape, torch.Tensor) else f"the shape {str(found or shape)[:60]}"
        needed = "(B, C, H, W), or (B, C, T, H, W) of clips, in whole numbers of 1 or more"
        raise BadRequest(f"there is no plan for {said}: give {needed}.")
    return found


@lru_cache(maxsize=32)
def _make_request(
    family: str, config: Config, half: Half, shape: tuple[int, ...], dtype: torch.dtype,
    streamed: bool, masked: bool, joined: Joined, apart: bool = False, copied: int = 0, unfolded: bool = False,
) -> Request:  # fmt: skip
    twin = _build_twin(family, config, dtype)
    law = twin.clip_law
    if len(shape) == 4 and law and law.images_are_clips:
        shape = (*shape[:2], 1, *shape[2:])
    with _counting_on_meta(half, shape):
        if len(shape) == 5 and law and law.runs_clip(shape):
            clips = _request_clips(twin, law, config, half, shape, dtype, streamed, joined)
            clips.copied, clips.unfolds = copied, unfolded
            return clips
        batch = math.prod((shape[0], *shape[2:-2]))
        size = _find_size(config, half, shape)
        if half is Half.ENCODER:
            found = _request_encoding(twin, config, 1 if apart else batch, size, dtype, streamed)
            found.others = batch if apart and batch > 1 else 0
        else:
            found = _request_decoding(twin, config, batch, size, dtype, streamed, masked, joined)
        found.copied, found.unfolds = copied, unfolded
        found.bands_first = config.image_size is None and not _sees_tiles_at_once(found.ops)
        return found


def _sees_tiles_at_once(ops: Ops) -> bool:
    """Does a transformer see all of a tile? It needs more in bands, as one does that sees its image at once."""
    return any(isinstance(op, Nest) and op.ratio == (1, 1) for op in walk(ops))


@lru_cache(maxsize=8)
def _build_twin(family: str, config: Config, dtype: torch.dtype) -> Network:
    """The network on the meta device, for requests of every shape. Nobody changes it.

    Its weights lie as a run lays them out for good, which is no memory of one run.
    """
    twin = build(family, config).to(dtype)
    for conv in twin.modules():
        if isinstance(conv, Conv3d):
            conv.taps()
    return twin


def _request_clips(
    twin: Network, law: ClipLaw, config: Config, half: Half, shape: tuple[int, ...], dtype: torch.dtype, streamed: bool,
    joined: Joined,
) -> ClipRequest:  # fmt: skip
    """shape: (B, C, T, H, W)"""
    clips, _, t, *size = shape
    if half is Half.DECODER:
        z = torch.empty(t, config.latent_channels, *size, dtype=dtype)
        goes = "result" if streamed else None
        ops = fuse(list_planned_ops(twin, half, joined))
        chunk, joins = law.next_latents * law.steps_at_once, law.first_latents
        return ClipRequest(ops, z, config.spatial_ratio, clips, 1, 1, 1, goes, chunk, joins if law.part else None)
    padded = _pad_size(size, config.spatial_ratio)
    pixels = torch.empty(t + law.missing(t), config.in_channels, *padded, dtype=dtype)
    copies = 2 if law.missing(t) or padded != tuple(size) else 1
    comes, chunk, joins = "input" if streamed else None, law.step * law.steps_at_once, law.first if law.part else None
    return ClipRequest(fuse(twin.encode_ops()), pixels, 1, clips, law.first, law.step, copies, comes, chunk, joins)


def _request_encoding(
    twin: Network, config: Config, batch: int, size: tuple[int, int], dtype: torch.dtype, streamed: bool
) -> Request:
    pixels = torch.empty(batch, config.in_channels, *_pad_size(size, config.spatial_ratio), dtype=dtype)
    return Request(fuse(as_single_frame(twin.encode_ops())), pixels, 1, streamed="input" if streamed else None)


def _request_decoding(
    twin: Network, config: Config, batch: int, size: tuple[int, int], dtype: torch.dtype, streamed: bool, masked: bool,
    joined: Joined,
) -> Request:  # fmt: skip
    z = whole.run(twin.from_latent_ops(), torch.empty(batch, config.latent_channels, *size, dtype=dtype))
    ratio = config.spatial_ratio
    scale = config.decoded_ratio * size[0] // z.shape[-2]
    if masked:
        side_input = torch.empty(batch, config.out_channels + 1, ratio * size[0], ratio * size[1], dtype=dtype)
        ops = fuse(list_planned_ops(twin, Half.DECODER, joined, masked))
        return Request(ops, z, scale, side_input=side_input)
    ops = fuse(as_single_frame(list_planned_ops(twin, Half.DECODER, joined)))
    return Request(ops, z, scale, streamed="result" if streamed else None)


def _find_size(config: Config, half: Half, shape: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) of what is run: as asked, or of the only images that there are to this VAE."""
    side = config.image_size
    if not side:
        return shape[-2], shape[-1]
    n = side if half is Half.ENCODER else side // config.spatial_ratio
    return n, n


def _pad_size(size: Sequence[int], ratio: int) -> tuple[int, int]:
    """(H, W) of pixels, continued to multiples of the ratio."""
    h, w = (n + -n % ratio for n in size)
    return h, w


def count_latent_frames(family: str, config: Config, frames: int) -> int:
    """Frames of the latent of a clip of so many. If frames are images to this VAE, as a single one is: as many."""
    law = clip_law(family, config)
    return law.latents(frames) if law and frames > 1 else frames


def choose_plan(request: Request, device: torch.device, options: RunOptions = DEFAULTS, *, what: str) -> Plan:
    """The fastest way to run the request that fits, by the budget, rows and keep of the options.

    what: the run in words, for the error: "decoding 1 x 512x512 with 'ae.safetensors'".
    Raises DoesNotFit.
    """
    return next(choose_plans(request, device, options, what=what))


def choose_plans(
    request: Request, device: torch.device, options: RunOptions = DEFAULTS, *, what: str
) -> Iterator[Plan]:
    """All ways to run the request that fit, the fastest first. Raises DoesNotFit at once if there is none."""
    plans = _choose_plans(request, device, options, what)
    return chain([next(plans)], plans)


def _choose_plans(request: Request, device: torch.device, options: RunOptions, what: str) -> Iterator[Plan]:
    on_cpu = device.type == "cpu"
    keep = DEVICE if options.keep == SYSTEM and memory.shares_memory(device) else options.keep
    with _raising_overflow(what):
        budget, limit = read_budget(device, options.budget), find_limit(device, request.x.dtype)
        ways = {"rows": options.rows, "keep": keep, "on_cpu": on_cpu, "limit": limit}
        yield from propose_fitting(request, budget, FreeElsewhere(device), **ways, what=what, advice=options.advice)


def list_plans(request: Request, device: torch.device) -> list[Plan]:
    """All that `choose_plan` chooses from if neither rows nor keep are given, the fastest first."""
    limit = find_limit(device, request.x.dtype)
    plans = request.propose(FreeElsewhere(device), on_cpu=device.type == "cpu")
    return [add_scores(plan, limit) for plan in plans if plan.largest < limit.numbers]


def read_budget(device: torch.device, budget: int | str | None) -> int:
    """Bytes that a plan may use on the device: the budget, or what is free now. Raises BadRequest."""
    return memory.free(device) if budget is None else memory.parse(budget)


class FreeElsewhere(Mapping[str, int]):
    """Bytes that are free beside a device, by place. They are looked up only for a plan that would use them.

    The system memory is a CPU's own, and that of GPUs that share it, so beside it only the disk is left.
    """

    def __init__(self, device: torch.device):
        self.places = (DISK,) if memory.shares_memory(device) else (SYSTEM, DISK)

    def __getitem__(self, place: str) -> int:
        if place not in self.places:
            raise KeyError(place)
        return scratch.free() if place == DISK else memory.free(torch.device("cpu"))

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


@contextmanager
def _counting_on_meta(half: Half, shape: tuple[int, ...]) -> Iterator[None]:
    """Tensors are made without numbers. Raises DoesNotFit for more of them than can be counted."""
    batch = math.prod((shape[0], *shape[2:-2]))
    what = f"to {half.verb} {batch} x {shape[-1]}x{shape[-2]}"
    with torch.device("meta"), torch.no_grad(), ShapesOnly(), _raising_overflow(what):
        yield


@contextmanager
def _raising_overflow(what: str) -> Iterator[None]:
    """Torch counts bytes to 2**63, on the meta device too; attention has as many as the square of the pixels."""
    try:
        yield
    except (RuntimeError, TypeError) as e:
        if "overflow" not in str(e).lower():
            raise
        raise DoesNotFit(f"{what} is more than can be counted: check the size.") from e
