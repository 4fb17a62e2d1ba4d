"""What is trained, and how: every number in one place."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..vae_core.families.kl import Coder, KLConfig


@dataclass(frozen=True)
class Phase:
    """From `start` (a share of the steps) on: `batch` square crops, of each of these sizes (in pixels) in turn.

    Group norms see the whole picture: only crops nearly as large teach a network what their statistics will be.
    skip: the network grows. First it learns pictures 1/2^skip as large, without its top levels, which costs little.
    """

    start: float
    crops: tuple[int, ...]
    batch: int
    skip: int = 0


@dataclass(frozen=True)
class Recipe:
    """One training run. Two runs of one recipe with the same number of threads end bit-equal.

    kl_weight counts nats per pixel value: with a decoder seen as a Gaussian of variance s^2 around the picture,
    2 * s^2 is the weight of the evidence lower bound (Kingma & Welling 2013), 0 trains without a prior.
    """

    name: str
    z_channels: int = 4
    widths: tuple[int, ...] = (64, 64, 64, 128)
    res_blocks: int = 1
    steps: int = 8000
    phases: tuple[Phase, ...] = (
        Phase(0.0, (64,), 16, skip=2),
        Phase(0.15, (64,), 8, skip=1),
        Phase(0.5, (64,), 4),
        Phase(0.6, (128,), 1),
        Phase(0.65625, (96, 128, 128, 256), 1),
    )
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    kl_weight: float = 0.02
    coarse_weight: float = 0.25  # of the error at 1/2, 1/4 and 1/8 of the size, each
    edge_weight: float = 0.02  # of the error of the gradients
    drawn: float = 0.12  # share of procedural pictures
    seed: int = 20

    @property
    def config(self) -> KLConfig:
        """The network, in the words of the family that will load it."""
        levels = len(self.widths)
        plain = (False,) * levels
        return KLConfig(
            z_channels=self.z_channels,
            embed_dim=self.z_channels,
            encoder=Coder(self.widths, (self.res_blocks,) * levels, plain, stem=self.widths[0]),
            decoder=Coder(self.widths, (self.res_blocks + 1,) * levels, plain),
            in_channels=3,
            out_channels=3,
            quant_conv=True,
            post_quant_conv=True,
        )

    def phase(self, step: int) -> Phase:
        return max((p for p in self.phases if p.start * self.steps <= step), key=lambda p: p.start)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


DEMO = Recipe("demo")
WITHOUT_KL = replace(DEMO, name="without-kl", kl_weight=0.0, steps=1600)
TINY = replace(DEMO, name="tiny", widths=(64, 64), steps=200, phases=(Phase(0.0, (16,), 4),), warmup=20, seed=1)
RECIPES = {recipe.name: recipe for recipe in (DEMO, WITHOUT_KL, TINY)}
