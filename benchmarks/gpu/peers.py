"""VAEs whose speed is measured, ours and diffusers' with the same weights. Without diffusers, ours alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from families import CASES as PUBLISHED
from families import SANA
from time_and_memory import BLOCKS, WIDTHS
from torch import Tensor

from gpu.cases import SD, Case, make_weights
from gpu.surroundings import import_diffusers

EAGER = "diffusers"  # NCHW, as it comes; but without TF32 in fp32, as ours
TF32 = "diffusers, TF32"  # in fp32, but convolutions and products of matrices read 10 bits of each number
CHANNELS_LAST = "diffusers, channels_last"
COMPILED = "diffusers, compiled"


class Model(NamedTuple):
    """A published VAE.

    case        its family and config, as ours is made where diffusers is missing
    class_name  in diffusers, with its defaults changed by `settings`
    """

    case: Case
    class_name: str
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        return self.case.title


_HUNYUAN = next(case for case in PUBLISHED if "Hunyuan" in case.title)
SD_CLASS = Model(SD, "AutoencoderKL", {**BLOCKS, **WIDTHS})
WAN = Model(Case("Wan 2.1", "wan"), "AutoencoderKLWan", {})
OTHERS = (
    Model(Case("Qwen-Image", "wan"), "AutoencoderKLQwenImage", {}),
    Model(Case("FLUX.2", "kl", changes={"z_channels": 32, "embed_dim": 32, "patch": 2}), "AutoencoderKLFlux2", {}),
    Model(Case("HunyuanImage 2.1", "hunyuan_image"), "AutoencoderKLHunyuanImage", _HUNYUAN.config),
    Model(Case("Sana (DC-AE f32c32)", "dc_ae"), "AutoencoderDC", SANA),
)
# The same kinds with few channels, to try the script itself.
TINY_SD = Model(SD._replace(narrower=4), "AutoencoderKL", {**BLOCKS, **WIDTHS, "block_out_channels": (32, 32, 64, 64)})
TINY_WAN = Model(Case("Wan 2.1", "wan", narrower=6), "AutoencoderKLWan", {"base_dim": 16})
TINY_OTHERS = (Model(Case("Qwen-Image", "wan", narrower=6), "AutoencoderKLQwenImage", {"base_dim": 16}),)


def list_classes(tiny: bool) -> list[str]:
    """Of diffusers, that are needed."""
    models = (TINY_SD, TINY_WAN, *TINY_OTHERS) if tiny else (SD_CLASS, WAN, *OTHERS)
    return [model.class_name for model in models]


class Pair(NamedTuple):
    """Both VAEs of a model on the device; without diffusers `peer` is None, and `why` says why."""

    ours: Any
    peer: Any
    why: str


@torch.no_grad()
def load_pair(model: Model, dtype: torch.dtype, device: str) -> Pair:
    """diffusers draws the weights, on the device, which is fast; ours takes them as they are."""
    from exact_vae.vae_core import from_weights

    try:
        with torch.device(device), _default_dtype(dtype):
            peer = getattr(import_diffusers(), model.class_name)(**model.settings).eval().requires_grad_(False)
        return Pair(from_weights(_copy(peer), model.title, dtype, torch.device(device)), peer, "")
    except Exception as e:  # no diffusers, one that does not run here, or one without this class
        why = f"{type(e).__name__}: {e}"
        return Pair(from_weights(make_weights(model.case), model.title, dtype, torch.device(device)), None, why)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _copy(peer: Any) -> dict[str, Tensor]:
    """Its weights, of their own: each side may lay them out as it likes."""
    return {name: t.clone() for name, t in peer.state_dict().items()}


def make_input(vae: Any, part: str, height: int, width: int | None = None, frames: int = 0) -> Tensor:
    """What a half reads for an image of so many pixels, on its device: normal numbers.

    frames: of the clip; 0: an image
    """
    width = width or height
    ratio, channels = (vae.spatial_ratio, vae.latent_channels) if part == "decode" else (1, vae.in_channels)
    in_latent = frames and part == "decode"
    time = [vae.clip_law.latents(frames) if in_latent else frames] if frames else []
    shape = (1, channels, *time, height // ratio, width // ratio)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(vae.device)
    return x if part == "decode" else x.clamp(-1, 1)


def prepare_ours(pair: Pair, part: str, x: Tensor, **how: Any) -> Callable[[], Any]:
    """The call that is measured."""
    return partial(pair.ours.decode if part == "decode" else pair.ours.encode, x, **how)


def prepare_peer(pair: Pair, part: str, x: Tensor, who: str, mode: str | None = None) -> Callable[[], Any]:
    """The same of diffusers. mode: of torch.compile. Raises ImportError without diffusers."""
    if pair.peer is None:
        raise ImportError(f"diffusers does not run here: {pair.why}")
    x = _shape_for_peer(pair, part, x)
    last = CHANNELS_LAST in who
    _lay_out(pair.peer, last)
    x = x.contiguous(memory_format=_layout(x, last))
    call = pair.peer.decode if part == "decode" else pair.peer.encode
    if COMPILED in who:
        call = torch.compile(call, mode=mode)
    return partial(_call_without_gradients, call, x)


@torch.no_grad()
def _call_without_gradients(call: Callable[..., Any], x: Tensor) -> Any:
    return call(x)


def _shape_for_peer(pair: Pair, part: str, x: Tensor) -> Tensor:
    """In its dtype. diffusers' FLUX.2 decodes latents before patches are traded for channels; its Qwen-Image, clips."""
    name = type(pair.peer).__name__
    if name == "AutoencoderKLFlux2" and part == "decode":
        x = torch.nn.functional.pixel_shuffle(x, 2)
    if name == "AutoencoderKLQwenImage" and x.ndim == 4:
        x = x[:, :, None]
    return x.to(pair.ours.dtype)


def _lay_out(peer: Any, last: bool) -> None:
    """Of images and of clips alike: torch has one channels_last for each."""
    for parameter in peer.parameters():
        parameter.data = parameter.data.contiguous(memory_format=_layout(parameter, last))


def _layout(x: Tensor, last: bool) -> torch.memory_format:
    if not last or x.ndim not in (4, 5):
        return torch.contiguous_format
    return torch.channels_last if x.ndim == 4 else torch.channels_last_3d
