"""Files of latents: safetensors with one tensor `latent` and its tag, or the `.latent` files that nodes save.

A `.latent` file holds `latent_tensor`, and a marker without which it was multiplied by SD 1's scale (files from
before March 2023).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .errors import BadRequest, LatentMismatch, some
from .header import read_header
from .latents import SPACES, Tag
from .writing import published

TAG = "exact_vae"  # in the metadata: the tag, as JSON
NODE_SUFFIX, NODE_TENSOR, NODE_MARKER = ".latent", "latent_tensor", "latent_format_version_0"


def write_latent(
    path: str | Path, latent: Tensor, tag: Tag | None = None, texts: Mapping[str, str] | None = None
) -> None:
    """latent: raw, of any shape. As a `.latent` if the path says so. Raises BadRequest if it cannot be written."""
    path, latent = Path(path), latent.detach().cpu().contiguous()
    tensors = {"latent": latent}
    if path.suffix.lower() == NODE_SUFFIX:
        tensors = {NODE_TENSOR: latent, NODE_MARKER: torch.zeros(0)}
    metadata = {**(texts or {}), **({TAG: tag.to_json()} if tag else {})}
    with published(path) as part:
        part.write_bytes(save(tensors, metadata=metadata))


def read_latent(path: str | Path) -> tuple[Tensor, Tag | None]:
    """(raw latent in float32, its tag). Raises BadRequest, BrokenCheckpoint, and LatentMismatch for other contents."""
    path = Path(path)
    try:
        if not path.is_file():
            raise BadRequest(f"there is no latent file '{path}'.")
        names, metadata = read_header(path)
        found = load_file(path)
    except (OSError, SafetensorError, NotImplementedError) as e:
        raise BadRequest(f"'{path}' cannot be read: {e}.") from e
    tag = Tag.from_json(metadata[TAG]) if TAG in metadata else None
    if "latent" in found:
        return found["latent"].float(), tag
    if NODE_TENSOR in found:
        scale = 1.0 if NODE_MARKER in found else 1 / SPACES["sd1"].scale
        return found[NODE_TENSOR].float() * scale, tag
    raise LatentMismatch(f"'{path}' holds no latent: it needs a tensor 'latent' or '{NODE_TENSOR}', not {some(names)}.")
