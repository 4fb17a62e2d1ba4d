"""Moving a VAE to a device and casting it, in the forms that torch's modules have."""

from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from ..devices.dtypes import demand_device, demand_dtype, is_name_of_dtype
from ..errors import BadRequest
from .blocks.base import Network
from .doubling import keep_unrounded, list_doubled

if TYPE_CHECKING:
    from typing_extensions import Self

Device: TypeAlias = torch.device | str | int
Where: TypeAlias = Device | torch.dtype | Tensor | torch.memory_format | bool | None  # where to, as what, or how

SAYING_WHERE = ("device", "dtype", "tensor")
SAYING_HOW = ("non_blocking", "copy", "memory_format")  # which torch takes, and which change no number here


class Castable:
    """The short words for `to`. Every method returns the object itself."""

    def to(self, *where: Where, **named: Where) -> "Self":
        """Move or cast, in place."""
        raise NotImplementedError

    def cpu(self) -> "Self":
        return self.to("cpu")

    def cuda(self, device: Device | None = None) -> "Self":
        """Move to this GPU, or to the current one. Raises BadRequest if it is not there."""
        return self.to("cuda" if device is None else device)

    def half(self) -> "Self":
        return self.to(torch.float16)

    def bfloat16(self) -> "Self":
        return self.to(torch.bfloat16)

    def float(self) -> "Self":
        return self.to(torch.float32)

    def double(self) -> "Self":
        return self.to(torch.float64)


class Movable(Castable):
    """A network that is moved and cast in place."""

    network: Network
    _device: torch.device
    _dtype: torch.dtype

    @torch.inference_mode(False)
    def to(self, *where: Where, **named: Where) -> "Self":
        """Move or cast the weights, in place, to what `nn.Module.to` takes: `to("cuda", torch.float16)`, `to(tensor)`.

        A tensor, of any shape, stands for its device and dtype. Statistics of a latent space stay fp32 at least.
        Raises BadRequest for a device or dtype that is not there, and for keywords that torch does not have.
        """
        device, dtype = parse_where(*where, **named)
        self._device = device or self._device
        self._dtype = dtype or self._dtype
        move(self.network, self._device, dtype)
        return self


def parse_where(*where: Where, **named: Where) -> tuple[torch.device | None, torch.dtype | None]:
    """The (device, dtype) that arguments of `nn.Module.to` ask for; None is to stay. Raises BadRequest."""
    if unknown := set(named) - {*SAYING_WHERE, *SAYING_HOW}:
        raise BadRequest(f"a VAE is not moved by '{min(unknown)}': give {', '.join(SAYING_WHERE)}.")
    devices, dtypes = [], []
    if text := [one for one in where if is_name_of_dtype(one)] or [one for one in [named.get("dtype")] if one]:
        demand_dtype(text[0])
    for one in (*where, *(value for name, value in named.items() if name in SAYING_WHERE)):
        if isinstance(one, Tensor):
            devices.append(one.device)
        dtypes += [one.dtype] if isinstance(one, Tensor) else [one] if isinstance(one, torch.dtype) else []
        if isinstance(one, str | int | torch.device) and not isinstance(one, bool):  # a bool is non_blocking
            devices.append(demand_device(one))
        elif not isinstance(one, Tensor | torch.dtype | bool | None):
            raise BadRequest(f"a VAE cannot be moved to {str(one)[:60]}: give a device, a dtype, or both.")
    if len(devices) > 1 or len(dtypes) > 1:
        raise BadRequest("a VAE can be moved to one device and cast to one dtype at a time.")
    return next(iter(devices), None), demand_dtype(dtypes[0]) if dtypes else None


def move(network: Network, device: torch.device, dtype: torch.dtype | None) -> None:
    """Move all tensors of a network and cast them, in place: buffers, which are statistics, to fp32 at least.

    If it fails, as without memory, what was moved and cast is so back, and the error passes.
    """
    before = {id(conv.weight): conv.weight.data for conv in list_doubled(network) if conv.weight.dtype is not dtype}
    chosen = dtype or next((parameter.dtype for parameter in network.parameters()), torch.float32)
    done: list[tuple[Tensor, Any]] = []
    try:
        for parameter in network.parameters():
            _change(parameter, device, dtype or parameter.dtype, done)
        for name, buffer in network.named_buffers():
            _change(buffer, device, network.choose_buffer_dtype(name, buffer.dtype, chosen, device), done)
    except Exception:
        for tensor, was in reversed(done):
            tensor.data = was if isinstance(was, Tensor) else tensor.data.to(was)
        raise
    if dtype:
        keep_unrounded(network, before)


def _change(tensor: Tensor, device: torch.device, dtype: torch.dtype, done: list[tuple[Tensor, Any]]) -> None:
    """Move and cast it, and note what it was: the numbers on another device, the dtype if it stays on this one.

    Only to have more digits takes more memory there, and they can be left away again without a loss.
    """
    was: Any = tensor.dtype if tensor.device == device else tensor.data
    tensor.data = tensor.data.to(device, dtype)
    done.append((tensor, was))
