"""Several latents in the place of one tensor, as the host passes on those of clips with sound."""

# pyright: reportMissingImports=false

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...vae_core import BadRequest
from .place import in_comfyui


class Several:
    """Stands for the host's own class where there is no host."""

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]):
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return list(self.tensors)


def nest(tensors: Sequence[Tensor]) -> Any:
    """Several latents, or their masks, as one object. Raises BadRequest if the host is too old to know such."""
    if not in_comfyui():
        return Several(tensors)
    try:
        from comfy.nested_tensor import NestedTensor
    except ImportError:
        raise BadRequest("this ComfyUI has no LATENTs that hold several latents: update it.") from None
    return NestedTensor(tensors)
