"""A VAE: pixels to a posterior, a latent to pixels. What is given is checked here, and nothing further in.

Runs whose pixels come or go piece by piece are in piecewise.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import inputs, piecewise
from .calls import computes
from .devices.dtypes import at_least_fp32
from .errors import BadRequest
from .execution import clips, tiles, whole
from .execution.frames import Frames
from .execution.gradients import demand_passed_on, record
from .execution.ladder import Ladder
from .execution.options import DEFAULTS, RunOptions
from .execution.plans.choose import choose_plans, demand_shape, make_request
from .execution.plans.plan import Plan
from .execution.plans.request import Request
from .execution.progress import ProgressObserver
from .execution.rewrite.fuse import count_copied
from .execution.run import demand_finite, describe_run
from .execution.streaming import PixelRows
from .families import ZEROS, ClipLaw, Config, Facts, Half, Network
from .families.blocks.ldm import GROUPS, groups_of
from .families.doubling import find_joined, list_ops
from .families.moving import Movable
from .families.registry import demand_part, demand_size_of, title
from .files.marks import FileMap, demand_unwritten
from .latents.fingerprint import digest_weights
from .latents.previews import Findings
from .latents.scaling import Scalable
from .ops import Ops
from .posterior import Posterior
from .verdicts import Detour, Detours

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .execution.options import RunKeywords

Size = tuple[int, int]  # (H, W)


class VAE(Movable, Scalable, Facts):
    """An autoencoder with its weights; `load` makes it.

    family, config, name   which network it is, its sizes, and where it came from
    latent_space           whose latents it makes, a name in latents.SPACES; None if that is not known
    findings               what has been found out about its weights
    mapped                 files that its weights lie in, if they were not copied; see `load`
    separate_images        what its loader was told of several images, for nodes that have no say: that they are no clip
    detours                ways around what the Doctor has found its device to compute wrongly
    and the facts of the config, see Facts; how it is moved and cast, see Movable; scaled latents, see Scalable
    """

    def __init__(
        self,
        network: Network,
        family: str,
        config: Config,
        *,
        name: str,
        dtype: torch.dtype,
        device: torch.device,
        latent_space: str | None = None,
    ):
        self.network = network
        self.family = family
        self.config = config
        self.name = name
        self.latent_space = latent_space
        self.findings = Findings()
        self.detours = Detours()
        self.mapped: tuple[FileMap, ...] = ()
        self.separate_images = False
        self._dtype, self._device = dtype, device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return next((p.dtype for p in self.network.parameters()), self._dtype)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and where it runs."""
        return next((p.device for p in self.network.parameters()), self._device)

    @property
    def title(self) -> str:
        """'Autoencoder-KL (2-D), 4 channels at 1/8: SD 1.x, ... or SDXL, ...'"""
        return title(self.family, self.config)

    @property
    def clip_law(self) -> ClipLaw | None:
        """Which frames of a clip become which of its latent; None for a VAE of images."""
        return self.network.clip_law

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits by which its weights are known again. Computed once: weights do not change."""
        if self.findings.fingerprint is None:
            demand_unwritten(self)
            self.findings.fingerprint = digest_weights(self.network, self._name_beyond_weights())
        return self.findings.fingerprint

    def _name_beyond_weights(self) -> str:
        """What changes its results and is no weight; '' if that is as usual."""
        groups = groups_of(self.config)
        border = "" if self.border == ZEROS else self.border
        return border if groups == GROUPS else f"{border} {groups}"

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"VAE('{self.name}': {self.title}; {dtype} on {self.device})"

    @computes(Half.ENCODER)
    def encode(self, pixels: Tensor, *, options: RunOptions = DEFAULTS, **keywords: "Unpack[RunKeywords]") -> Posterior:
        """The posterior of the latents of images or clips.

        pixels    (B, C, H, W), or frames (B, C, T, H, W), floating-point, in [-1, 1], of any size
        options   how to run, see RunOptions; its fields may also be given as keywords: `encode(pixels, rows=64)`

        An image that is no multiple of the ratio is continued at its right and lower edge (mirrored), and
        `posterior.size` remembers what to crop to. A VAE of clips makes one latent of all frames, continued with the
        last one to a number it can encode; any other VAE makes one of each frame.
        Raises BadPixels, NumericalOverflow, DoesNotFit, and BadRequest if the file held no encoder.
        """
        options = replace(options, **keywords)
        demand_part(self.config, self.name, Half.ENCODER)
        x, folding = inputs.check_pixels(self, pixels)
        z = self._run_in_tiles(self._encode, x, folding, options, ratio=self.spatial_ratio, cell=self.spatial_ratio)
        return self._make_posterior(z, (x.shape[-2], x.shape[-1]), folding)

    @computes(Half.DECODER)
    def decode(
        self,
        z: Tensor,
        *,
        size: Size | None = None,
        image: Tensor | None = None,
        mask: Tensor | None = None,
        options: RunOptions = DEFAULTS,
        **keywords: "Unpack[RunKeywords]",
    ) -> Tensor:
        """The pixels of latents: (B, C, H, W) or (B, C, T, H, W), about [-1, 1], not clamped, fp32 at least.

        z         (B, latent_channels, h, w) or (B, latent_channels, T, h, w), floating-point, raw
        size      (H, W) that was encoded, as `posterior.size` gives it, to crop to
        image     for the family 'asymmetric': pixels (B, C, H, W) in [-1, 1] of the size z was encoded from
        mask      with the image: (B, 1, H, W) in [0, 1], 0 where the decoder keeps to the image, 1 where to z alone
        options   how to run, see RunOptions; its fields may also be given as keywords: `decode(z, budget="2GiB")`

        A clip has as many frames as the family makes of its latent; a latent of one frame always becomes one frame.
        Raises LatentMismatch, NumericalOverflow, DoesNotFit, BadPixels, and BadRequest if the file held no decoder.
        """
        options = replace(options, **keywords)
        demand_part(self.config, self.name, Half.DECODER)
        x, folding = inputs.check_latent(self, z, size)
        side_input = inputs.check_masked_image(self, image, mask, folding.fold_shape(x.shape), options.grad)
        if options.tiles and side_input is not None:
            raise BadRequest("blended tiles are decoded without an image and a mask: leave the tiles or these away.")
        decode_one = partial(self._decode, side_input=side_input)
        x = self._run_in_tiles(decode_one, x, folding, options, ratio=self.decoded_ratio, cell=1)
        demand_finite(self, x, Half.DECODER)
        h, w = self.decoded_size(size) if size else x.shape[-2:]
        return folding.unfold(x[..., :h, :w])

    @computes(Half.ENCODER)
    def encode_rows(
        self, source: PixelRows, *, options: RunOptions = DEFAULTS, **keywords: "Unpack[RunKeywords]"
    ) -> Posterior:
        """The posterior of an image that is read band by band, as `encode` gives it for all its pixels.

        source    its `shape` is (C, H, W), and `read()` gives bands (C, n, W) in [-1, 1] from the top; it may be
                  called more than once
        options   as in `encode`, without tiles

        The pixels are in memory as a whole only if the plan is to run whole, or if an image is run as a clip
        (HunyuanImage 3.0, Mochi, LTX-2.5's diffusion decoder ...).
        Raises what `encode` raises; whatever the source raises passes as it is.
        """
        return piecewise.encode_rows(self, source, replace(options, **keywords))

    @computes(Half.DECODER)
    def decode_rows(
        self, z: Tensor, *, size: Size | None = None, options: RunOptions = DEFAULTS,
        **keywords: "Unpack[RunKeywords]",
    ) -> Iterator[Tensor]:  # fmt: skip
        """Bands (C, n, W) of the pixels of one image, from the top and of any heights; together what `decode` gives.

        z         (1, latent_channels, h, w), floating-point, raw
        size      (H, W) to crop to
        options   as in `decode`, without tiles

        The pixels are in memory as a whole only if the plan is to run whole, or as in `encode_rows`. Closing the
        iterator early gives back what is held.
        Raises what `decode` raises, at the call; but NumericalOverflow comes with the band that is not finite, and
        DoesNotFit also where memory runs out after the first band.
        """
        return piecewise.decode_rows(self, z, size, replace(options, **keywords))

    @computes(Half.ENCODER)
    def encode_frames(
        self, source: Frames, *, options: RunOptions = DEFAULTS, **keywords: "Unpack[RunKeywords]"
    ) -> Posterior:
        """The posterior of a clip that is read a few frames at a time, as `encode` gives it for all its frames.

        source    its `shape` is (C, T, H, W), and `read()` gives frames (C, n, H, W) in [-1, 1] from the start; it may
                  be called more than once
        options   as in `encode`, without tiles

        As many frames are in memory as become one part of the latent, however long the clip is; all of them only if
        an op of the network sees them all.
        Raises what `encode` raises; whatever the source raises passes as it is.
        """
        return piecewise.encode_frames(self, source, replace(options, **keywords))

    @computes(Half.DECODER)
    def decode_frames(
        self, z: Tensor, *, size: Size | None = None, options: RunOptions = DEFAULTS,
        **keywords: "Unpack[RunKeywords]",
    ) -> Iterator[Tensor]:  # fmt: skip
        """Frames (C, n, H, W) of one clip, in order, when they are final; together, to rounding, what `decode` gives.

        z         (1, latent_channels, T, h, w), or latents of images (T, latent_channels, h, w); floating-point, raw
        size      (H, W) to crop to
        options   as in `decode`, without tiles

        As many frames are in memory as come of one part of the latent, however long the clip is; all of them only if
        an op of the network sees them all. Closing the iterator early gives back what is held.
        Raises what `decode` raises, at the call; but NumericalOverflow comes with the frames that are not finite, and
        DoesNotFit also where memory runs out after the first frames.
        """
        return piecewise.decode_frames(self, z, size, replace(options, **keywords))

    def plan(
        self,
        half: Half | str,
        shape: Sequence[int],
        *,
        masked: bool = False,
        streamed: bool = False,
        options: RunOptions = DEFAULTS,
        **keywords: "Unpack[RunKeywords]",
    ) -> Plan:
        """How this VAE would 'encode' pixels or 'decode' a latent of this shape: the fastest way that fits.

        shape     (B, C, H, W) or (B, C, T, H, W); C is the VAE's own, whatever is given
        masked    decode with an image and a mask
        streamed  for `encode_rows` and `decode_rows`
        options   as in `encode`; with tiles, the plan is that of one tile
        Raises DoesNotFit, saying by how much, BadRequest, also if the file held no such half, and what a run would.
        """
        half, shape, options = Half.of(half), demand_shape(shape), replace(options, **keywords)
        demand_part(self.config, self.name, half)
        demand_size_of(self.config, self.name, half, shape)
        options = replace(options, tiles=None) if self.image_size else options
        if detour := self._find_detour(half):
            plan = detour.vae.plan(half, shape, masked=masked, streamed=streamed, options=detour.adapt(options))
            return replace(plan, note=detour.sentence)
        ops = list_ops(self.network, half, masked)
        return next(self._ladder(half, shape, options, ops, streamed=streamed, masked=masked).plans)

    def peak_bytes(self, half: Half | str, shape: Sequence[int]) -> int:
        """Bytes of input, activations and result at most alive while pixels are encoded or a latent decoded whole.

        shape: as in `plan`. Raises BadRequest for another half, DoesNotFit for a shape that cannot be counted.
        """
        return self._request(Half.of(half), demand_shape(shape), list_ops(self.network, Half.of(half))).whole.peak

    def _find_detour(self, half: Half) -> Detour | None:
        """The way around what its device computes wrongly. Asked before every run, whose weights must be as loaded."""
        demand_unwritten(self)
        return self.detours.find(self, half)

    def _request(self, half: Half, shape: Sequence[int], ops: Ops = (), **how: bool) -> Request:
        form = self.family, self.config, half, tuple(shape), self.dtype
        copied = count_copied(ops, single_frame=not (self.clip_law and self.clip_law.runs_clip(shape)))
        return make_request(*form, joined=find_joined(ops), copied=copied, device=self.device, **how)

    def _ladder(self, half: Half, shape: Sequence[int], options: RunOptions, ops: Ops, **how: bool) -> Ladder:
        if options.tiles:
            shape = options.tiles.tile_shape(tuple(shape), 1 if half is Half.ENCODER else self.decoded_ratio)
        what = describe_run(half, shape, self.name)
        request = self._request(half, shape, ops, **how)
        start = partial(self._start, images=shape[0], options=options)
        return Ladder(choose_plans(request, self.device, options, what=what), start, what, self.device)

    def _run_in_tiles(self, run_one: inputs.RunOne, x: Tensor, folding: inputs.Folding, options: RunOptions, ratio: int,
                      cell: int) -> Tensor:  # fmt: skip
        """`run_one` for all of x, or for each of its tiles if the options ask for them. ratio, cell: see tiles.run."""
        if options.tiles is None or self.image_size:
            return run_one(x, folding, replace(options, tiles=None))

        def run_tile(tile: Tensor, **callbacks: "Unpack[RunKeywords]") -> Tensor:
            return run_one(tile, folding, replace(options, **callbacks))

        told = {"on_plan": options.on_plan, "progress": options.progress, "on_part": options.on_part}
        return tiles.run(run_tile, options.tiles, ratio, x, cell=cell, **told)

    def _encode(self, x: Tensor, folding: inputs.Folding, options: RunOptions) -> Tensor:
        """x: (B, C, H, W) or (B, C, T, H, W), as it was given -> the encoder's result."""
        if detour := self._find_detour(Half.ENCODER):
            return detour.vae._encode(x, folding, detour.adapt(options)).to(self.device)
        ops = self.network.encode_ops()
        if options.grad:
            x = folding.fold(x.to(self.device, self.dtype))
            return record(ops, x, options, self.clip_law, self.spatial_ratio)

        def attempt(plan: Plan, observer: ProgressObserver) -> Tensor:
            pixels = folding.fold_to(self.device, self.dtype, x)
            return clips.run_batch(ops, pixels, plan, observer, self.clip_law, self.spatial_ratio)

        return self._ladder(Half.ENCODER, folding.fold_shape(x.shape), options, ops).run(attempt)

    def _decode(self, x: Tensor, folding: inputs.Folding, options: RunOptions, side_input: Tensor | None) -> Tensor:
        """x: (B, C, h, w) or (B, C, T, h, w), as it was given -> the decoder's result."""
        if detour := self._find_detour(Half.DECODER):
            return detour.vae._decode(x, folding, detour.adapt(options), detour.move(side_input)).to(self.device)
        masked = side_input is not None
        ops = list_ops(self.network, Half.DECODER, masked, options.grad)
        if options.grad:
            return demand_passed_on(x, record(ops, self._undo_latent(folding.fold(x)), options, side_input=side_input))

        def attempt(plan: Plan, observer: ProgressObserver) -> Tensor:
            return clips.run_batch(ops, self._undo_latent(folding.fold(x)), plan, observer, side_input=side_input)

        return self._ladder(Half.DECODER, folding.fold_shape(x.shape), options, ops, masked=masked).run(attempt)

    def _start(self, plan: Plan, *, images: int, options: RunOptions) -> ProgressObserver:
        if options.on_plan:
            options.on_plan(plan)
        return ProgressObserver(self.network, plan, images, options.progress, options.on_part)

    def _undo_latent(self, x: Tensor) -> Tensor:
        """The latent -> z, which the decoder reads."""
        return whole.run(self.network.from_latent_ops(), x.to(self.device, at_least_fp32(self.dtype))).to(self.dtype)

    def _make_posterior(self, z: Tensor, size: Size, folding: inputs.Folding) -> Posterior:
        demand_finite(self, z, Half.ENCODER)
        make = Posterior.of_moments if self.network.gaussian else Posterior.of_point
        return make(z, (*self.network.to_latent_ops(), folding.unfold), size)
