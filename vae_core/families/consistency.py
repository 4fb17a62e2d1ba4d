"""SD's consistency decoder: a U-Net paints the image of a latent in two steps, beginning with noise.

OpenAI 2023 (https://github.com/openai/consistencydecoder, MIT); the steps are those of Song et al. 2023
(https://arxiv.org/abs/2303.01469). Reference: huggingface/diffusers consistency_decoder_vae.py and
scheduling_consistency_decoder.py (Apache-2.0).

The surprise: it needs noise. Here that is always the same: for every image what torch draws on a CPU in fp32 with the
seed 0, first that of the first step, then that of the second, each (1, 3, H, W). So diffusers makes the same image of
one latent with `generator=torch.Generator().manual_seed(0)`. The noise lies beside z, in channels, until it is pixels.
"""

# encoder: SD's | decoder: z, 8 times as large, beside 3 channels of noise ->
#   U-Net   3x3 7->320 | down 320 640 1024 1024 (3 each, halved between) | 2 | up (4 each, doubled between) | 320->6

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..ops import CHANNELS_LAST, Conv2d, Op, Ops, PixelShuffle, Residual, chain
from .blocks.base import Family, Halves, Member, Network
from .blocks.ldm import GROUPS, Coder, Encoder, read_coder
from .blocks.norms import send_numbers
from .blocks.unet import FIRST, PadChannels, UNet, UNetConfig
from .names import consistency
from .shapes import Shapes, count, has_unread_half, size, vote

SEED = 0
STEPS = (1008, 512)  # the times of the two steps, of 1024
SIGMA = 0.5  # standard deviation of what is painted
COLOURS, Z, RATIO = 3, 4, 8
# Of scaled latents, by which they are standardised: openai/consistencydecoder, `ldm_transform_latent`.
SCALE = 0.18215
MEAN = (0.38862467, 0.02253063, 0.07381133, -0.0171294)
STD = (0.9654121, 1.0440036, 0.76147926, 0.77022034)


@dataclass(frozen=True)
class ConsistencyConfig(Halves):
    encoder: Coder | None
    decoder: UNetConfig | None
    quant_conv: bool = True
    made: int = 2 * COLOURS  # channels that the U-Net makes, of which the first are read
    z_channels: int = Z
    in_channels: int = COLOURS
    out_channels: int = COLOURS

    @property
    def spatial_ratio(self) -> int:
        return RATIO


def detect(shapes: Shapes) -> ConsistencyConfig | None:
    if not any(name.startswith("decoder.embed_image.") for name in shapes):
        return None
    encoder, decoder = read_coder(shapes, "encoder"), _read_unet(shapes)
    made = vote(size(shapes, f"decoder.output.f.{t}") for t in ("weight", "bias"))
    if not decoder or not made or made < COLOURS or has_unread_half(shapes, encoder, decoder):
        return None
    if encoder and 2 ** (len(encoder.widths) - 1) != RATIO:
        return None
    return ConsistencyConfig(encoder, decoder, any(n.startswith("quant_conv.") for n in shapes), made)


def _read_unet(shapes: Shapes) -> UNetConfig | None:
    levels = count(shapes, "decoder.down.")
    tensors = ("f_1.bias", "gn_2.weight", "gn_2.bias", "f_2.bias")
    found = [vote(size(shapes, f"decoder.down.{i}.block.0.{t}") for t in tensors) for i in range(levels)]
    widths = tuple(w for w in found if w and w % GROUPS == 0)
    unet = UNetConfig(
        widths=widths,
        blocks=count(shapes, "decoder.down.0.block."),
        time=vote(size(shapes, f"decoder.embed_time.f_{i}.bias") for i in (1, 2)) or 0,
        times=size(shapes, "decoder.embed_time.emb.weight") or 0,
    )
    reads = size(shapes, "decoder.embed_image.f.weight", 1) == COLOURS + Z
    right = reads and len(widths) == levels == 4 and unet.times > max(STEPS)
    return unet if right and unet.blocks and unet.time else None


class Schedule:
    """Numbers of a step at each of 1024 times, (1024,), in fp32 as diffusers computes them.

    image, noise      how much of either is in what is painted
    read, made, kept  the step reads `read` times that, and the image is `made` times what it makes, plus `kept` times
                      what it began with
    """

    def __init__(self) -> None:
        betas = [min(1 - _left((i + 1) / 1024) / _left(i / 1024), 0.999) for i in range(1024)]
        left = torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32, device="cpu"), 0)
        sigmas, whole = torch.sqrt(1.0 / left - 1), torch.sqrt(1.0 / left)
        self.image, self.noise = left.sqrt(), torch.sqrt(1.0 - left)
        self.read = whole / (sigmas**2 + SIGMA**2) ** 0.5
        self.made = sigmas * SIGMA / (sigmas**2 + SIGMA**2) ** 0.5
        self.kept = whole * SIGMA**2 / (sigmas**2 + SIGMA**2)


def _left(t: float) -> float:
    """Of the variance of the image, at a time from 0 to 1."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


class AddNoise(Op):
    """A raw latent, standardised, and beside it the noise of its image: (B, 4, h, w) -> (B, 4 + 2 * 3 * 64, h, w)"""

    def __call__(self, x: Tensor) -> Tensor:
        (b, _, h, w), step = x.shape, COLOURS * RATIO**2
        made = x.new_empty(b, Z + len(STEPS) * step, h, w)
        if x.is_meta:
            return made
        mean, std = (send_numbers(t, x, torch.float32)[:, None, None] for t in (MEAN, STD))
        made[:, :Z] = (x * SCALE - mean) / std
        generator = torch.Generator("cpu").manual_seed(SEED)
        for at in range(Z, made.shape[1], step):
            noise = torch.randn(
                1, COLOURS, RATIO * h, RATIO * w, generator=generator, dtype=torch.float32, device="cpu"
            )
            made[:, at : at + step].copy_(F.pixel_unshuffle(noise, RATIO), non_blocking=x.device.type == "cuda")
        return made


class Begin(Op):
    """What the steps work on, in pixels: the image so far, z, and the noise of the second step. Pointwise.

    (B, 4 + 2 * 3 * 64, h, w) -> (B, 3 + 4 + 3, 8h, 8w); sigma: of the noise that is the first image
    """

    rows_per_step = RATIO
    growth = (2 * COLOURS + Z) * RATIO**2 / (2 * COLOURS * RATIO**2 + Z)

    def __init__(self, sigma: float):
        self.sigma = sigma

    def __call__(self, x: Tensor) -> Tensor:
        z, noise = x[:, :Z], PixelShuffle(n=RATIO)(x[:, Z:])
        z = F.interpolate(z, scale_factor=float(RATIO), mode="nearest")
        parts = (noise[:, :COLOURS] * self.sigma, z, noise[:, COLOURS:])
        return torch.cat([t.permute(CHANNELS_LAST) for t in parts], -1).permute(FIRST)


class Scale(Op):
    """The first channels, each times a number of its own. Pointwise. (B, C, H, W) -> (B, numbers, H, W)"""

    def __init__(self, numbers: tuple[float, ...], of: int):
        self.numbers, self.growth = numbers, len(numbers) / of

    def __call__(self, x: Tensor) -> Tensor:
        numbers = send_numbers(self.numbers, x, x.dtype)
        return (x.permute(CHANNELS_LAST)[..., : len(self.numbers)] * numbers).permute(FIRST)


class Keep(Op):
    """After the first step: so much of its beginning and of new noise, and z. Pointwise.

    (B, 3 + 4 + 3, H, W) -> (B, 3 + 4, H, W)
    """

    growth = (COLOURS + Z) / (2 * COLOURS + Z)

    def __init__(self, kept: float, noise: float):
        self.kept, self.noise = kept, noise

    def __call__(self, x: Tensor) -> Tensor:
        image, z, noise = x.permute(CHANNELS_LAST).split((COLOURS, Z, COLOURS), -1)
        return torch.cat([self.kept * image + self.noise * noise, z], -1).permute(FIRST)


class Decoder(UNet):
    """z and noise (B, 4 + 2 * 3 * 64, h, w) -> pixels (B, 3, 8h, 8w), about [-1, 1]"""

    def __init__(self, c: UNetConfig, made: int):
        super().__init__(c, COLOURS + Z, made)
        self.made = made

    def ops(self) -> Ops:
        law, (first, second) = Schedule(), STEPS
        begun, beside = 2 * COLOURS + Z, COLOURS + Z
        left = law.image[second].item()
        once = (*self._paint(law, first, left, begun), PadChannels(COLOURS, 0, Z))
        kept = Keep(left * law.kept[first].item(), law.noise[second].item())
        twice = self._paint(law, second, 1.0, beside)
        kept_again = Scale((law.kept[second].item(),) * COLOURS, beside)
        return Begin(law.noise[first].item()), Residual(once, (kept,)), Residual(twice, (kept_again,))

    def _paint(self, law: Schedule, time: int, scale: float, channels: int) -> Ops:
        """What a step adds, (B, channels, H, W) -> (B, 3, H, W); scale: of the result"""
        read = Scale((law.read[time].item(),) * COLOURS + (1.0,) * Z, channels)
        made = Scale((scale * law.made[time].item(),) * COLOURS, self.made)
        return read, *self.at(time), made


class ConsistencyVAE(Network):
    def __init__(self, c: ConsistencyConfig):
        super().__init__()
        self.encoder = Encoder(c.encoder, c.in_channels, 2 * c.z_channels) if c.encoder else None
        self.quant_conv = Conv2d(2 * c.z_channels, 2 * c.z_channels, 1) if c.quant_conv else None
        self.decoder = Decoder(c.decoder, c.made) if c.decoder else None

    def encode_ops(self) -> Ops:
        return chain(self.encoder, self.quant_conv)

    def from_latent_ops(self) -> Ops:
        return (AddNoise(),)

    def decode_ops(self) -> Ops:
        return chain(self.decoder)


_SD = Coder((128, 256, 512, 512), (2,) * 4, (False,) * 4, stem=128)

FAMILY = Family(
    name="consistency",
    title="SD's consistency decoder",
    detect=detect,
    build=ConsistencyVAE,
    example=ConsistencyConfig(_SD, UNetConfig((320, 640, 1024, 1024), blocks=3, time=1280, times=1024)),
    layouts=(consistency.ORIGINAL_NAMES, consistency.DIFFUSERS_NAMES),
    members=(Member("SD's consistency decoder", 4, 8),),
)
