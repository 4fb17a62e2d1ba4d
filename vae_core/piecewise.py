"""Runs of a VAE whose pixels come or go piece by piece, an image by rows, a clip by frames: see the methods of VAE."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from . import inputs
from .devices.numerics import pin_each, without_grad
from .errors import BadRequest
from .execution import clips, streaming
from .execution.frames import Frames, StreamedClip
from .execution.ladder import Ladder
from .execution.options import RunOptions, share_options
from .execution.plans.plan import Plan
from .execution.progress import ProgressObserver
from .execution.rewrite.fuse import fuse
from .execution.run import demand_finite
from .families import ClipLaw, Config, Half
from .families.doubling import list_ops
from .families.registry import demand_part
from .images.plausible import demand_range
from .ops import Ops, as_single_frame
from .posterior import Posterior

Size = tuple[int, int]  # (H, W)


class Runner(inputs.VAELike, Protocol):
    """What these runs ask of a VAE, beside what the checks ask of it."""

    config: Config

    @property
    def clip_law(self) -> ClipLaw | None: ...
    @property
    def spatial_ratio(self) -> int: ...
    def decoded_size(self, size: Size) -> Size: ...
    def encode(self, pixels: Tensor, *, options: RunOptions) -> Posterior: ...
    def decode(self, z: Tensor, *, size: Size | None, options: RunOptions) -> Tensor: ...
    def _find_detour(self, half: Half) -> Any: ...
    def _ladder(self, half: Half, shape: Sequence[int], options: RunOptions, ops: Ops, **how: bool) -> Ladder: ...
    def _undo_latent(self, x: Tensor) -> Tensor: ...
    def _make_posterior(self, z: Tensor, size: Size, folding: inputs.Folding) -> Posterior: ...


def encode_rows(vae: Runner, source: streaming.PixelRows, options: RunOptions) -> Posterior:
    """See `VAE.encode_rows`; options without tiles."""
    options = inputs.demand_no_tiles(options)
    demand_part(vae.config, vae.name, Half.ENCODER)
    if detour := vae._find_detour(Half.ENCODER):
        return detour.vae.encode_rows(source, options=detour.adapt(options))
    _, h, w = inputs.check_rows(vae, source)
    shape = (1, *source.shape)
    if isinstance(inputs.choose_folding(vae.clip_law, shape), inputs.ImagesAsClips):
        image = streaming.StreamedImage(source, 1, vae.device, vae.dtype, demand_range).tensor()
        return vae.encode(image, options=options)
    image = streaming.StreamedImage(source, vae.spatial_ratio, vae.device, vae.dtype, demand_range)

    ops = list_ops(vae.network, Half.ENCODER)

    def attempt(plan: Plan, observer: ProgressObserver) -> Tensor:
        return streaming.encode(fuse(as_single_frame(ops)), image, plan, observer)

    z = vae._ladder(Half.ENCODER, shape, options, ops, streamed=True).run(attempt)
    return vae._make_posterior(z, (h, w), inputs.Folding())


def decode_rows(vae: Runner, z: Tensor, size: Size | None, options: RunOptions) -> Iterator[Tensor]:
    """See `VAE.decode_rows`; options without tiles."""
    options = inputs.demand_no_tiles(options)
    demand_part(vae.config, vae.name, Half.DECODER)
    if detour := vae._find_detour(Half.DECODER):
        return detour.vae.decode_rows(z, size=size, options=detour.adapt(options))
    _, folding = inputs.check_latent(vae, z, size)
    if isinstance(folding, inputs.ImagesAsClips) and len(z) == 1:
        image = vae.decode(z, size=size, options=options)
        return iter(image[0].split(streaming.STRIP, -2))
    x = folding.fold(z)
    if len(x) != 1 or x.ndim != 4:
        raise BadRequest(
            f"rows can be decoded of one image, not of a latent of shape {tuple(z.shape)}: give them one by one."
        )

    ops = list_ops(vae.network, Half.DECODER)

    def attempt(plan: Plan, observer: ProgressObserver) -> Generator[Tensor, None, None]:
        return _decode_bands(vae, ops, x, plan, observer, size)

    return pin_each(vae._ladder(Half.DECODER, x.shape, options, ops, streamed=True).stream(attempt))


@without_grad
def _decode_bands(
    vae: Runner, ops: Ops, x: Tensor, plan: Plan, observer: ProgressObserver, size: Size | None
) -> Generator[Tensor, None, None]:
    left = vae.decoded_size(size) if size else None
    bands = streaming.decode(fuse(as_single_frame(ops)), vae._undo_latent(x), plan, observer, left)
    yield from map(partial(_take_band, vae), bands)  # a variable here would hold the last one while the next is made


def _take_band(vae: Runner, band: Tensor) -> Tensor:
    """(1, C, n, W) -> (C, n, W)"""
    demand_finite(vae, band, Half.DECODER)
    return band[0]


def encode_frames(vae: Runner, source: Frames, options: RunOptions) -> Posterior:
    """See `VAE.encode_frames`; options without tiles."""
    options = inputs.demand_no_tiles(options)
    demand_part(vae.config, vae.name, Half.ENCODER)
    if detour := vae._find_detour(Half.ENCODER):
        return detour.vae.encode_frames(source, options=detour.adapt(options))
    c, frames, h, w = inputs.check_frames(vae, source)
    shape = (1, c, frames, h, w)
    folding = inputs.choose_folding(vae.clip_law, shape)
    if type(folding) is inputs.Folding:
        z = _encode_parts(vae, source, shape, options)
    else:
        z = _encode_each(vae, source, options)
    return vae._make_posterior(z, (h, w), folding)


def _encode_parts(vae: Runner, source: Frames, shape: tuple[int, ...], options: RunOptions) -> Tensor:
    """(1, C', T', h, w)"""
    clip = StreamedClip(source, vae.spatial_ratio, vae.clip_law, vae.device, vae.dtype, demand_range)
    ops = list_ops(vae.network, Half.ENCODER)

    def attempt(plan: Plan, observer: ProgressObserver) -> Tensor:
        parts = clips.stream(fuse(ops), clip.parts(plan.frames, plan.begins), plan, observer, vae.device)
        return _join(parts, plan.shape[0]).transpose(0, 1)[None]

    return vae._ladder(Half.ENCODER, shape, options, ops, streamed=True).run(attempt)


def _encode_each(vae: Runner, source: Frames, options: RunOptions) -> Tensor:
    """Every frame is an image: (T, C', h, w), or (1, C', T', h, w) of a clip of one frame."""
    c, frames, h, w = source.shape
    clip = StreamedClip(source, 1, None, vae.device, vae.dtype, demand_range)
    one = inputs.choose_folding(vae.clip_law, (1, c, 1, h, w))
    shape = (frames, *one.fold_shape((1, c, 1, h, w))[1:])
    ops = list_ops(vae.network, Half.ENCODER)

    def attempt(plan: Plan, observer: ProgressObserver) -> Tensor:
        images = (one.fold(frame.transpose(0, 1)[None]) for frame in clip.parts(1))
        runs = (clips.run_batch(ops, x, plan, observer, vae.clip_law, vae.spatial_ratio) for x in images)
        return _join(runs, frames)

    return vae._ladder(Half.ENCODER, shape, options, ops, apart=True).run(attempt)


def _join(parts: Iterable[Tensor], count: int) -> Tensor:
    """The parts, (n, ...) each, as one tensor (count, ...). A part lives until it has been copied."""
    whole, at = torch.empty(0), 0
    for part in parts:
        whole = whole if at else part.new_empty((count, *part.shape[1:]))
        whole[at : at + len(part)].copy_(part)
        at += len(part)
        del part
    return whole


def decode_frames(vae: Runner, z: Tensor, size: Size | None, options: RunOptions) -> Iterator[Tensor]:
    """See `VAE.decode_frames`; options without tiles."""
    options = inputs.demand_no_tiles(options)
    demand_part(vae.config, vae.name, Half.DECODER)
    if detour := vae._find_detour(Half.DECODER):
        return detour.vae.decode_frames(z, size=size, options=detour.adapt(options))
    _, folding = inputs.check_latent(vae, z, size)
    if z.ndim == 5 and len(z) != 1:
        raise BadRequest(f"frames can be decoded of one clip, not of {len(z)}: give them one by one.")
    if z.ndim == 4 or type(folding) is not inputs.Folding:
        images = z if z.ndim == 4 else z[0].transpose(0, 1)
        return pin_each(_decode_each(vae, images, size, options))

    ops = list_ops(vae.network, Half.DECODER)

    def attempt(plan: Plan, observer: ProgressObserver) -> Generator[Tensor, None, None]:
        return _decode_parts(vae, ops, z, plan, observer, size)

    return pin_each(vae._ladder(Half.DECODER, z.shape, options, ops, streamed=True).stream(attempt))


@without_grad
def _decode_parts(
    vae: Runner, ops: Ops, x: Tensor, plan: Plan, observer: ProgressObserver, size: Size | None
) -> Generator[Tensor, None, None]:
    latent = vae._undo_latent(x)[0].transpose(0, 1)
    h, w = vae.decoded_size(size) if size else plan.shape[-2:]
    split = clips.split(latent, plan.frames, begins=plan.begins)
    yield from map(partial(_take_part, vae, h, w), clips.stream(fuse(ops), split, plan, observer, vae.device))


def _take_part(vae: Runner, h: int, w: int, part: Tensor) -> Tensor:
    """(T, C, H, W) -> (C, T, h, w)"""
    demand_finite(vae, part, Half.DECODER)
    return part[..., :h, :w].transpose(0, 1)


def _decode_each(vae: Runner, images: Tensor, size: Size | None, options: RunOptions) -> Generator[Tensor, None, None]:
    for latent, how in zip(images.split(1), share_options(options, len(images)), strict=True):
        yield vae.decode(latent, size=size, options=how).transpose(0, 1)
