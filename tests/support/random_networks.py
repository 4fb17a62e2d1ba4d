"""A small KL autoencoder, and random weights for a network of any family."""

from collections.abc import Mapping

import torch
from exact_vae.vae_core.families import Config
from exact_vae.vae_core.families.kl import Coder, KLConfig
from exact_vae.vae_core.families.registry import expected_shapes


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
    """Tensors of every name and shape the network has."""
    return random_tensors(expected_shapes(family, config), dtype)


def random_tensors(shapes: Mapping[str, tuple[int, ...]], dtype=torch.float32) -> dict[str, torch.Tensor]:
    """Tensors of these names and shapes; norms near 1, variances positive."""
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var"):
            return x.abs() + 0.5
        fan_in = max(x[0].numel(), 1) if x.ndim > 1 else 1
        return x / fan_in**0.5 if x.ndim > 1 else x * 0.1 + (1.0 if name.endswith("weight") else 0.0)

    return {name: draw(name, shape).to(dtype) for name, shape in shapes.items()}


def shake(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random biases and norms too: a fresh module's are zeros and ones, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.3)
    return module.double().eval()
