"""What travels on the VAE socket: of ComfyUI an object that all of it takes for its own VAE, elsewhere the VAE."""

# pyright: reportMissingImports=false

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ...vae_core import (
    VAE,
    BadRequest,
    BrokenCheckpoint,
    Detection,
    Half,
    RunOptions,
    UnknownCheckpoint,
    detect,
    from_weights,
)
from ...vae_core.checkpoints import demand_floats, demand_whole, weights_as
from ...vae_core.devices import choose_dtype, name_dtype, parse_dtype
from ...vae_core.execution import DEFAULTS
from ...vae_core.families import ORIGINAL, family_named
from ...vae_core.images import to_pixel_range
from ..images import (
    clip_shape,
    decoded_frames,
    frames_are_batch,
    is_batch_of_frames,
    latent_frames,
)
from .changes import Change, adopt_border, find_patch
from .host_model import HostModel, never_in_tiles, one_bar, watched
from .host_vae import HostVAE
from .memory import count_usable_bytes, make_ready
from .place import device, in_comfyui
from .settings import Settings, read_original

log = logging.getLogger("exact_vae")

CORE_VAE = "the VAE of a core loader"
# Attributes that this pack gives core's VAEs.
DETECTED, FINDINGS, ORIGINAL_SETTINGS = "exact_vae_detected", "exact_vae_findings", "exact_vae_original_settings"

Load = Callable[[torch.dtype | None, torch.device], VAE]  # (dtype asked for, device) -> VAE


def to_socket(load: Load, dtype: str = "auto", device_name: str = "auto", separate_images: bool = False) -> Any:
    """What a loader puts on the VAE socket. `load` may be called again, for a copy on another device.

    separate_images: in the host's own nodes several images are no clip to a VAE of clips.
    """
    where, asked = device(device_name), parse_dtype(dtype)
    if in_comfyui():
        return _socket(load, asked, where, separate_images)
    vae = load(asked, where)
    vae.separate_images = separate_images
    return vae


def from_socket(
    thing: Any, half: Half, shape: tuple[int, ...], options: RunOptions = DEFAULTS, streamed: bool = False
) -> Any:
    """The VAE on the socket, with its weights on its device, and memory made free to run this half on this shape.

    streamed: the frames of a clip come or go a few at a time.

    Core's own VAEs are rebuilt around their tensors, without a copy. One of a family that this pack does not run, or
    that somebody has changed in a way that it does not have, comes back as a HostVAE, which calls core's methods.
    """
    if isinstance(thing, VAE):
        return thing
    _demand_vae(thing)
    model = thing.first_stage_model
    if isinstance(model, HostModel):
        make_ready(thing, count_usable_bytes(thing, model.vae, model.vae.name, half, shape, options, streamed))
        return model.vae
    detection = _detect(thing)
    if detection is None:
        return HostVAE(thing)
    make_ready(thing, count_usable_bytes(thing, detection, CORE_VAE, half, shape, options, streamed))
    return _rebuild(thing, detection, thing.vae_dtype, thing.device)


def facts(thing: Any) -> Any:
    """What the VAE on the socket is: its channels, its ratios, its law of clips. Core's VAE is not rebuilt for it."""
    if isinstance(thing, VAE):
        return thing
    _demand_vae(thing)
    model = thing.first_stage_model
    return model.vae if isinstance(model, HostModel) else _detect(thing) or HostVAE(thing)


def look(thing: Any) -> Any:
    """The VAE on the socket as it is, for reading: nothing is moved, and nothing is made free for it."""
    found = facts(thing)
    return _rebuild(thing, found) if isinstance(found, Detection) else found


def runs_in(thing: Any) -> str:
    """'bf16 on cuda:0': where the VAE on the socket runs, wherever its weights are now."""
    dtype = thing.dtype if isinstance(thing, VAE) else thing.vae_dtype
    return f"{name_dtype(dtype)} on {thing.device}"


def geometry(thing: Any) -> tuple[int, int]:
    """(latent channels, spatial ratio) of the VAE on the socket; nothing is moved for it."""
    if isinstance(thing, VAE):
        return thing.latent_channels, thing.spatial_ratio
    _demand_vae(thing)
    return thing.latent_channels, thing.spacial_compression_encode()


def _demand_vae(thing: Any) -> None:
    if not in_comfyui() or getattr(thing, "patcher", None) is None or not hasattr(thing, "first_stage_model"):
        raise BadRequest("the VAE input holds no VAE: if it comes from a checkpoint, that checkpoint has none in it.")


def _detect(thing: Any) -> Detection | None:
    """Which network core's VAE has; None if this pack does not run it as it is.

    Its weights are looked at once, and what was found is kept on core's VAE. Its modules may change at any time.
    """
    model, found = vars(thing).get(DETECTED, (None, None))
    if model is not thing.first_stage_model:
        found = _detect_weights(thing.first_stage_model.state_dict())
        vars(thing)[DETECTED] = thing.first_stage_model, found
    as_it_is = found and (find_patch(thing) or adopt_border(thing.first_stage_model, found, _read_original(thing)))
    if isinstance(as_it_is, Change):
        log.info("A VAE was changed after it was loaded, so it is left to ComfyUI's own methods: %s", as_it_is.what)
        return None
    return as_it_is


def _read_original(thing: Any) -> Settings | None:
    """What core sets in a VAE of such weights; found out once, and kept on core's VAE."""
    model, original = vars(thing).get(ORIGINAL_SETTINGS, (None, None))
    if model is not thing.first_stage_model:
        original = read_original(thing.first_stage_model.state_dict(), thing.vae_dtype)
        vars(thing)[ORIGINAL_SETTINGS] = thing.first_stage_model, original
    return original


def _detect_weights(weights: Mapping[str, Tensor]) -> Detection | None:
    try:
        found = detect({name: tuple(t.shape) for name, t in weights.items()})
        demand_whole(found, CORE_VAE)
        demand_floats(weights, found, CORE_VAE)
    except (UnknownCheckpoint, BrokenCheckpoint) as e:
        log.info("A VAE that this pack does not run is left to ComfyUI's own methods: %s", e)
        return None
    return found


def _rebuild(thing: Any, found: Detection, dtype: torch.dtype | None = None, device: torch.device | None = None) -> VAE:
    """Core's VAE as one of ours, around the same tensors.

    A tensor is copied only if the host has left it on another device or in another dtype, to be cast at each call.
    Its weights are not kept, because the host moves them; what is found out about them is kept on core's VAE.
    """
    weights = thing.first_stage_model.state_dict()
    vae = from_weights(weights, CORE_VAE, dtype, device, found, found.config.border)
    vae.findings = vars(thing).setdefault(FINDINGS, {}).setdefault(vae.border, vae.findings)
    return vae


def _socket(load: Load, asked: torch.dtype | None, where: torch.device, separate_images: bool = False) -> Any:
    """Our VAE as an object that all of ComfyUI takes for one of its own."""
    made = _socket_class()(load_for_host(load, asked, where), where, separate_images)
    made.patcher.cached_patcher_init = (_fresh_patcher, (load, asked, where))
    return made


def load_for_host(load: Load, asked: torch.dtype | None, where: torch.device) -> VAE:
    """A VAE on the CPU, which the host moves when it is needed, in what was asked for or in what suits the device.

    That is bf16 or fp32, as the host says. Where it says fp32, but would take fp16 too, it is fp16 on cards that
    compute well in nothing else, for families that fit into it; see `devices/dtypes.py`.
    """
    from comfy import model_management

    dtype = asked or model_management.vae_dtype(where, [torch.bfloat16, torch.float32])
    dtype = choose_dtype(where, dtype, dtype)
    vae = load(dtype, torch.device("cpu"))
    if where.type == "cpu":
        return vae
    if dtype is torch.float32 and not asked:
        may = model_management.vae_dtype(where, [torch.float16, torch.float32])
        fits = family_named(vae.family).rounding.fits_fp16
        best = choose_dtype(where, torch.float32, fits_fp16=fits)
        dtype = torch.float16 if best is may is torch.float16 else dtype
    return vae.to(dtype) if vae.dtype is not dtype else vae  # no VAE is loaded to run in fp16 on a CPU


def _fresh_patcher(load: Load, asked: torch.dtype | None, where: torch.device, disable_dynamic: bool = False) -> Any:
    """For a copy on another device: weights of its own."""
    return _socket(load, asked, where).patcher


@lru_cache(maxsize=1)
def _socket_class() -> type:
    """A subclass of the host's VAE; made when first needed, because the host must be there."""
    import comfy.sd
    from comfy import model_management, model_patcher

    class ExactVAE(comfy.sd.VAE):
        def __init__(self, vae: VAE, where: torch.device, separate_images: bool):
            # The smallest VAE the host knows, for all the attributes it and its later versions set; then made ours.
            super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, device=where)
            cpu = torch.device("cpu")
            offload = cpu if where.type == "cpu" else model_management.vae_offload_device()
            self.first_stage_model = HostModel(vae)
            self.patcher = model_patcher.ModelPatcher(self.first_stage_model, load_device=where, offload_device=offload)
            self.disable_offload = True  # plain torch layers: on the device as a whole, or not at all
            self.vae_dtype, self.device, self.size = vae.dtype, where, None
            self.latent_channels, self.output_channels = vae.latent_channels, vae.in_channels
            self.downscale_ratio, self.upscale_ratio = vae.spatial_ratio, vae.decoded_ratio
            if vae.temporal_ratio and (separate_images or not frames_are_batch(vae)):
                _count_frames(self, vae, vae.temporal_ratio)
                self.not_video = self.not_video or separate_images
            self.memory_used_encode = partial(_memory, vae, "encode")
            self.memory_used_decode = partial(_memory, vae, "decode")
            self.process_input, self.process_output = to_pixel_range, _to_image_in_place
            if hasattr(self, "model_size"):  # older hosts have none
                self.model_size()

        def decode(self, samples_in: Tensor, *more: Any, **options: Any) -> Tensor:
            vae = self.first_stage_model.vae
            if samples_in.ndim == 5 and frames_are_batch(vae):  # the host would decode the first frames as one clip
                return torch.stack([self.decode(clip.transpose(0, 1), *more, **options) for clip in samples_in])
            if is_batch_of_frames(samples_in.shape, vae):
                model_management.free_memory(vae.peak_bytes("decode", clip_shape(samples_in.shape, vae)), self.device)
            with never_in_tiles(self), watched(self, samples_in):
                return super().decode(samples_in, *more, **options)

        def encode(self, pixel_samples: Tensor, *more: Any, **options: Any) -> Tensor:
            with never_in_tiles(self):
                return super().encode(pixel_samples, *more, **options)

        def decode_tiled(self, samples: Tensor, *more: Any, **options: Any) -> Tensor:
            with one_bar(self), watched(self, samples):
                return super().decode_tiled(samples, *more, **options)

        def encode_tiled(self, pixel_samples: Tensor, *more: Any, **options: Any) -> Tensor:
            with one_bar(self):
                return super().encode_tiled(pixel_samples, *more, **options)

        def get_sd(self) -> dict[str, Tensor]:
            """The weights under names that ComfyUI itself loads."""
            return weights_as(self.first_stage_model.vae, ORIGINAL)

    return ExactVAE


def _count_frames(ours: Any, vae: VAE, ratio: int) -> None:
    """As the host does for VAEs of clips: rules for frames, then rows, then columns."""
    ours.latent_dim, ours.not_video = 3, bool(vae.clip_law and vae.clip_law.images_stay_apart)
    small, large = vae.spatial_ratio, vae.decoded_ratio
    ours.downscale_ratio = (partial(latent_frames, vae=vae), small, small)
    ours.upscale_ratio = (partial(decoded_frames, vae=vae), large, large)
    ours.downscale_index_formula, ours.upscale_index_formula = (ratio, small, small), (ratio, large, large)


def _memory(vae: VAE, part: str, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """What the host makes free, and divides free memory by to decode so many items of a batch at a time."""
    if part == "decode" and is_batch_of_frames(shape, vae):
        return 1  # they are the frames of one clip, never to be divided
    return max(vae.peak_bytes(part, tuple(shape)), 1)


def _to_image_in_place(pixels: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]. The host calls this on a slice and throws the result away: it must write in place."""
    return pixels.add_(1).div_(2).clamp_(0, 1)
