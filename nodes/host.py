"""The only place that knows ComfyUI exists: files, devices, progress, memory, and what travels on the VAE socket.

Everything here works in ComfyUI and without it (the headless runner, the command line, plain Python). In ComfyUI the
socket carries an object that core nodes and other packs accept as a VAE; elsewhere it carries the VAE itself.
"""

# pyright: reportMissingImports=false

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..vae_core import (
    VAE,
    BadRequest,
    BrokenCheckpoint,
    DoesNotFit,
    UnknownCheckpoint,
    from_weights,
    planning,
    precision,
)
from ..vae_core.execution.budget import MARGIN
from ..vae_core.progress import Progress
from .host_codec import HostCodec

log = logging.getLogger("exact_vae")

Load = Callable[[torch.dtype | None, torch.device], VAE]  # (dtype asked for, device) -> VAE

SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


class Surroundings(NamedTuple):
    """What a run without ComfyUI has instead: a folder of models, and someone who watches progress."""

    models: Path
    progress: Progress | None = None


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextmanager
def surroundings(models: str | Path, progress: Progress | None = None) -> Iterator[None]:
    """Run nodes with the models of this folder (vae/, vae_approx/, checkpoints/ in it, as in ComfyUI)."""
    token = _surroundings.set(Surroundings(Path(models), progress))
    try:
        yield
    finally:
        _surroundings.reset(token)


def in_comfyui() -> bool:
    """Is this process ComfyUI? It has imported both of these before it loads any pack."""
    return "folder_paths" in sys.modules and "comfy.sd" in sys.modules


def files(kind: str) -> list[str]:
    """The weights in a folder of models ('vae', 'vae_approx', 'checkpoints'), by their names within it."""
    if in_comfyui():
        import folder_paths

        return list(folder_paths.get_filename_list(kind))
    folder = _models() / kind
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def path(kind: str, name: str) -> Path:
    """Where such a file is. A name is untrusted: it comes from a workflow, and must be one that `files` lists."""
    if name not in files(kind):
        raise BadRequest(f"there is no '{name}' in the folder of models '{kind}'.")
    if in_comfyui():
        import folder_paths

        return Path(folder_paths.get_full_path_or_raise(kind, name))
    return _models() / kind / name


def _models() -> Path:
    here = _surroundings.get()
    return here.models if here else Path(os.environ.get("EXACT_VAE_MODELS", "models"))


def progress() -> Progress | None:
    """What to call while something runs; it draws a bar, and raises if the user has cancelled."""
    if in_comfyui():
        return _comfyui_progress()
    here = _surroundings.get()
    return here.progress if here else None


class Shown:
    """Takes the plan of a run and shows it: as text on the node before it runs, and in what the node returns."""

    text = ""

    def __call__(self, plan: Any) -> None:
        self.text = str(plan)
        if in_comfyui():
            _show(self.text)

    def beside(self, *result: Any) -> dict[str, Any]:
        """A node's result with the text beside it, for the history and for whoever asks over the API."""
        return {"ui": {"text": [self.text]}, "result": result}


def _show(text: str) -> None:
    """The host draws progress text on any node; the "text" of its result only on its own Preview as Text."""
    from comfy_execution.utils import get_executing_context

    running = get_executing_context()
    if running is None:
        return
    from server import PromptServer

    if PromptServer.instance.client_id is not None:
        PromptServer.instance.send_progress_text(text, running.node_id, PromptServer.instance.client_id)


def result(x: Tensor) -> Tensor:
    """A tensor as nodes pass it on: where the host keeps intermediate results, in the dtype it keeps them."""
    if in_comfyui():
        from comfy import model_management

        return x.to(model_management.intermediate_device(), model_management.intermediate_dtype())
    return x.to("cpu", torch.float32)


def device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda:0' ... -> the device a VAE runs on."""
    if name == "auto" and in_comfyui():
        from comfy import model_management

        return model_management.vae_device()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return precision.usable(name)


def to_socket(load: Load, dtype: str = "auto", device_name: str = "auto") -> Any:
    """What a loader puts on the VAE socket. `load` may be called again, for a copy on another device."""
    where, asked = device(device_name), precision.named(dtype)
    return _socket(load, asked, where) if in_comfyui() else load(asked, where)


def from_socket(thing: Any, part: str, shape: tuple[int, ...], **way: Any) -> Any:
    """The VAE on the socket, its weights on its device and memory made free to `part` ('encode' or 'decode') `shape`.

    `way` of running: `rows`, `keep` and `tiles` of `VAE.decode`. Core's own VAEs are rebuilt around their tensors,
    without a copy; one of a family that this pack does not run comes back as an object that calls core's methods.
    """
    if isinstance(thing, VAE):
        return thing
    _demand_vae(thing)
    model = thing.first_stage_model
    vae = model.vae if isinstance(model, Codec) else _rebuilt(thing)
    if vae is None:
        return HostCodec(thing)
    _make_ready(thing, _most_it_could_use(thing, vae, part, shape, **way))
    return vae if isinstance(model, Codec) else _rebuilt(thing, thing.vae_dtype, thing.device)


def geometry(thing: Any) -> tuple[int, int]:
    """(latent channels, spatial ratio) of the VAE on the socket; nothing is moved for it."""
    if isinstance(thing, VAE):
        return thing.latent_channels, thing.spatial_ratio
    _demand_vae(thing)
    return thing.latent_channels, thing.spacial_compression_encode()


def _demand_vae(thing: Any) -> None:
    if not in_comfyui() or getattr(thing, "patcher", None) is None or not hasattr(thing, "first_stage_model"):
        raise BadRequest("the VAE input holds no VAE: if it comes from a checkpoint, that checkpoint has none in it.")


def _most_it_could_use(thing: Any, vae: VAE, part: str, shape: tuple[int, ...], tiles: Any = None, **way: Any) -> int:
    """Bytes of the best plan that the device could hold with nothing else on it: more need not be made free.

    Raises DoesNotFit if not even that would do.
    """
    if thing.device.type == "cpu":  # where the host makes nothing free
        return 0
    from comfy import model_management

    total = model_management.get_total_memory(thing.device) - thing.patcher.model_size()
    if tiles:
        shape = tiles.within(shape, 1 if part == "encode" else vae.spatial_ratio)
    wanted = planning.request(vae.family, vae.config, part, shape, thing.vae_dtype)
    what = f"to {part} {shape[0]} x {shape[-1]}x{shape[-2]} with '{vae.name}'"
    return planning.plan(wanted, thing.device, budget=_without_reserve(total), what=what, **way).peak


def _make_ready(thing: Any, needed: int) -> None:
    from comfy import model_management

    model_management.load_models_gpu([thing.patcher], memory_required=needed, force_full_load=True)


def budget(thing: Any) -> int | None:
    """Bytes that a run of the VAE on the socket may use beside its weights, as the host counts what is free."""
    return None if isinstance(thing, VAE) else _budget(thing.device, thing.patcher)


def _budget(device: torch.device, counts: Any) -> int | None:
    """None on a CPU, of which the host knows no more than the library."""
    return None if device.type == "cpu" else _without_reserve(counts.get_free_memory(device))


def _without_reserve(free: int) -> int:
    """Less what the person told the host to leave to others, and a margin."""
    from comfy import model_management

    return max(1, int((free - model_management.extra_reserved_memory()) * (1 - MARGIN)))


def _rebuilt(thing: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> VAE | None:
    """Core's VAE as one of ours, around the same tensors; None if it is of no family that this pack runs.

    A tensor is copied only if the host has left it on another device or in another dtype, to be cast at each call.
    """
    try:
        return from_weights(thing.first_stage_model.state_dict(), "the VAE of a core loader", dtype, device)
    except (UnknownCheckpoint, BrokenCheckpoint) as e:
        log.info("A VAE that this pack does not run is left to ComfyUI's own methods: %s", e)
        return None


def _comfyui_progress() -> Progress:
    import comfy.utils
    from comfy import model_management

    bar = comfy.utils.ProgressBar(1)

    def tell(done: int, total: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return tell


class Codec(nn.Module):
    """A VAE as the host's model: weights that it can move, and the two methods that core nodes call."""

    def __init__(self, vae: VAE):
        super().__init__()
        self.vae, self.network = vae, vae.network

    def encode(self, pixels: Tensor) -> Tensor:
        """pixels (B, C, H, W) in [-1, 1] -> the latent's mode"""
        with _plain_memory_errors():
            return self.vae.encode(pixels, budget=self._budget(), progress=progress()).mode()

    def decode(self, z: Tensor) -> Tensor:
        """latent -> pixels in [-1, 1]"""
        with _plain_memory_errors():
            return self.vae.decode(z, budget=self._budget(), progress=progress())

    def _budget(self) -> int | None:
        from comfy import model_management

        return _budget(self.vae.device, model_management)


@contextmanager
def _plain_memory_errors() -> Iterator[None]:
    """Core answers torch's own out-of-memory error by tiling; it would not know ours."""
    try:
        yield
    except DoesNotFit as e:
        raise e.__cause__ or e from None


def _socket(load: Load, asked: torch.dtype | None, where: torch.device) -> Any:
    """Our VAE as an object that all of ComfyUI takes for one of its own."""
    from comfy import model_management

    dtype = asked or model_management.vae_dtype(where, [torch.bfloat16, torch.float32])
    vae = load(precision.choose(where, dtype, dtype), torch.device("cpu"))  # the host moves it when it is needed
    made = _socket_class()(vae, where)
    made.patcher.cached_patcher_init = (_fresh_patcher, (load, asked, where))
    return made


def _fresh_patcher(load: Load, asked: torch.dtype | None, where: torch.device, disable_dynamic: bool = False) -> Any:
    """For a copy on another device: weights of its own."""
    return _socket(load, asked, where).patcher


@lru_cache(maxsize=1)
def _socket_class() -> type:
    """A subclass of the host's VAE; made when first needed, because the host must be there."""
    import comfy.sd
    from comfy import model_management, model_patcher

    class ExactVAE(comfy.sd.VAE):
        def __init__(self, vae: VAE, where: torch.device):
            # The smallest VAE the host knows, for all the attributes it and its later versions set; then made ours.
            super().__init__(sd={"pixel_space_vae": torch.tensor(1.0)}, device=where)
            cpu = torch.device("cpu")
            offload = cpu if where.type == "cpu" else model_management.vae_offload_device()
            self.first_stage_model = Codec(vae)
            self.patcher = model_patcher.ModelPatcher(self.first_stage_model, load_device=where, offload_device=offload)
            self.disable_offload = True  # plain torch layers: on the device as a whole, or not at all
            self.vae_dtype, self.device, self.size = vae.dtype, where, None
            self.latent_channels, self.output_channels = vae.latent_channels, vae.in_channels
            self.upscale_ratio = self.downscale_ratio = vae.spatial_ratio
            self.memory_used_encode = partial(_memory, vae, "encode")
            self.memory_used_decode = partial(_memory, vae, "decode")
            self.process_input, self.process_output = _to_minus_one, _to_image_in_place
            self.model_size()

        def get_sd(self) -> dict[str, Tensor]:
            """The weights under names that ComfyUI itself loads."""
            weights = self.first_stage_model.network.state_dict()
            tiny = self.first_stage_model.vae.family == "tiny"
            return {
                f"taesd_{n}" if tiny and n.startswith(("encoder.", "decoder.")) else n: t for n, t in weights.items()
            }

    return ExactVAE


def _memory(vae: VAE, part: str, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return max(vae.peak_bytes(part, tuple(shape)), 1)


def _to_minus_one(image: Tensor) -> Tensor:
    return image * 2 - 1


def _to_image_in_place(pixels: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]. The host calls this on a slice and throws the result away: it must write in place."""
    return pixels.add_(1).div_(2).clamp_(0, 1)
