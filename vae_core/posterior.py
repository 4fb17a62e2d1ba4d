"""The posterior: what an encoder says of an image, a Gaussian for every pixel of the latent.

Kingma & Welling 2013 (https://arxiv.org/abs/1312.6114). The encoder's last convolution gives `moments`,
the mean and the logarithm of the variance, one after the other along the channels.
"""

import math
from numbers import Real

import torch
from torch import Generator, Tensor

from .devices.numerics import pin_numerics
from .errors import BadRequest, naming_memory
from .execution import whole
from .ops import Ops
from .plain import name

# exp(-30) is no variance at all in fp32, exp(20) is all of it; the bounds of CompVis/latent-diffusion
# (ldm/modules/distributions/distributions.py), kept by every model trained since.
LOGVAR_RANGE = (-30.0, 20.0)


class Posterior:
    """A diagonal Gaussian over z, and the way from z to the latent that diffusion models see.

    mean, logvar, std, var   fp32 or better, as the network made them: (B, z_channels, h, w); of clips, and of images
                             that are run as clips, (B, z_channels, T, h, w); of clips whose frames are run as images,
                             (B * T, z_channels, h, w). `mode` and `sample` give the layout of what was encoded
    size                     (H, W) of the image that was encoded, before it was padded to the ratio
    """

    @pin_numerics()
    def __init__(self, mean: Tensor, logvar: Tensor | None, to_latent: Ops = (), size: tuple[int, int] | None = None):
        self.mean = mean
        self._is_point = logvar is None
        self.logvar = torch.full_like(mean, -torch.inf) if logvar is None else logvar.clamp(*LOGVAR_RANGE)
        self.size = size
        self._to_latent = to_latent

    def __repr__(self) -> str:
        shape, what = tuple(self.mean.shape), "a point" if self._is_point else "a Gaussian"
        of = f" of an image of {self.size[1]}x{self.size[0]}" if self.size else ""
        return f"Posterior({what}: {shape}{of}; {name(self.mean)} on {self.mean.device})"

    @classmethod
    @pin_numerics()
    def of_moments(cls, moments: Tensor, to_latent: Ops = (), size: tuple[int, int] | None = None) -> "Posterior":
        """moments: (B, 2 * z_channels, h, w), mean first, fp32 or better. Raises nothing of its own."""
        mean, logvar = moments.chunk(2, 1)
        return cls(mean, logvar, to_latent, size)

    @classmethod
    def of_point(cls, z: Tensor, to_latent: Ops = (), size: tuple[int, int] | None = None) -> "Posterior":
        """z: (B, z_channels, h, w) of a VAE without a posterior, fp32 or better: it is the mean, the variance is zero.

        Raises nothing of its own.
        """
        return cls(z, None, to_latent, size)

    @property
    @naming_memory("the variance of a latent")
    @pin_numerics()
    def var(self) -> Tensor:
        """The variance, (B, z_channels, h, w)."""
        return self.logvar.exp()

    @property
    @naming_memory("the standard deviation of a latent")
    @pin_numerics()
    def std(self) -> Tensor:
        """The standard deviation, (B, z_channels, h, w)."""
        return (self.logvar / 2).exp()

    @naming_memory("the mean of a latent")
    @pin_numerics()
    def mode(self) -> Tensor:
        """The raw latent of the most probable z, which is the mean, in a tensor of its own.

        (B, latent_channels, h, w), or (B, latent_channels, T, h, w) of clips; fp32 or better.
        Raises DoesNotFit if memory runs out.
        """
        made = whole.run(self._to_latent, self.mean)
        return made.clone() if _share_memory(made, self.mean) else made

    @naming_memory("a sample of a latent")
    @pin_numerics()
    def sample(self, generator: Generator | None = None, temperature: float = 1.0) -> Tensor:
        """The raw latent of z = mean + temperature * std * noise. The noise is drawn where the generator lives.

        (B, latent_channels, h, w), or (B, latent_channels, T, h, w) of clips; fp32 or better.
        Raises BadRequest for what is no generator, and for a temperature that is no number from 0 up, and DoesNotFit if
        memory runs out.
        """
        if not isinstance(generator, Generator | None):
            raise BadRequest(f"a sample needs a generator, not {generator!r}: torch.Generator().manual_seed(5).")
        if not isinstance(temperature, Real) or not 0 <= temperature < math.inf:
            raise BadRequest(f"the temperature of a sample is {temperature}: give a number from 0 up, 1 is as trained.")
        device = generator.device if generator else self.mean.device
        noise = torch.randn(self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype)
        return whole.run(self._to_latent, self.mean + temperature * self.std * noise.to(self.mean.device))

    @naming_memory("the moments of a latent")
    @pin_numerics()
    def latent_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the raw latent itself.

        Each (B, latent_channels, h, w), or (B, latent_channels, T, h, w) of clips, in the dtype of `mode`.
        The way from z to the latent scales and moves numbers one by one, so the latent is a Gaussian too. The variance
        of a VAE without a posterior is zero, its logarithm -inf. Raises DoesNotFit if memory runs out.
        """
        mean = self.mode()
        if self._is_point:
            return mean, torch.full_like(mean, -torch.inf)
        if not self._to_latent:
            return mean, self.logvar.clone()
        # The logarithm is moved as z is. It takes the way itself: the variance would lose its digits beside a shift.
        zeros = torch.zeros_like(self.logvar)
        shift, one, moved = (whole.run(self._to_latent, x) for x in (zeros, zeros + 1, self.logvar))
        scale = one - shift
        return mean, (moved - shift) / scale + 2 * scale.abs().log()

    @naming_memory("the divergence of a latent")
    @pin_numerics()
    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from N(0, 1) in nats, summed over each z: (B,).

        Zero for a VAE without a posterior: it has no Gaussian to compare. Raises DoesNotFit if memory runs out.
        """
        if self._is_point:
            return self.mean.new_zeros(self.mean.shape[0])
        return 0.5 * (self.mean.square() + self.var - 1 - self.logvar).flatten(1).sum(1)


def _share_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
