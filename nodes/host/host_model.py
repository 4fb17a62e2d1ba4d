"""A VAE of ours as the model in the host's VAE, and what surrounds a call of the host's methods."""

# pyright: reportMissingImports=false

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...vae_core import VAE, DoesNotFit
from ..images import drop_extra_frames, to_clip_latent
from .memory import ADVICE, budget_of
from .previews import LivePreview, first_look
from .showing import progress

# The host's ways to run in tiles, which it also takes by itself when memory runs out.
TILED_WAYS = ("decode_tiled_", "decode_tiled_1d", "decode_tiled_3d", "_decode_tiled_owned",
              "encode_tiled_", "encode_tiled_1d", "encode_tiled_3d", "_encode_tiled_owned")  # fmt: skip


class HostModel(nn.Module):
    """A VAE as the host's model: weights that it can move, and the two methods that core nodes call."""

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae, self.network = vae, vae.network
        self.draws = True  # a bar of its own for each call
        self.live: LivePreview | None = None  # shows what is decoded

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels (B, C, H, W), or (B, C, T, H, W) of clips, in [-1, 1] -> the latent's mode"""
        pixels = drop_extra_frames(pixels, self.vae)
        return self.vae.encode(pixels, budget=self._budget(), progress=progress(self.draws), advice=ADVICE).mode()

    def decode(self, z: Tensor) -> Tensor:
        """latent -> pixels in [-1, 1]"""
        clip = to_clip_latent(z, self.vae)
        on_part = self.live.follow(z) if self.live else None
        bar = progress(self.draws, self.live)
        pixels = self.vae.decode(clip, budget=self._budget(), progress=bar, on_part=on_part, advice=ADVICE)
        return pixels if clip is z else pixels[0].transpose(0, 1)

    def _budget(self) -> int | None:
        from comfy import model_management

        return budget_of(self.vae.device, model_management)


@contextmanager
def never_in_tiles(thing: Any) -> Iterator[None]:
    """The host answers its own out-of-memory errors by tiles, which nobody asked for and which are approximate.

    Those of our runs do not reach it, but it may run out of memory before or after one.
    """
    for name in TILED_WAYS:
        setattr(thing, name, partial(_refuse_tiles, name))
    try:
        yield
    finally:
        for name in TILED_WAYS:
            delattr(thing, name)


@contextmanager
def one_bar(thing: Any) -> Iterator[None]:
    """The host counts tiles of images in a bar of its own; with one for each tile the node's would jump back."""
    model = thing.first_stage_model
    model.draws = thing.latent_dim != 2
    try:
        yield
    finally:
        model.draws = True


@contextmanager
def watched(thing: Any, samples: Tensor) -> Iterator[None]:
    """Shows what its model decodes of samples, the whole latent, which the host may give it piece by piece."""
    model = thing.first_stage_model
    model.live = first_look(model.vae, samples, may_fit=False)  # its weights may be elsewhere yet
    try:
        yield
    finally:
        model.live = None


def _refuse_tiles(name: str, *given: Any, **options: Any) -> Tensor:
    half = "decode" if name.lstrip("_").startswith("decode") else "encode"
    raise DoesNotFit(
        f"ComfyUI ran out of memory around this VAE and would {half} in blended tiles, which are approximate: close "
        "other programs, use a smaller image or batch, or ask for tiles by a tiled node."
    )
