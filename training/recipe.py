"""All numbers of a training run in one place."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from ..vae_core.checkpoints import OWNS
from ..vae_core.families.kl import Coder, KLConfig

DECODER, ALL = "decoder", "all"
ADAMW, MUON = "adamw", "muon"
CREDIT = "photographs under CC0 or in the public domain, each named in training/DATA.md, and procedural images"


@dataclass(frozen=True)
class Phase:
    """A part of a run. start: the share of the steps after which it begins.

    crops, batch   a step sees `batch` square crops of one of these sizes (in pixels), the sizes taking turns. Group
                   norms see the whole image, so only large crops teach a network the statistics of whole images.
    skip           the network grows: it sees images 1/2^skip as large, without its top levels, which is cheap
    """

    start: float
    crops: tuple[int, ...]
    batch: int
    skip: int = 0


@dataclass(frozen=True)
class Course:
    """A training run without its network. Equal courses on equal numbers of threads end in equal bits.

    kl_weight counts nats per pixel value: with a decoder seen as a Gaussian of variance s^2 around the image,
    2 * s^2 is the weight of the evidence lower bound (Kingma & Welling 2013), 0 trains without a prior.
    """

    name: str
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
    colour_weight: float = 0.0  # of the squared error of each crop's mean colour
    drawn: float = 0.12  # share of procedural images
    optimizer: str = ADAMW
    seed: int = 20

    def phase(self, step: int) -> Phase:
        return max((p for p in self.phases if p.start * self.steps <= step), key=lambda p: p.start)

    def trains(self, parameter: str) -> bool:
        """Is the parameter of this (reference) name trained?"""
        return True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Recipe(Course):
    """A network of our own, and how it is trained."""

    z_channels: int = 4
    widths: tuple[int, ...] = (64, 64, 64, 128)
    res_blocks: int = 1

    @property
    def config(self) -> KLConfig:
        """The network, as a config of the family that loads it."""
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


@dataclass(frozen=True)
class Tuning(Course):
    """How a trained VAE is fine-tuned: gently, at full size from the start, on images alone.

    part      'decoder': encoder and latents stay as they are; 'all': encoder and decoder are trained
    source    digests of the VAE's weights and of the images that the run began with
    The learning rate is a tenth of that of the built-in VAE.
    """

    steps: int = 1000
    phases: tuple[Phase, ...] = (Phase(0.0, (256,), 4),)
    learning_rate: float = 1e-4
    weight_decay: float = 0.0  # pulls towards zero, not towards what the weights were
    kl_weight: float = 0.0
    drawn: float = 0.0
    part: str = DECODER
    source: tuple[str, ...] = ()

    def trains(self, parameter: str) -> bool:
        return self.part == ALL or parameter.startswith(OWNS[DECODER])


@dataclass(frozen=True)
class Widening(Tuning):
    """How a VAE that was given more latent channels is trained: z_channels, with those it had."""

    z_channels: int = 16


DEMO = Recipe("demo")
WITHOUT_KL = replace(DEMO, name="without-kl", kl_weight=0.0, steps=1600)
TINY = replace(DEMO, name="tiny", widths=(64, 64), steps=200, phases=(Phase(0.0, (16,), 4),), warmup=20, seed=1)
ONWARD = Tuning(
    "demo-onward",
    steps=2200,
    phases=(Phase(0.0, (256,), 1), Phase(0.8, (256, 384), 1)),
    learning_rate=2e-4,
    kl_weight=0.005,
    colour_weight=1.0,
    drawn=0.06,
    part=ALL,
)
FURTHER = replace(
    ONWARD,
    name="demo-further",
    phases=(Phase(0.0, (128,), 2), Phase(0.5, (256,), 1), Phase(0.85, (256, 384), 1)),
    learning_rate=5e-4,
    ema=0.998,
    optimizer=MUON,
)
LONGER = replace(
    FURTHER,
    name="demo-longer",
    steps=3600,
    phases=(Phase(0.0, (128,), 2), Phase(0.4, (256,), 1), Phase(0.75, (256, 384), 1)),
    colour_weight=10.0,  # at 1 a mean colour off by 0.5 % is less than a hundredth of the loss
)
SIXTEEN = Widening(
    "demo-16",
    steps=2000,
    phases=(Phase(0.0, (128,), 2), Phase(0.55, (256,), 1), Phase(0.9, (256, 384), 1)),
    learning_rate=5e-4,
    ema=0.998,
    kl_weight=0.001,
    colour_weight=1.0,
    drawn=0.06,
    part=ALL,
    optimizer=MUON,
)
RECIPES: dict[str, Course] = {c.name: c for c in (DEMO, WITHOUT_KL, TINY, ONWARD, FURTHER, LONGER, SIXTEEN)}
