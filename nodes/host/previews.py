"""What the host draws on a node during a long decode: the latent in colour, and over it what is decoded so far.

Only if the user has chosen previews (`--preview-method`, or the editor's settings), as for samplers.
"""

# pyright: reportMissingImports=false

import logging
import time
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...vae_core.execution import OnPart, Part
from ...vae_core.images import convert_channels, to_levels, to_unit_range
from ...vae_core.latents import (
    CELLS,
    IMAGES,
    SPACES,
    Factors,
    fit,
    preview,
    published_factors,
)
from .place import in_comfyui

LONG = 64**2  # latent pixels; fewer are decoded before anybody could look
WORTH_FITTING = 16 * IMAGES * CELLS**2  # the VAE is run on a sixteenth of these, once; an encoder is the cheaper half
PAUSE = 0.5  # seconds between two looks: the host makes a JPEG of each, some milliseconds of a core
MOST_ALIKE = 16  # places of a latent that begin as a piece of it does; of a constant latent, all do
SAMPLES = 2  # of the decoded pixels that one pixel of a look is made of, each way

log = logging.getLogger("exact_vae")

Look = tuple[str, Any, int]  # an image as the host takes it: its kind of file, itself, the largest side it is drawn in


def first_look(vae: Any, latent: Tensor, space: str | None = None, may_fit: bool = True) -> "LivePreview | None":
    """Shows the raw latent, (B, C, h, w) or (B, C, T, h, w), in colour, if factors for it are known or soon found.

    space: whose latent it is if the VAE does not say. may_fit: may the VAE be run? It has to be on its device.
    Returns what shows the decode of it; None if nobody wants to see that, or could.
    """
    if not in_comfyui() or latent.shape[0] * latent[0, 0].numel() < LONG or not _wanted():
        return None
    factors = _factors(vae, latent, space, may_fit)
    live = LivePreview(latent, factors if factors and len(factors.weight) == latent.shape[1] else None)
    if look := live.first():
        _send(look)
    return live


def _wanted() -> bool:
    from comfy.cli_args import LatentPreviewMethod, args

    return args.preview_method != LatentPreviewMethod.NoPreviews


def _factors(vae: Any, latent: Tensor, space: str | None, may_fit: bool) -> Factors | None:
    name = getattr(vae, "latent_space", None) or space or ""
    if name in SPACES and (found := published_factors(name, SPACES[name])):
        return found
    if not hasattr(vae, "network"):  # one that is not ours to run
        return None
    worth = may_fit and latent.shape[0] * latent[0, 0].numel() >= WORTH_FITTING
    return fit(vae) if worth else vae.findings.factors


def _send(look: Look) -> None:
    """The host enlarges it and sends it as JPEG, in another thread."""
    import comfy.utils

    comfy.utils.ProgressBar(1).update_absolute(0, 1, look)


def send_beside_bar(look: Look) -> None:
    """Send it where the host draws a bar of its own, which stays where it is."""
    import comfy.utils
    from comfy_execution.progress import get_progress_state
    from comfy_execution.utils import get_executing_context

    running = get_executing_context()
    state = get_progress_state().nodes.get(running.node_id) if running else None
    if state:
        comfy.utils.ProgressBar(state["max"]).update_absolute(state["value"], state["max"], look)


class Corner(NamedTuple):
    """Where in a latent (B, C, T, h, w) a piece of it begins."""

    item: int = 0
    frame: int = 0
    row: int = 0
    column: int = 0


class LivePreview:
    """The frame at work, small: what of it is decoded, and the latent in colour for the rest.

    The image is made where the VAE runs, so that a GPU is waited for only when it is sent.

    latent   raw, (B, C, h, w) or (B, C, T, h, w)
    factors  of its colours; None: what is not decoded yet is grey
    """

    def __init__(self, latent: Tensor, factors: Factors | None):
        from comfy.cli_args import args

        self.latent = latent if latent.ndim == 5 else latent[:, :, None]
        self.factors, self.largest = factors, args.preview_size
        self.canvas: Tensor | None = None  # (3, h, w) uint8
        self.at_work = (-1, -1, -1)  # item, frame of the result, and first frame of the piece that it is of
        self.changed, self.sent = False, time.monotonic()
        self.failed = False

    def first(self) -> Look | None:
        """The first frame of the latent; None if its colours are not known."""
        return self._look(self._colours(0, 0)) if self.factors else None

    def due(self, last: bool = False) -> Look | None:
        """What there is to see, if it is new and the last look was long enough ago. last: of the run."""
        now = time.monotonic()
        if self.canvas is None or not self.changed or now - self.sent < (PAUSE / 2 if last else PAUSE):
            return None
        self.changed, self.sent = False, now
        return self._look(self.canvas)

    def follow(self, piece: Tensor) -> OnPart | None:
        """Who is told what a decode of this piece of the latent finishes; None if it is no piece of it.

        piece: (b, C, h, w) or (b, C, t, h, w), perhaps cast, and on another device.
        """
        piece = piece if piece.ndim == 5 else piece[:, :, None]
        corner = locate(piece, self.latent)
        return partial(self._draw, tuple(piece.shape), corner) if corner else None

    def take(self, part: Part) -> None:
        """Draw what a decode of all of the latent has finished."""
        self._draw(tuple(self.latent.shape), Corner(), part)

    def _draw(self, piece: tuple[int, ...], corner: Corner, part: Part) -> None:
        """piece: the shape (b, C, t, h, w) of what is decoded. A look is not worth a run, which goes on without."""
        try:
            if not self.failed:
                self._draw_last(piece, corner, part)
        except Exception:
            self.failed = True
            log.warning("The preview of this decode is given up; the decode goes on.", exc_info=True)

    def _draw_last(self, piece: tuple[int, ...], corner: Corner, part: Part) -> None:
        """Draw the last of the images or frames of a part."""
        per_item = part.shape[0] // piece[0]
        item, frame = divmod(part.first + len(part.pixels) - 1, per_item)
        scale = part.shape[2] // piece[3], part.shape[3] // piece[4]
        at_work = corner.item + item, frame, corner.frame
        if at_work != self.at_work or self.canvas is None:
            of_latent = corner.frame + _scale_index(frame, per_item, piece[2])
            self.canvas = self._begin(corner.item + item, of_latent, scale).to(part.pixels.device)
            self.at_work = at_work
        rows, columns = (
            slice(*(-(-n * side // (size * ratio)) for n in (start, start + length)))
            for start, length, size, ratio, side in zip(
                (corner.row * scale[0] + part.row, corner.column * scale[1] + part.column),
                part.pixels.shape[2:], self.latent.shape[3:], scale, self.canvas.shape[1:], strict=True,
            )
        )  # fmt: skip
        place = self.canvas[:, rows, columns]
        if place.numel():
            place.copy_(shrink(part.pixels[-1:], (place.shape[1], place.shape[2]))[0])
            self.changed = True

    def _begin(self, item: int, frame: int, scale: tuple[int, int]) -> Tensor:
        """The image of a frame of which nothing is decoded: (3, H, W) uint8, no larger than the host draws it."""
        h, w = (n * ratio for n, ratio in zip(self.latent.shape[3:], scale, strict=True))
        shrunk = min(1.0, self.largest / max(h, w))
        size = max(1, round(h * shrunk)), max(1, round(w * shrunk))
        colours = self._colours(item, frame)[None].float()
        return F.interpolate(colours, size, mode="bilinear", antialias=True)[0].round().to(torch.uint8)

    def _colours(self, item: int, frame: int) -> Tensor:
        """(3, h, w) uint8"""
        latent = self.latent[item : item + 1, :, frame].float().cpu().nan_to_num(0, 0, 0)
        pixels = preview(latent, self.factors) if self.factors else latent.new_zeros(1, 3, *latent.shape[2:])
        return to_levels(to_unit_range(pixels[0]))

    def _look(self, levels: Tensor) -> Look:
        """levels: (3, h, w) uint8, which may change later."""
        from PIL import Image

        return "JPEG", Image.fromarray(levels.movedim(0, -1).cpu().clone().numpy()), self.largest


def locate(piece: Tensor, latent: Tensor) -> Corner | None:
    """Where in a latent (B, C, T, h, w) a piece of it begins, (b, C, t, h, w), which may be cast; None if nowhere."""
    piece, latent = piece.cpu(), latent.cpu()
    room = [n - of + 1 for n, of in zip(latent.shape, piece.shape, strict=True)]
    if min(room) < 1 or room[1] != 1:
        return None
    first = latent[: room[0], 0, : room[2], : room[3], : room[4]].to(piece.dtype)
    for found in (first == piece[0, 0, 0, 0, 0]).nonzero()[:MOST_ALIKE].tolist():
        corner = Corner(*found)
        there = latent[tuple(slice(at, at + n) for at, n in zip((found[0], 0, *found[1:]), piece.shape, strict=True))]
        if torch.equal(there.to(piece.dtype), piece):
            return corner
    return None


def shrink(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """pixels (B, C, H, W), about [-1, 1], of 1 to 4 channels -> (B, 3, h, w) uint8 of this size.

    So few of them are read that it costs next to nothing. Every device has these ops, and none of them waits for it.
    """
    steps = [max(1, n // (SAMPLES * to)) for n, to in zip(pixels.shape[2:], size, strict=True)]
    few = pixels[:, :, :: steps[0], :: steps[1]].float()
    small = few if few.shape[2:] == size else F.interpolate(few, size, mode="bilinear", align_corners=False)
    return to_levels(to_unit_range(convert_channels(small, 3, alpha="drop")[0]))


def _scale_index(i: int, count: int, to: int) -> int:
    """The one of `to` things that the i-th of `count` comes of: the first of the first, the last of the last."""
    return -(-i * (to - 1) // (count - 1)) if count > 1 else to - 1
