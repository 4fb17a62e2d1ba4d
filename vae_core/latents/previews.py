"""Previews: an image of a latent without decoding it, from three linear combinations of its channels.

For a few latent spaces the factors of these combinations are published. For any VAE they can be fitted: synthetic
images are encoded, their colours are averaged over the cells of the latent, and the factors are the least squares fit
of these colours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..devices.cards import to_float64
from ..devices.numerics import pin_numerics
from ..errors import LatentMismatch
from ..images.pixels import flatten_frames
from ..plain import describe
from .conventions import RAW, SCALED, convert
from .noise import Noise
from .numbers import LARGEST, demand_latent
from .spaces import LatentSpace
from .spectra import shape_spectrum, standardise

IMAGES, CELLS = 4, 16  # a VAE is fitted on so many images, of so many latent pixels each way
CONTRAST = 0.6  # standard deviation of their colours, found by trial
POWER = -3  # exponent of their power spectrum, found by trial
RIDGE = 1e-4  # regularisation, relative to the mean variance of a channel: keeps factors of many channels small


class Factors(NamedTuple):
    """pixels in [-1, 1] = channels @ weight + bias, with weight (C, 3) and bias (3,), float32."""

    weight: Tensor
    bias: Tensor


@dataclass
class Findings:
    """What has been found out about the weights of a VAE. It holds as long as they do.

    A VAE that is built again around the same weights may be given the findings of the first.
    fingerprint  see `VAE.fingerprint`
    factors      of its latents, see `fit`
    """

    fingerprint: str | None = None
    factors: Factors | None = None


# For scaled latents. InvokeAI (Apache-2.0), invokeai/app/util/step_callback.py: SD 1 by @keturn, @erucipe and
# @torridgristle (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204), SDXL by @StAlKeR7779,
# SD 3 and CogView4 by its scripts/generate_vae_linear_approximation.py.
# fmt: off
PUBLISHED: Mapping[str, tuple[tuple[float, float, float], ...]] = {
    "sd1": (
        (0.3444, 0.1385, 0.0670), (0.1247, 0.4027, 0.1494), (-0.3192, 0.2513, 0.2103), (-0.1307, -0.1874, -0.7445),
    ),
    "sdxl": (
        (0.3816, 0.4930, 0.5320), (-0.3753, 0.1631, 0.1739), (0.1770, 0.3588, -0.2048), (-0.4350, -0.2644, -0.4289),
    ),
    "sd3": (
        (-0.05240681, 0.03251581, 0.0749016), (-0.0580572, 0.00759826, 0.05729818),
        (0.16144888, 0.01270368, -0.03768577), (0.14418615, 0.08460266, 0.15941818),
        (0.04894035, 0.0056485, -0.06686988), (0.05187166, 0.19222395, 0.06261094),
        (0.1539433, 0.04818359, 0.07103094), (-0.08601796, 0.09013458, 0.10893912),
        (-0.12398469, -0.06766567, 0.0033688), (-0.0439737, 0.07825329, 0.02258823),
        (0.03101129, 0.06382551, 0.07753657), (-0.01315361, 0.08554491, -0.08772475),
        (0.06464487, 0.05914605, 0.13262741), (-0.07863674, -0.02261737, -0.12761454),
        (-0.09923835, -0.08010759, -0.06264447), (-0.03392309, -0.0804029, -0.06078822),
    ),
    "cogview4": (
        (0.00408832, -0.00082485, -0.00214816), (0.00084172, 0.00132241, 0.00842067),
        (-0.00466737, -0.00983181, -0.00699561), (0.03698397, -0.04797235, 0.03585809),
        (0.00234701, -0.00124326, 0.00080869), (-0.00723903, -0.00388422, -0.00656606),
        (-0.00970917, -0.00467356, -0.00971113), (0.17292486, -0.03452463, -0.1457515),
        (0.02330308, 0.02942557, 0.02704329), (-0.00903131, -0.01499841, -0.01432564),
        (0.01250298, 0.0019407, -0.02168986), (0.01371188, 0.00498283, -0.01302135),
        (0.42396525, 0.4280575, 0.42148206), (0.00983825, 0.00613302, 0.00610316),
        (0.00473307, -0.00889551, -0.00915924), (-0.00955853, -0.00980067, -0.00977842),
    ),
}
# fmt: on


@pin_numerics()
def preview(latent: Tensor, factors: Factors) -> Tensor:
    """Turn a latent into a small image.

    latent: (B, C, h, w), floating dtype, in the convention that the factors are for; those of `fit` and
    `published_factors` are for raw latents.
    Returns pixels (B, 3, h, w), about [-1, 1], in the same dtype. Raises LatentMismatch for other channels.
    """
    if demand_latent(latent).ndim != 4:
        raise LatentMismatch(f"this latent is {describe(latent)}: previews are of shape (B, C, h, w).")
    if latent.shape[1] != len(factors.weight):
        raise LatentMismatch(
            f"this latent has {latent.shape[1]} channels, but the preview is for {len(factors.weight)}: use the "
            "VAE of the model that made it."
        )
    weight, bias = (t.to(latent) for t in factors)
    return torch.einsum("bchw,cr->brhw", latent, weight) + bias[:, None, None]


@pin_numerics()
def published_factors(name: str, space: LatentSpace) -> Factors | None:
    """The published factors of a space, for its raw latents; None if nobody has published any."""
    if name not in PUBLISHED:
        return None
    weight = torch.tensor(PUBLISHED[name], dtype=torch.float32)
    # The factors are for scaled latents. Those for raw ones follow from what zeros and unit vectors become.
    points = F.pad(torch.eye(space.channels, dtype=torch.float32), (0, 0, 1, 0))[..., None, None]
    scaled = convert(points, space, RAW, SCALED)[..., 0, 0] @ weight
    return Factors(scaled[1:] - scaled[0], scaled[0])


@pin_numerics()
def fit(vae: Any) -> Factors:
    """Factors for the raw latents of this VAE: weight (C, 3), bias (3,), float32.

    The VAE is run once on small images; its `findings` keep the factors. Raises what `VAE.encode` raises.
    vae: a `VAE`, or what has its `findings`, `encode` (or `decode`), `in_channels`, `latent_channels`, `spatial_ratio`.
    """
    if vae.findings.factors is None:
        vae.findings.factors = fit_least_squares(*make_probes(vae))
    return vae.findings.factors


@pin_numerics()
def make_probes(vae: Any) -> tuple[Tensor, Tensor]:
    """Pairs to fit factors on: (latent (N, C, h, w), mean colours of its cells (N, 3, h, w)), both float32.

    Synthetic images are encoded. If the VAE has no encoder, smooth noise is decoded.
    """
    parts = getattr(getattr(vae, "config", None), "parts", ("encoder", "decoder"))
    cells = (getattr(vae, "image_size", None) or 0) // vae.spatial_ratio or CELLS
    if "encoder" not in parts:
        latent = _draw_smooth(vae.latent_channels, cells)
        return latent, _cell_colours([vae.decode(_as_single(one, vae)) for one in latent], latent)
    pixels = make_images(vae.spatial_ratio, cells)
    given = F.pad(pixels, (0, 0, 0, 0, 0, vae.in_channels - 3), value=1.0)
    latents = [vae.encode(_as_single(one, vae)).mode() for one in given]
    latent = torch.cat([flatten_frames(one.float().cpu())[:1] for one in latents])
    return latent, _cell_colours(list(pixels[:, None]), latent)


def _as_single(one: Tensor, vae: Any) -> Tensor:
    """(C, h, w) -> a batch of one image, or a clip of one frame for a VAE of clips."""
    return one[None] if getattr(vae, "temporal_ratio", None) is None else one[None, :, None]


def _cell_colours(pixels: Sequence[Tensor], latent: Tensor) -> Tensor:
    """Mean colours of images (the first frame of each clip) over the cells of the latent. -> (N, 3, h, w) float32"""
    first = torch.cat([flatten_frames(one.float().cpu())[:1, :3] for one in pixels])
    return F.adaptive_avg_pool2d(first, (latent.shape[-2], latent.shape[-1]))


@pin_numerics()
def make_images(ratio: int, cells: int = CELLS) -> Tensor:
    """Clouds of colour: (IMAGES, 3, H, W) in [-1, 1]. Smooth, because a preview shows large shapes only."""
    grey, colour = _draw_smooth(1, cells * ratio), _draw_smooth(3, cells * ratio)
    return (CONTRAST * (grey + colour) / 2**0.5).clamp(-1, 1)


@pin_numerics()
def fit_least_squares(latent: Tensor, pixels: Tensor) -> Factors:
    """The factors that fit these pixels (N, 3, h, w) best, given the latent (N, C, h, w)."""
    x, y = (t.double().movedim(1, -1).flatten(0, 2) for t in (latent, pixels))
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    squares = x.T @ x
    ridge = RIDGE * squares.diagonal().mean().clamp(min=1e-12) * torch.eye(len(squares), dtype=x.dtype)
    weight = torch.linalg.solve(squares + ridge, x.T @ y)
    return Factors(weight.float(), (mean_y - mean_x @ weight).float())


@pin_numerics()
def false_colours(latent: Tensor) -> Tensor:
    """Show the three principal components of a latent as red, green and blue, if nothing is known about it.

    latent: (B, C, h, w), any range and dtype. Returns pixels (B, 3, h, w), float32; -1 and 1 are three standard
    deviations away.
    """
    x = latent.float().movedim(1, -1).flatten(0, 2)
    x = x / (x.abs().amax() / LARGEST).clamp(min=1)  # the squares of larger ones would leave fp32
    x = x - x.mean(0)
    values, directions = torch.linalg.eigh(to_float64(x.T @ x / len(x)))
    main = directions.flip(1)[:, :3] / values.flip(0)[:3].clamp(min=1e-12).sqrt() / 3
    main = main * torch.where(main.sum(0) < 0, -1.0, 1.0)  # the sign of an eigenvector is arbitrary: fix it
    main = F.pad(main, (0, 3 - main.shape[1]))
    shape = (len(latent), *latent.shape[2:], 3)
    return (x @ main.to(x)).reshape(shape).movedim(-1, 1).clamp(-1, 1)


def _draw_smooth(channels: int, side: int) -> Tensor:
    """Noise of variance 1, mostly large shapes: (IMAGES, channels, side, side) float32."""
    return standardise(shape_spectrum(Noise(0).draw((IMAGES, channels, side, side)), POWER))
