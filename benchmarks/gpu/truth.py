"""True results: every case in float64 on a CPU, kept in one small file of safetensors.

The file is made beforehand, because the device's time is dear. It names the weights by their fingerprint, so results
are not compared if the machine that reads it draws others.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpu.cases import Case, draw_latent, draw_pixels, list_cases, make_weights
from gpu.rows import Row

FINGERPRINTS = "fingerprints"


def make_truth(path: Path, tiny: bool) -> None:
    """Compute all true results, and write the file anew after each case: what was computed before a kill is kept."""
    tensors, fingerprints = read_truth(path) if path.is_file() else ({}, {})
    for case in list_cases(tiny):
        if name_result(case, "decode") in tensors:
            continue
        start = time.monotonic()
        vae = load_case(case, torch.float64)
        latent = run_part(vae, "encode", draw_pixels(case))
        tensors[name_result(case, "encode")] = latent
        tensors[name_result(case, "decode")] = run_part(vae, "decode", draw_latent(tuple(latent.shape)))
        fingerprints[case.title] = vae.fingerprint
        _write(path, tensors, fingerprints)
        print(f"{case.title}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def read_truth(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """True results by the names of `name_result`, in fp32; and the fingerprint of each case's weights, by its title."""
    with safe_open(path, "pt") as file:
        fingerprints = json.loads((file.metadata() or {}).get(FINGERPRINTS, "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, fingerprints  # noqa: SIM118


def _write(path: Path, tensors: dict[str, Tensor], fingerprints: dict[str, str]) -> None:
    part = path.with_name(f"{path.name}.part")
    kept = {name: t.float().contiguous() for name, t in tensors.items()}
    save_file(kept, part, metadata={FINGERPRINTS: json.dumps(fingerprints), "torch": torch.__version__})
    part.replace(path)


def name_result(case: Case, part: str) -> str:
    return f"{case.title}/{part}"


def load_case(case: Case, dtype: torch.dtype, device: str = "cpu", weights: dict[str, Tensor] | None = None) -> Any:
    """Its VAE. weights: those of `make_weights`, if they have been drawn."""
    from exact_vae.vae_core import from_weights

    return from_weights(weights or make_weights(case), case.title, dtype, torch.device(device))


@torch.no_grad()
def run_part(vae: Any, part: str, x: Tensor, **how: Any) -> Tensor:
    """The mode of the posterior, or the pixels."""
    return vae.decode(x, **how) if part == "decode" else vae.encode(x, **how).mode()


def compare(result: Tensor, truth: Tensor) -> Row:
    """Errors in standard deviations of the truth: root mean square, and the largest."""
    apart = result.double().cpu() - truth.double()
    spread = truth.double().std()
    return {"rms": (apart.square().mean().sqrt() / spread).item(), "largest": (apart.abs().max() / spread).item()}
