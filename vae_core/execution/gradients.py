"""Runs that record gradients: whole, in plain torch, with everything kept that the way back needs."""

import torch
from torch import Tensor

from ..devices.dtypes import at_least_fp32
from ..errors import BadRequest
from ..families import ClipLaw
from ..images.pixels import lay_out, pad_to, repeat_last_frame
from ..ops import Ops, as_single_frame
from . import whole
from .options import RunOptions

PLAN = "whole, with gradients"


def record(ops: Ops, x: Tensor, options: RunOptions, law: ClipLaw | None = None, ratio: int = 1,
           side_input: Tensor | None = None) -> Tensor:  # fmt: skip
    """The result of `clips.run_batch` for the same arguments, with its gradients.

    Raises BadRequest if the options ask for bands or tiles, and where torch records nothing: under no_grad, and in
    inference mode.
    """
    _demand_possible(options)
    if options.on_plan:
        options.on_plan(PLAN)
    if options.progress:
        options.progress(0, 1)
    exact = at_least_fp32(x.dtype)
    if x.ndim == 4:
        return whole.run(as_single_frame(ops), lay_out(pad_to(x, ratio)), side_input=side_input).to(exact)
    return torch.stack([_record_clip(ops, clip, law, ratio).to(exact) for clip in x.transpose(1, 2)]).transpose(1, 2)


def demand_passed_on(given: Tensor, made: Tensor) -> Tensor:
    """What was made. Raises BadRequest if the gradients that are wanted of what was given end on the way, in codes."""
    if given.requires_grad and not made.requires_grad:
        raise BadRequest("this VAE quantises the latent, so no gradient comes back to it: leave away grad.")
    return made


def _record_clip(ops: Ops, clip: Tensor, law: ClipLaw | None, ratio: int) -> Tensor:
    """clip: (T, C, H, W) -> (T', C', H', W')"""
    if law:
        clip = repeat_last_frame(pad_to(clip, ratio), law.missing(len(clip)))
    return whole.run(ops, lay_out(clip))


def _demand_possible(options: RunOptions) -> None:
    if options.rows or options.keep or options.tiles or options.budget:
        raise BadRequest("gradients need a whole run: leave away budget, rows, keep and tiles, or grad.")
    if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        raise BadRequest("torch records no gradients here: call this outside of no_grad and inference mode.")
