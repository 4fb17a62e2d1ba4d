"""A VAE of a family that this pack does not run, through the methods that its host gives it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...vae_core import Posterior, RunOptions, Tiles
from ...vae_core.execution import DEFAULTS
from ...vae_core.images import pad_to, to_pixel_range, to_unit_range
from ...vae_core.latents import Findings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ...vae_core.execution import Frames, RunKeywords

WHOLE = "by ComfyUI's own VAE (this pack does not run its family): whole, or in blended tiles if memory runs out"
TILED = "by ComfyUI's own VAE (this pack does not run its family): in blended tiles, approximate"


@dataclass(frozen=True)
class ClipTiles(Tiles):
    """Tiles that are cut in time too: so many frames, of which so many are the next tile's as well."""

    frames: int = 64
    frame_overlap: int = 8


RATIO = "downscale_ratio_spacial"  # in a LATENT: pixels to one of its pixels, by which a sampler may resize it


class HostVAE:
    """Same calls as `VAE`. Of the ways of running it knows the host's: all at once, or in tiles."""

    family, name = "host", "this VAE"
    temporal_ratio = clip_law = None  # the host makes clips of frames itself
    latent_space = fingerprint = None

    def __init__(self, thing: Any):
        self.thing = thing
        self.findings = Findings()
        self.in_channels, self.latent_channels = thing.output_channels, thing.latent_channels
        self.spatial_ratio = thing.spacial_compression_encode()

    @property
    def network_name(self) -> str:
        """The class of the host's network, which is all that is known of its family."""
        return type(self.thing.first_stage_model).__name__

    def count_latent_frames(self, frames: int) -> int | None:
        """Frames of the latent of a clip, by the host's own rule; None for a VAE of images."""
        ratios = self.thing.downscale_ratio
        rule = ratios[0] if isinstance(ratios, tuple) else None
        is_clip = callable(rule) and getattr(self.thing, "latent_dim", 2) == 3
        return int(rule(frames)) if is_clip else None  # type: ignore[operator]

    @property
    def images_are_clips(self) -> bool:
        """Does the host make a clip of each image, rather than one of all that come together?"""
        return getattr(self.thing, "not_video", False) is True

    def encode(self, pixels: Tensor, *, options: RunOptions = DEFAULTS, **keywords: "Unpack[RunKeywords]") -> Posterior:
        """Pixels in [-1, 1] -> the latent, as a posterior without spread.

        pixels: (B, C, H, W), which the host may take for a clip, or (B, C, 1, H, W), images that it encodes one by one.
        """
        tiles = _start(replace(options, **keywords))
        size = (pixels.shape[-2], pixels.shape[-1])
        apart = pixels.ndim == 5
        image = to_unit_range(pad_to(pixels[:, :, 0] if apart else pixels, self.spatial_ratio)).movedim(1, -1)
        found = [self._encode(one, tiles) for one in (image.split(1) if apart else [image])]
        return Posterior.of_point(torch.cat(found), size=size)

    def _encode(self, image: Tensor, tiles: ClipTiles | None) -> Tensor:
        """image: (B, H, W, C) in [0, 1]"""
        if tiles:
            return self.thing.encode_tiled(image, **_of_image(tiles, self.spatial_ratio))
        return self.thing.encode(image)

    def decode(
        self,
        z: Tensor,
        *,
        size: tuple[int, int] | None = None,
        options: RunOptions = DEFAULTS,
        **keywords: "Unpack[RunKeywords]",
    ) -> Tensor:
        """z (B, latent_channels, h, w), or (B, latent_channels, T, h, w) -> pixels (B, C, H, W) in [-1, 1]."""
        tiles = _start(replace(options, **keywords))
        image = self.thing.decode_tiled(z, **self._of_latent(tiles)) if tiles else self.thing.decode(z)
        pixels = to_pixel_range(image.flatten(0, -4).movedim(-1, 1))  # from (B, H, W, C), or (B, T, H, W, C) of a clip
        larger = self.thing.spacial_compression_decode() // self.spatial_ratio  # some decode to twice the size
        return pixels[..., : size[0] * larger, : size[1] * larger] if size else pixels

    def encode_frames(self, source: "Frames", *, options: RunOptions = DEFAULTS) -> Posterior:
        """The latent of the frames of a source, which are all read first: the host takes them together."""
        return self.encode(torch.cat(list(source.read()), 1).transpose(0, 1), options=options)

    def decode_frames(
        self, z: Tensor, *, size: tuple[int, int] | None = None, options: RunOptions = DEFAULTS
    ) -> Iterator[Tensor]:
        """All frames (C, T, H, W) at once, as the host gives them."""
        yield self.decode(z, size=size, options=options).transpose(0, 1)

    def _of_latent(self, tiles: ClipTiles) -> dict[str, int]:
        """The host counts tiles in pixels and frames of the latent when it decodes."""
        ratio, frames = self.thing.spacial_compression_decode(), self.thing.temporal_compression_decode()
        side = max(2, tiles.size // ratio)
        sides = {"tile_x": side, "tile_y": side, "overlap": _shared(tiles.overlap // ratio, side)}
        if frames is None:
            return sides
        long = max(2, tiles.frames // frames)
        return {**sides, "tile_t": long, "overlap_t": max(1, min(long // 2, tiles.frame_overlap // frames))}


def _start(options: RunOptions) -> ClipTiles | None:
    """Tells how the host will run, and gives the tiles that it is asked for."""
    tiles = options.tiles
    if options.on_plan:
        options.on_plan(TILED if tiles else WHOLE)
    if tiles is None or isinstance(tiles, ClipTiles):
        return tiles
    return ClipTiles(tiles.size, tiles.overlap)


def _of_image(tiles: ClipTiles, ratio: int) -> dict[str, int]:
    """And in those of the image when it encodes."""
    side = max(2, tiles.size // ratio)
    sides = {"tile_x": side * ratio, "tile_y": side * ratio, "overlap": _shared(tiles.overlap // ratio, side) * ratio}
    return {**sides, "tile_t": tiles.frames, "overlap_t": min(tiles.frame_overlap, tiles.frames - 1)}


def _shared(overlap: int, side: int) -> int:
    """The host also runs tiles of half the width, which must be wider than what they share."""
    return min(overlap, side // 2 - 1)
