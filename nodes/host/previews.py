"""A first look at a long decode: a small image of the latent itself, which the host draws on the node meanwhile.

Only if the user has chosen previews (`--preview-method`, or the editor's settings), as for samplers.
"""

# pyright: reportMissingImports=false

from typing import Any

from torch import Tensor

from ...vae_core.images import flatten_frames, to_levels, to_unit_range
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


def first_look(vae: Any, latent: Tensor, space: str | None = None, may_fit: bool = True) -> None:
    """Shows the raw latent, (B, C, h, w) or (B, C, T, h, w), in colour, if factors for it are known or soon found.

    space: whose latent it is if the VAE does not say. may_fit: may the VAE be run? It has to be on its device.
    """
    if not in_comfyui() or latent.shape[0] * latent[0, 0].numel() < LONG or not _wanted():
        return
    factors = _factors(vae, latent, space, may_fit)
    if factors and len(factors.weight) == latent.shape[1]:
        _send(preview(flatten_frames(latent[:1])[:1].float().cpu().nan_to_num(0, 0, 0), factors)[0])


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


def _send(pixels: Tensor) -> None:
    """pixels (3, h, w) in [-1, 1]. The host enlarges them and sends them as JPEG, in another thread."""
    import comfy.utils
    from comfy.cli_args import args
    from PIL import Image

    image = Image.fromarray(to_levels(to_unit_range(pixels)).movedim(0, -1).numpy())
    comfy.utils.ProgressBar(1).update_absolute(0, 1, ("JPEG", image, args.preview_size))
