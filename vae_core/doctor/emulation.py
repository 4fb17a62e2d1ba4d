"""What rounding alone makes of a network: every op in more digits than are asked for, its result cut to as many.

A device multiplies in its dtype, sums in fp32 at least, and rounds what it stores. So the network runs in fp64 (or in
fp32, to emulate a half), and what goes in, the weights and the result of every op are rounded to the digits of the
dtype. Only digits are cut, not the range: overflow is no rounding.
"""

import torch
from torch import Tensor

from ..families import Network
from ..ops import AnyOp, LookBack, Ops, map_ops
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


class RoundedNetwork(Network):
    """The same network, with a rounding after every op of its two halves."""

    def __init__(self, network: Network, rounding: Rounding):
        super().__init__()
        self.network, self.rounding = network, rounding
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
        return (self.rounding, *map_ops(ops, self._round_after))

    def _round_after(self, ops: Ops) -> Ops:
        result: list[AnyOp] = []
        for op in ops:
            # What looks back makes no number, and has to stay before its convolution.
            result += [op] if isinstance(op, LookBack) else [op, self.rounding]
        return tuple(result)


def emulate(vae: VAE, dtype: torch.dtype) -> VAE:
    """The VAE on the CPU as if it ran in this dtype. vae: on the CPU, in fp32 or fp64, of more digits than the dtype.

    It has no reduced range, so it never overflows.
    """
    twin, rounding = copy_to(vae, vae.device, vae.dtype), Rounding(DIGITS[dtype])
    for parameter in twin.network.parameters():
        parameter.data = rounding(parameter.data)
    network = RoundedNetwork(twin.network, rounding)
    rounded = VAE(network, vae.family, vae.config, name=vae.name, dtype=vae.dtype, device=vae.device)
    rounded.detours = NoDetours()
    return rounded
