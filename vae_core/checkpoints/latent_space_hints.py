"""Whose latents does this VAE make? What its shapes leave open, resolved by what lies around it in its file or folder.

SD 1, SDXL and Playground share names and shapes, so do SD 3 and FLUX.1. Nothing in a bare file tells them apart. A hint
counts only between spaces that the shapes allow, and what is not known stays None: it matters for scaled latents and
previews, never for encoding and decoding.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadRequest
from ..files.reading import read_settings
from ..latents.spaces import SPACES, LatentSpace

# The first name of a full checkpoint that starts so tells whose it is. Playground's are those of SDXL, and two more.
NAMES = {
    "edm_mean": "playground25",
    "conditioner.embedders.": "sdxl",
    "cond_stage_model.": "sd1",
    "model.diffusion_model.joint_blocks.": "sd3",
    "model.diffusion_model.double_blocks.": "flux1",
}
# https://github.com/Stability-AI/ModelSpec: the metadata "modelspec.architecture", by how it begins.
ARCHITECTURES = {
    "stable-diffusion-v1": "sd1",
    "stable-diffusion-v2": "sd1",
    "stable-diffusion-xl": "sdxl",
    "stable-diffusion-v3": "sd3",
    "flux-1": "flux1",
}


def whose(
    fitting: Sequence[str],
    names: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
    path: Path = Path(),
    named: str | None = None,
) -> str | None:
    """The one space among those that fit, or None.

    fitting: names in SPACES. names: of all tensors in the file. path: of the file, or of a folder of diffusers.
    named: the space that the file's name says.
    """
    if len(fitting) == 1:
        return fitting[0]
    hints = (_by_names(names), _by_architecture(metadata or {}), _by_config(fitting, path), named)
    return next((hint for hint in hints if hint in fitting), None)


def _by_names(names: Iterable[str]) -> str | None:
    text = "\n" + "\n".join(names)
    return next((space for start, space in NAMES.items() if f"\n{start}" in text), None)


def _by_architecture(metadata: Mapping[str, str]) -> str | None:
    said = metadata.get("modelspec.architecture", "")
    return next((space for start, space in ARCHITECTURES.items() if said.startswith(start)), None)


def _by_config(fitting: Sequence[str], path: Path) -> str | None:
    """A diffusers folder says its scale and shift."""
    for config in (path / "config.json", path / "vae" / "config.json"):
        facts = _read(config)
        if facts:
            return next((name for name in fitting if _agree(SPACES[name], facts)), None)
    return None


def _agree(space: LatentSpace, facts: Mapping[str, Any]) -> bool:
    scale, shift = facts.get("scaling_factor"), facts.get("shift_factor") or 0.0
    if not isinstance(scale, int | float) or not isinstance(shift, int | float):
        return False
    if max(abs(scale), abs(shift)) > 1e6:  # JSON's whole numbers have no end, floats do
        return False
    return math.isclose(scale, space.scale, rel_tol=1e-4) and math.isclose(shift, space.shift, rel_tol=1e-4)


def _read(config: Path) -> Mapping[str, Any]:
    try:
        facts = read_settings(config) if config.is_file() else {}
    except (OSError, ValueError, BadRequest):
        return {}
    return facts if isinstance(facts, dict) and "scaling_factor" in facts else {}
