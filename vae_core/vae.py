"""A VAE: pixels to a posterior, a latent to pixels. Everything is checked at this door, nothing further in."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import latents, planning, precision
from .detection import title
from .errors import BadPixels, BadRequest, DoesNotFit, LatentMismatch, NumericalOverflow
from .execution import whole
from .execution.fused import fused
from .execution.plan import Plan, work
from .execution.run import run
from .execution.watch import Watch
from .families import Config, Facts, Network
from .ops import Ops
from .posterior import Posterior

Progress = Callable[[int, int], None]
Budget = int | str | None
TICKS = 1000  # what progress counts to
LARGEST_PIXEL = 100.0  # HDR pictures exceed 1, some by far; this tells a picture in 0...255


class VAE(Facts):
    """An autoencoder with its weights; `load` makes it.

    family, config, name   which network it is, its sizes, and where it came from
    and the facts of the config: latent_channels, spatial_ratio, temporal_ratio, in_channels, out_channels
    """

    def __init__(self, network: Network, family: str, config: Config, *, name: str,
                 dtype: torch.dtype, device: torch.device):  # fmt: skip
        self.network, self.family, self.config, self.name = network, family, config, name
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
               progress: Progress | None = None) -> Posterior:  # fmt: skip
        """pixels (B, C, H, W), or frames (B, C, T, H, W), in [-1, 1] -> the posterior of their latents.

        Any size: a picture that is no multiple of the ratio is continued at its right and lower edge (mirrored), and
        `posterior.size` remembers what to crop to. `progress(done, total)` counts work, and may raise to stop.
        budget, rows, keep: how much memory to use and how, see `plan`; they do not change the result but for rounding.
        Raises BadPixels, NumericalOverflow, DoesNotFit, and BadRequest if the file held no encoder.
        """
        self._need("encoder")
        x, frames = self._pictures(pixels)
        size = (x.shape[-2], x.shape[-1])
        plan = self.plan("encode", x.shape, budget=budget, rows=rows, keep=keep)
        watch = _Watch(self.network, plan, len(x), progress)
        with self._memory("encoding", x, watch):
            x = pad_to(x.to(self.device, self.dtype), self.spatial_ratio)
            z = self._run(self.network.encode_ops(), x, plan, watch)
            self._demand_finite(z, "the picture", "encode")
        to_latent = (*self.network.to_latent_ops(), *_to_clip(frames))
        make = Posterior.of_moments if self.network.gaussian else Posterior.of_point
        return make(z, to_latent, size)

    def decode(self, z: Tensor, *, size: tuple[int, int] | None = None, image: Tensor | None = None,
               mask: Tensor | None = None, budget: Budget = None, rows: int | None = None, keep: str | None = None,
               progress: Progress | None = None) -> Tensor:  # fmt: skip
        """z (B, latent_channels, h, w), or (B, latent_channels, T, h, w) -> pixels, about [-1, 1], not clamped.

        size: (H, W) to crop to, as `posterior.size` gives it. fp32 at least. The other arguments as in `encode`.
        image, mask: for the family 'asymmetric', both or neither: pixels (B, C, H, W) in [-1, 1] of the size z was
        encoded from, and (B, 1, H, W) in [0, 1], 0 where the decoder is to keep to the image, 1 where to z alone.
        Raises LatentMismatch, NumericalOverflow, DoesNotFit, BadPixels, and BadRequest if the file held no decoder.
        """
        self._need("decoder")
        if size and min(size) < 1:
            raise BadRequest(f"a picture cannot be cropped to {size[1]}x{size[0]}.")
        x, frames = self._latents(z)
        beside = self._beside(image, mask, x)
        plan = self.plan("decode", x.shape, masked=beside is not None, budget=budget, rows=rows, keep=keep)
        watch = _Watch(self.network, plan, len(x), progress)
        with self._memory("decoding", x, watch):
            x = whole.run(self.network.from_latent_ops(), x.to(self.device, precision.at_least_fp32(self.dtype)))
            ops = self.network.decode_ops() if beside is None else self.network.masked_decode_ops()
            x = self._run(ops, x.to(self.dtype), plan, watch, beside)
            self._demand_finite(x, "the latent", "decode")
        x = x[..., : size[0], : size[1]] if size else x
        return whole.run(_to_clip(frames), x)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "VAE":
        """Move or cast the weights, in place as torch does. Statistics of a latent space stay fp32 at least."""
        self._device = torch.device(device) if device else self._device
        self._dtype = dtype or self._dtype
        self.network.to(self._device)
        for parameter in self.network.parameters() if dtype else ():
            parameter.data = parameter.data.to(dtype)
        return self

    def plan(self, part: str, shape: Sequence[int], *, masked: bool = False, budget: Budget = None,
             rows: int | None = None, keep: str | None = None) -> Plan:  # fmt: skip
        """How this VAE would 'encode' pixels or 'decode' a latent of this shape: the fastest way that fits.

        shape   (B, C, H, W) or (B, C, T, H, W); C is the VAE's own, whatever is given
        masked  decode with an image and a mask
        budget  bytes it may use on its device beside the weights, also as '2GiB'; None: what is free now
        rows    of the picture in a band; None: the plan's choice, which may be to run the picture whole
        keep    where bands are held: 'device', 'system memory', 'disk'; None: the plan's choice
        Raises DoesNotFit, saying by how much, and BadRequest.
        """
        doing = f"{part[:-1]}ing {_size(shape)} with '{self.name}'"
        wanted = self._request(part, shape, masked)
        return planning.plan(wanted, self.device, budget=budget, rows=rows, keep=keep, what=doing)

    def peak_bytes(self, part: str, shape: Sequence[int]) -> int:
        """Bytes of input, activations and result at most alive while pixels are encoded or a latent decoded whole."""
        return self._request(part, shape).whole.peak

    def _request(self, part: str, shape: Sequence[int], masked: bool = False) -> planning.Request:
        return planning.request(self.family, self.config, part, tuple(shape), self.dtype, masked)

    def _run(self, ops: Ops, x: Tensor, plan: Plan, watch: "_Watch", beside: Tensor | None = None) -> Tensor:
        # One layout of memory, however the caller's tensor lies: kernels differ in rounding, and pixels must not.
        x = run(fused(ops), x.contiguous(memory_format=torch.channels_last), plan, watch, beside=beside)
        watch.ends()
        return x

    @contextmanager
    def _memory(self, doing: str, x: Tensor, watch: "_Watch") -> Iterator[None]:
        """Says in a sentence that memory ran out, and where."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
            if not _is_out_of_memory(e):
                raise
            raise DoesNotFit(
                f"{doing} {_size(x.shape)} with '{self.name}' ran out of memory{watch.where}: "
                "use a smaller picture or batch, or bf16."
            ) from e

    def _need(self, part: str) -> None:
        if part not in self.config.parts:
            has = self.config.parts[0]
            raise BadRequest(f"'{self.name}' holds only the {has}: load it together with the file of its {part}.")

    def _pictures(self, pixels: Tensor) -> tuple[Tensor, int | None]:
        """Pixels as a batch of pictures, and the frames in a clip if they are clips."""
        if not isinstance(pixels, Tensor):
            raise BadPixels(f"pixels must be a tensor, not {type(pixels).__name__}.")
        x, frames = _fold(pixels)
        shape = tuple(pixels.shape)
        if x.ndim != 4 or x.shape[1] != self.in_channels or 0 in shape or not x.is_floating_point():
            raise BadPixels(
                f"these pixels are {str(x.dtype).removeprefix('torch.')} of shape {shape}: '{self.name}' encodes "
                f"floating-point pixels of shape (B, {self.in_channels}, H, W) or (B, {self.in_channels}, T, H, W)."
            )
        largest = x.detach().abs().max().item()
        if not largest < LARGEST_PIXEL:  # also true of NaN
            found = f"reach {largest:g}" if math.isfinite(largest) else "hold NaN or infinity"
            raise BadPixels(f"these pixels {found}: a picture's must be numbers in [-1, 1] (an IMAGE's in [0, 1]).")
        return x, frames

    def _latents(self, z: Tensor) -> tuple[Tensor, int | None]:
        """A latent as a batch of pictures' latents, and the frames in a clip if it is of clips."""
        if not isinstance(z, Tensor):
            raise LatentMismatch(f"a latent must be a tensor, not {type(z).__name__}.")
        x, frames = _fold(z)
        if x.ndim != 4 or 0 in x.shape or not x.is_floating_point():
            raise LatentMismatch(
                f"this is no latent, but {str(z.dtype).removeprefix('torch.')} of shape {tuple(z.shape)}: a latent is "
                "floating-point of shape (B, C, h, w) or (B, C, T, h, w)."
            )
        if x.shape[1] != self.latent_channels:
            raise LatentMismatch(self._mismatch(z))
        if not torch.isfinite(x).all():
            raise NumericalOverflow("this latent holds NaN or infinity: it was broken before it came to the VAE.")
        return x, frames

    def _beside(self, image: Tensor | None, mask: Tensor | None, z: Tensor) -> Tensor | None:
        """(B, C + 1, H, W): the image, 0 where the mask is 1, and the mask. None if neither is given."""
        if image is None and mask is None:
            return None
        if not self.network.masked_decode_ops():
            raise BadRequest(f"'{self.name}' cannot decode with an image and a mask: it is {self.title}.")
        if image is None or mask is None:
            raise BadRequest("give an image and a mask, or neither.")
        pixels, _ = self._pictures(image)
        masks, _ = _fold(mask)
        if masks.shape != (len(pixels), 1, *pixels.shape[-2:]) or not (masks.amin() >= 0 and masks.amax() <= 1):
            raise BadPixels(
                f"this mask has shape {tuple(mask.shape)}: for an image of shape {tuple(image.shape)} it needs one "
                "channel, the same size, and numbers in [0, 1]."
            )
        exact = precision.at_least_fp32(self.dtype)
        pixels, masks = (t.to(self.device, exact) for t in (pixels, masks))
        beside = pad_to(torch.cat([pixels * (1 - masks), masks], 1), self.spatial_ratio)
        if beside.shape[2:] != tuple(n * self.spatial_ratio for n in z.shape[2:]) or len(beside) != len(z):
            raise LatentMismatch(f"a latent of shape {tuple(z.shape)} is not of images of shape {tuple(image.shape)}.")
        return beside.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _mismatch(self, z: Tensor) -> str:
        channels = z.shape[1]
        whose = latents.models(channels)
        return (
            f"this latent has {channels} channels (shape {tuple(z.shape)}{f', as of {whose}' if whose else ''}), but "
            f"'{self.name}' needs {self.latent_channels}: it is {self.title}. Use the VAE of the model that "
            "made the latent."
        )

    def _demand_finite(self, x: Tensor, what: str, verb: str) -> None:
        if torch.isfinite(x).all():
            return
        half = self.dtype is torch.float16
        cure = f"{verb} it in bf16 or fp32" if half else "if another file of this VAE does not, this one is damaged"
        dtype = str(self.dtype).removeprefix("torch.")
        raise NumericalOverflow(f"'{self.name}' overflowed in {dtype}: {what} was finite, the result is not; {cure}.")


class _Watch(Watch):
    """Follows a run from op to op: for progress, and to say where it stopped."""

    def __init__(self, network: nn.Module, plan: Plan, pictures: int, progress: Progress | None):
        self.network, self.progress, self.total = network, progress, plan.work * pictures
        self.pictures, self.done, self.told = plan.pictures, 0.0, -1
        self.op: Any = None

    def begins(self, op: Any) -> None:
        self.op = op
        self._tell()

    def made(self, op: Any, x: Tensor) -> None:
        self.done += work(op, x)

    def ends(self) -> None:
        self.done = self.total
        self._tell()

    def _tell(self) -> None:
        """In steps of a part in a thousand."""
        step = int(TICKS * min(1.0, self.done / self.total)) if self.total else TICKS
        if self.progress and step > self.told:
            self.told = step
            self.progress(step, TICKS)

    @property
    def where(self) -> str:
        """' at decoder.up.1.block.0.conv2', '' before the first op."""
        names = {id(module): name for name, module in self.network.named_modules()}
        name = names.get(id(getattr(self.op, "conv", self.op))) or getattr(self.op, "__name__", type(self.op).__name__)
        return f" at {name}" if self.op else ""


def _is_out_of_memory(e: BaseException) -> bool:
    """Without memory on a CPU torch raises a plain RuntimeError: its words are all there is to tell it by."""
    words = ("can't allocate memory", "not enough memory")
    return isinstance(e, (torch.OutOfMemoryError, MemoryError)) or any(word in str(e) for word in words)


def pad_to(x: Tensor, ratio: int) -> Tensor:
    """Continue pictures to the right and below to a multiple of the ratio: mirrored, or repeated if too small."""
    h, w = x.shape[-2:]
    below, right = -h % ratio, -w % ratio
    if not below and not right:
        return x
    mode = "reflect" if below < h and right < w else "replicate"
    return F.pad(x, (0, right, 0, below), mode=mode)


def _fold(x: Tensor) -> tuple[Tensor, int | None]:
    """(B, C, T, H, W) -> (B * T, C, H, W) and T; pictures as they are."""
    return (x.transpose(1, 2).flatten(0, 1), x.shape[2]) if x.ndim == 5 else (x, None)


def _to_clip(frames: int | None) -> Ops:
    """The way back: (B * T, C, h, w) -> (B, C, T, h, w)."""

    def unfold(x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, frames)).transpose(1, 2) if frames else x

    return (unfold,) if frames else ()


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[-1]}x{shape[-2]}"
