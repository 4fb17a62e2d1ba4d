"""What rounding alone makes of a network: every op in more digits than are asked for, its result cut to as many.

A device multiplies in its dtype, sums in fp32 at least, and rounds what it stores. So the network runs in fp64 (or in
fp32, to emulate a half), and what goes in, the weights and the result of every op are rounded to the digits of the
dtype; also the weights that are made for a run. Only digits are cut, not the range: overflow is no rounding.
"""

import torch
from torch import Tensor

from ..families import Network
from ..ops import AnyOp, LookAround, LookBack, OneFrame, Ops, as_single_frame, map_ops
from ..vae import VAE
from ..verdicts import NoDetours, copy_to

DIGITS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24, torch.float64: 53}  # of a number, in bits


class Rounding:
    """An op: rounds to so many bits, to the nearest. x: (B, C, H, W), fp32 or fp64, which must have more."""

    def __init__(self, bits: int):
        self.bits = bits

    def __call__(self, x: Tensor) -> Tensor:
        """By Veltkamp's splitting (Dekker 1971, https://doi.org/10.1007/BF01397083), without a table of exponents."""
        large = x * (2.0 ** (DIGITS[x.dtype] - self.bits) + 1)
        return large - (large - x)


class Shaking:
    """An op: moves each number by up to one rounding to so many bits, at random. x: (B, C, H, W), fp32 or fp64."""

    def __init__(self, bits: int, seed: int):
        self.bits, self.generator = bits, torch.Generator().manual_seed(seed)

    def __call__(self, x: Tensor) -> Tensor:
        noise = torch.rand(x.shape, generator=self.generator, dtype=x.dtype) * 2 - 1
        return x * (1 + noise * 2.0**-self.bits)


class RoundedNetwork(Network):
    """The same network, with a rounding after every op of its two halves.

    of_images  is it run on images? Otherwise on clips, unless it is no network of clips
    draw       with another number all roundings turn out otherwise, because what goes in is shaken; 0: it is not
    """

    def __init__(self, network: Network, bits: int, of_images: bool, draw: int):
        super().__init__()
        self.network, self.rounding, self.of_images = network, Rounding(bits), of_images
        self.first = (Shaking(bits, draw), self.rounding) if draw else (self.rounding,)
        self.gaussian, self.clip_law = network.gaussian, network.clip_law

    def encode_ops(self) -> Ops:
        return self._round_each(self.network.encode_ops())

    def decode_ops(self) -> Ops:
        return self._round_each(self.network.decode_ops())

    def to_latent_ops(self) -> Ops:
        return self.network.to_latent_ops()

    def from_latent_ops(self) -> Ops:
        return self.network.from_latent_ops()

    def _round_each(self, ops: Ops) -> Ops:
        ops = as_single_frame(ops) if self.of_images else ops
        return (*self.first, *map_ops(ops, self._round_after))

    def _round_after(self, ops: Ops) -> Ops:
        result: list[AnyOp] = []
        for op in ops:
            if isinstance(op, OneFrame):
                op = op.change(self.rounding)  # its weight may be a sum
            # What looks back makes no number, and has to stay before its convolution.
            result += [op] if isinstance(op, (LookAround, LookBack)) else [op, self.rounding]
        return tuple(result)


def emulate(vae: VAE, dtype: torch.dtype, frames: int = 1, draw: int = 0) -> VAE:
    """The VAE on the CPU as if it ran in this dtype, for images, or for clips of several frames.

    vae: on the CPU, in fp32 or fp64, of more digits than the dtype. draw: see RoundedNetwork. It never overflows.
    """
    of_images = frames == 1 and not (vae.clip_law and vae.clip_law.images_are_clips)
    twin, bits = copy_to(vae, vae.device, vae.dtype), DIGITS[dtype]
    for parameter in twin.network.parameters():
        parameter.data = Rounding(bits)(parameter.data)
    network = RoundedNetwork(twin.network, bits, of_images, draw)
    rounded = VAE(network, vae.family, vae.config, name=vae.name, dtype=vae.dtype, device=vae.device)
    rounded.detours = NoDetours()
    return rounded
