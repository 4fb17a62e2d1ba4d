"""What several tests need: real files beside the project, small random networks, and files made of them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from exact_vae.vae_core.detection import expected_shapes
from exact_vae.vae_core.families import Config
from exact_vae.vae_core.families.kl import Coder, KLConfig

SHARED = Path(__file__).parents[2] / "shared"
HEADERS = Path(__file__).parent / "headers"


def header(name: str) -> dict:
    """A file of tests/headers, its shapes as tuples."""
    found = json.loads((HEADERS / f"{name}.json").read_text())
    found["shapes"] = {name: tuple(shape) for name, shape in found["shapes"].items()}
    return found


def header_names() -> list[str]:
    return sorted(path.stem for path in HEADERS.glob("*.json"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real weights; they are beside the project on its own machines and nowhere else."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("needs the real weights of ../shared/weights")
    return SHARED


@pytest.fixture(scope="session")
def taef2(shared) -> tuple[Path, Path]:
    return shared / "weights" / "taef2_encoder.pth", shared / "weights" / "taef2_decoder.pth"


def small_kl(**changes) -> KLConfig:
    """A KL autoencoder of 4 channels at 1/4, small enough for float64 on a CPU."""
    facts = {
        "z_channels": 4,
        "embed_dim": 4,
        "encoder": Coder((32, 64, 64), (1, 1, 1), (False,) * 3, stem=32),
        "decoder": Coder((32, 64, 64), (2, 2, 2), (False,) * 3),
        "in_channels": 3,
        "out_channels": 3,
        "quant_conv": True,
        "post_quant_conv": True,
    }
    return KLConfig(**{**facts, **changes})


def random_weights(family: str, config: Config, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """Tensors of every name and shape the network has; norms near 1, variances positive."""
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var"):
            return x.abs() + 0.5
        fan_in = max(x[0].numel(), 1) if x.ndim > 1 else 1
        return x / fan_in**0.5 if x.ndim > 1 else x * 0.1 + (1.0 if "norm" in name and "weight" in name else 0.0)

    shapes = expected_shapes(family, config)
    return {name: draw(name, shape).to(dtype) for name, shape in shapes.items()}


@pytest.fixture
def kl_file(tmp_path) -> Path:
    """A small KL autoencoder of random weights, as a file with CompVis names."""
    path = tmp_path / "small.safetensors"
    save_file(random_weights("kl", small_kl()), path)
    return path


@pytest.fixture
def photo(shared) -> torch.Tensor:
    """A photograph as IMAGE (1, 256, 320, 3) in [0, 1]."""
    from safetensors.torch import load_file

    image = load_file(shared / "weights" / "taef2_reference.safetensors")["image_u8"]
    return image[None].float() / 255
