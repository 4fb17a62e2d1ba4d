"""A VAE: pixels to a posterior, a latent to pixels. Everything is checked at this door, nothing further in."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import dtypes, inputs
from .errors import BadPixels, BadRequest, DoesNotFit, NumericalOverflow, is_out_of_memory
from .execution import clips, streaming, whole
from .execution import tiles as blended
from .execution.plans import choose as planning
from .execution.plans.request import Plan
from .execution.progress import Progress, ProgressObserver
from .execution.rewrite.fuse import fuse
from .execution.run import result_dtype, run
from .execution.tiles import TilePlan, Tiles
from .families import Config, Facts, Network
from .families.registry import demand_part, title
from .images.padding import pad_frames, pad_to
from .ops import Ops, as_single_frame
from .posterior import Posterior

Budget = int | str | None
OnPlan = Callable[[Plan | TilePlan], None]  # told how it will be run, just before it is


class VAE(Facts):
    """An autoencoder with its weights; `load` makes it.

    family, config, name   which network it is, its sizes, and where it came from
    latent_space           whose latents it makes, a name in latents.SPACES; None if that is not known
    and the facts of the config, see Facts
    """

    def __init__(self, network: Network, family: str, config: Config, *, name: str,
                 dtype: torch.dtype, device: torch.device, latent_space: str | None = None):  # fmt: skip
        self.network, self.family, self.config, self.name = network, family, config, name
        self.latent_space = latent_space
        self._dtype, self._device = dtype, device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next((p.dtype for p in self.network.parameters()), self._dtype)

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), self._device)

    @property
    def title(self) -> str:
        """'Autoencoder-KL (2-D), 4 channels at 1/8: SD 1.x, ... or SDXL, ...'"""
        return title(self.family, self.config)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"VAE('{self.name}': {self.title}; {dtype} on {self.device})"

    def encode(self, pixels: Tensor, *, budget: Budget = None, rows: int | None = None, keep: str | None = None,
               tiles: Tiles | None = None, on_plan: OnPlan | None = None,
               progress: Progress | None = None) -> Posterior:  # fmt: skip
        """pixels (B, C, H, W), or frames (B, C, T, H, W), in [-1, 1] -> the posterior of their latents.

        A VAE of clips makes one latent of the frames, continued with the last one to a number it can encode; any other
        one of each.
        Any size: an image that is no multiple of the ratio is continued at its right and lower edge (mirrored), and
        `posterior.size` remembers what to crop to. `progress(done, total)` counts work, and may raise to stop.
        budget, rows, keep: how much memory to use and how, see `plan`; they do not change the result but for rounding.
        tiles: run it in tiles that are blended, see `execution.blended`: approximate. The budget is then one tile's.
        on_plan: told the plan just before the run; `str` of it is for people.
        Raises BadPixels, NumericalOverflow, DoesNotFit, and BadRequest if the file held no encoder.
        """
        demand_part(self.config, self.name, "encode")
        x, frames = inputs.images(self, pixels)
        size = (x.shape[-2], x.shape[-1])
        one = partial(self._encoded, budget=budget, rows=rows, keep=keep)
        one = partial(blended.run, one, tiles, self.spatial_ratio, cell=self.spatial_ratio) if tiles else one
        return self._posterior(one(x, on_plan=on_plan, progress=progress), size, frames)

    def decode(self, z: Tensor, *, size: tuple[int, int] | None = None, image: Tensor | None = None,
               mask: Tensor | None = None, budget: Budget = None, rows: int | None = None, keep: str | None = None,
               tiles: Tiles | None = None, on_plan: OnPlan | None = None,
               progress: Progress | None = None) -> Tensor:  # fmt: skip
        """z (B, latent_channels, h, w), or (B, latent_channels, T, h, w) -> pixels, about [-1, 1], not clamped.

        size: (H, W) that was encoded, as `posterior.size` gives it, to crop to. fp32 at least. Other arguments as in
        `encode`. z of clips is decoded to as many frames as the family makes of it, but z of one frame always to one.
        image, mask: for the family 'asymmetric', both or neither: pixels (B, C, H, W) in [-1, 1] of the size z was
        encoded from, and (B, 1, H, W) in [0, 1], 0 where the decoder is to keep to the image, 1 where to z alone.
        Raises LatentMismatch, NumericalOverflow, DoesNotFit, BadPixels, and BadRequest if the file held no decoder.
        """
        demand_part(self.config, self.name, "decode")
        x, frames = inputs.latent(self, z, size)
        side_input = inputs.side_input(self, image, mask, x)
        if tiles and side_input is not None:
            raise BadRequest("blended tiles are decoded without an image and a mask: leave the tiles or these away.")
        one = partial(self._decoded, side_input=side_input, budget=budget, rows=rows, keep=keep)
        one = partial(blended.run, one, tiles, self.decoded_ratio, cell=1) if tiles else one
        x = one(x, on_plan=on_plan, progress=progress)
        h, w = self.decoded_size(size) if size else x.shape[-2:]
        x = x[..., :h, :w]
        return whole.run(inputs.unfolded(frames), x)

    def encode_rows(self, source: streaming.PixelRows, *, budget: Budget = None, rows: int | None = None,
                    keep: str | None = None, progress: Progress | None = None) -> Posterior:  # fmt: skip
        """An image that is read band by band -> the posterior of its latent, as `encode` gives it for all its pixels.

        The pixels are in memory as a whole only if the plan is to run whole, or if an image is run as a clip of
        several frames (HunyuanImage 3.0). `source` may be read more than once.
        Arguments and errors as in `encode`; whatever the source raises passes as it is.
        """
        demand_part(self.config, self.name, "encode")
        c, h, w = source.shape
        if c != self.in_channels or min(h, w) < 1:
            raise BadPixels(f"this image is ({c}, {h}, {w}): '{self.name}' encodes ({self.in_channels}, H, W).")
        if self.network.images_are_clips:  # it is a clip of several frames that is run
            image = streaming.StreamedImage(source, 1, self.device, self.dtype, inputs.demand_in_range).tensor()
            return self.encode(image, budget=budget, rows=rows, keep=keep, progress=progress)
        plan = self.plan("encode", (1, *source.shape), budget=budget, rows=rows, keep=keep, streamed=True)
        observer = ProgressObserver(self.network, plan, 1, progress)
        with self._memory("encoding", (1, *source.shape), observer):
            image = streaming.StreamedImage(source, self.spatial_ratio, self.device, self.dtype, inputs.demand_in_range)
            z = streaming.encode(fuse(as_single_frame(self.network.encode_ops())), image, plan, observer)
            observer.end_run()
        return self._posterior(z, (h, w), None)

    def decode_rows(self, z: Tensor, *, size: tuple[int, int] | None = None, budget: Budget = None,
                    rows: int | None = None, keep: str | None = None, progress: Progress | None = None
                    ) -> Iterator[Tensor]:  # fmt: skip
        """z of one image, (1, latent_channels, h, w) -> bands of its pixels (C, n, W) from the top, of any heights.

        Together they are what `decode` gives. They are in memory as a whole only if the plan is to run whole, or as in
        `encode_rows`. Closing the iterator early gives back what is held. Arguments and errors as in `decode`, all
        raised at the call but for NumericalOverflow, which comes with the band that is not finite, and running out of
        memory.
        """
        demand_part(self.config, self.name, "decode")
        x, _ = inputs.latent(self, z, size)
        if self.network.images_are_clips and z.ndim == 4 and len(z) == 1:
            image = self.decode(z, size=size, budget=budget, rows=rows, keep=keep, progress=progress)
            return iter(image[0].split(streaming.HEIGHTS[0], -2))
        if len(x) != 1 or x.ndim != 4:
            raise BadRequest(
                f"rows can be decoded of one image, not of a latent of shape {tuple(z.shape)}: give them one by one."
            )
        plan = self.plan("decode", x.shape, budget=budget, rows=rows, keep=keep, streamed=True)
        return self._decoded_rows(x, plan, ProgressObserver(self.network, plan, 1, progress), size)

    @torch.no_grad()
    def _decoded_rows(
        self, x: Tensor, plan: Plan, observer: ProgressObserver, size: tuple[int, int] | None
    ) -> Iterator[Tensor]:
        with self._memory("decoding", x.shape, observer):
            ops = fuse(self.network.decode_ops())
            left = self.decoded_size(size) if size else None
            for band in streaming.decode(ops, self._from_latent(x), plan, observer, left):
                self._demand_finite(band, "the latent", "decode")
                yield band[0]
            observer.end_run()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "VAE":
        """Move or cast the weights, in place as torch does. Statistics of a latent space stay fp32 at least."""
        self._device = torch.device(device) if device else self._device
        self._dtype = dtype or self._dtype
        self.network.to(self._device)
        if dtype:
            exact = dtypes.at_least_fp32(dtype)
            for parameter in self.network.parameters():
                parameter.data = parameter.data.to(dtype)
            for buffer in self.network.buffers():
                buffer.data = buffer.data.to(exact)
        return self

    def plan(self, part: str, shape: Sequence[int], *, masked: bool = False, budget: Budget = None,
             rows: int | None = None, keep: str | None = None, streamed: bool = False) -> Plan:  # fmt: skip
        """How this VAE would 'encode' pixels or 'decode' a latent of this shape: the fastest way that fits.

        shape     (B, C, H, W) or (B, C, T, H, W); C is the VAE's own, whatever is given
        masked    decode with an image and a mask
        budget    bytes it may use on its device beside the weights, also as '2GiB'; None: what is free now
        rows      of the image in a band at most, fewer if it would not fit; None: the plan's choice
        keep      where bands are held: 'device', 'system memory' (of a CPU, the same), 'disk'; None: the plan's choice
        streamed  for `encode_rows` and `decode_rows`
        Raises DoesNotFit, saying by how much, and BadRequest, also if the file held no such half.
        """
        doing = f"{part[:-1]}ing {_size(shape)} with '{self.name}'"
        wanted = self._request(part, shape, streamed, masked)
        demand_part(self.config, self.name, part)
        return planning.plan(wanted, self.device, budget=budget, rows=rows, keep=keep, what=doing)

    def peak_bytes(self, part: str, shape: Sequence[int]) -> int:
        """Bytes of input, activations and result at most alive while pixels are encoded or a latent decoded whole."""
        return self._request(part, shape).whole.peak

    def _request(
        self, part: str, shape: Sequence[int], streamed: bool = False, masked: bool = False
    ) -> planning.Request:
        return planning.request(self.family, self.config, part, tuple(shape), self.dtype, streamed, masked)

    def _encoded(self, x: Tensor, *, on_plan: OnPlan | None, progress: Progress | None, **way: Any) -> Tensor:
        plan = self.plan("encode", x.shape, **way)
        observer = self._begun(plan, len(x), on_plan, progress)
        with self._memory("encoding", x.shape, observer):
            x, ops = x.to(self.device, self.dtype), self.network.encode_ops()
            z = (
                self._clips(ops, x, plan, observer, True)
                if x.ndim == 5
                else self._run(ops, pad_to(x, self.spatial_ratio), plan, observer)
            )
            observer.end_run()
            self._demand_finite(z, "the image", "encode")
        return z

    def _decoded(self, x: Tensor, *, side_input: Tensor | None, on_plan: OnPlan | None, progress: Progress | None,
                 **way: Any) -> Tensor:  # fmt: skip
        plan = self.plan("decode", x.shape, masked=side_input is not None, **way)
        observer = self._begun(plan, len(x), on_plan, progress)
        with self._memory("decoding", x.shape, observer):
            ops = self.network.decode_ops() if side_input is None else self.network.masked_decode_ops()
            x = self._from_latent(x)
            x = (
                self._run(ops, x, plan, observer, side_input)
                if x.ndim == 4
                else self._clips(ops, x, plan, observer, False)
            )
            observer.end_run()
            self._demand_finite(x, "the latent", "decode")
        return x

    def _begun(self, plan: Plan, images: int, on_plan: OnPlan | None, progress: Progress | None) -> ProgressObserver:
        if on_plan:
            on_plan(plan)
        return ProgressObserver(self.network, plan, images, progress)

    def _run(
        self, ops: Ops, x: Tensor, plan: Plan, observer: ProgressObserver, side_input: Tensor | None = None
    ) -> Tensor:
        # One layout of memory, however the caller's tensor lies: kernels differ in rounding, and pixels must not.
        return run(
            fuse(as_single_frame(ops)),
            x.contiguous(memory_format=torch.channels_last),
            plan,
            observer,
            side_input=side_input,
        )

    def _clips(self, ops: Ops, x: Tensor, plan: Plan, observer: ProgressObserver, encodes: bool) -> Tensor:
        """x: (B, C, T, H, W), run clip by clip."""
        net = self.network
        first, step = (net.first_frames, net.next_frames or self.temporal_ratio or 1) if encodes else (1, 1)
        ops = fuse(ops)
        results = torch.empty((len(x), *plan.shape), dtype=result_dtype(x.dtype), device=x.device)
        for clip, place in zip(x.transpose(1, 2), results, strict=True):
            clip = pad_frames(pad_to(clip, self.spatial_ratio), first, step) if encodes else clip
            clips.run(ops, clip, plan, observer, first, step, place)
        return results.transpose(1, 2)

    def _from_latent(self, x: Tensor) -> Tensor:
        """What the decoder reads."""
        x = x.to(self.device, dtypes.at_least_fp32(self.dtype))
        return whole.run(self.network.from_latent_ops(), x).to(self.dtype)

    def _posterior(self, z: Tensor, size: tuple[int, int], frames: int | None) -> Posterior:
        self._demand_finite(z, "the image", "encode")
        to_latent = (*self.network.to_latent_ops(), *inputs.unfolded(frames))
        make = Posterior.of_moments if self.network.gaussian else Posterior.of_point
        return make(z, to_latent, size)

    @contextmanager
    def _memory(self, doing: str, shape: Sequence[int], observer: ProgressObserver) -> Iterator[None]:
        """Says in a sentence that memory ran out, and where."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
            if not is_out_of_memory(e):
                raise
            raise DoesNotFit(
                f"{doing} {_size(shape)} with '{self.name}' ran out of memory{observer.where}: "
                "use a smaller image or batch, or bf16."
            ) from e

    def _demand_finite(self, x: Tensor, what: str, verb: str) -> None:
        if math.isfinite(x.amin()) and math.isfinite(x.amax()):  # torch.isfinite makes another tensor of this size
            return
        half = self.dtype is torch.float16
        cure = f"{verb} it in bf16 or fp32" if half else "if another file of this VAE does not, this one is damaged"
        dtype = str(self.dtype).removeprefix("torch.")
        raise NumericalOverflow(f"'{self.name}' overflowed in {dtype}: {what} was finite, the result is not; {cure}.")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[-1]}x{shape[-2]}"
