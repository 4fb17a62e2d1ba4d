"""The nn.Module that pipelines of diffusers run. Only this module imports diffusers."""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.models.autoencoders.autoencoder_dc import EncoderOutput
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from ..devices.numerics import pin_numerics
from ..errors import BadRequest
from ..execution import whole
from ..execution.options import RunOptions
from ..families import ltx_video
from ..families.moving import Castable
from ..inputs import choose_folding
from ..vae import VAE
from .facts import pixel_range

log = logging.getLogger("exact_vae")

Method = TypeVar("Method", bound=Callable[..., Any])


def _leave_untraced(method: Method) -> Method:
    """The same; torch.compile runs it as it is. Older ones take what `disable` makes apart, and lose `self`."""
    untraced = torch.compiler.disable(method)

    @wraps(method)
    def call(*args: Any, **keywords: Any) -> Any:
        return untraced(*args, **keywords)

    return cast("Method", call)


class PointOutput(EncoderOutput):
    """What an encoder without a posterior gives: z, (B, z_channels, h, w), by the names that diffusers' classes use."""

    @property
    def latents(self) -> Tensor:
        return self.latent


class ExactVAE(Castable, nn.Module):
    """A VAE of ours with the methods and facts of diffusers' autoencoders. `as_vae` makes it.

    vae       the VAE that runs
    config    the facts that pipelines ask for, by diffusers' names
    options   how to run; may be replaced between calls
    """

    use_tiling = use_slicing = False

    def __init__(self, vae: VAE, config: Mapping[str, Any], options: RunOptions):
        super().__init__()
        self.vae = vae
        self.network = vae.network
        self.config = FrozenDict(config)
        self.options = options
        self.pixel_range = pixel_range(vae)
        self.temperal_downsample = self.config["temperal_downsample"]
        self.spatial_compression_ratio = self.config["spatial_compression_ratio"]
        self.temporal_compression_ratio = self.config["temporal_compression_ratio"]

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.dtype

    @property
    def device(self) -> torch.device:
        return self.vae.device

    @property
    def bn(self) -> nn.Module:
        """FLUX.2's statistics, which its pipelines apply to z. Raises AttributeError for other families."""
        return self._find("bn")

    @property
    def latents_mean(self) -> Tensor:
        """LTX-Video's, (channels,). Raises AttributeError for other families."""
        return self._find("per_channel_statistics").get_buffer(ltx_video.STATISTICS[0])

    @property
    def latents_std(self) -> Tensor:
        """LTX-Video's, (channels,). Raises AttributeError for other families."""
        return self._find("per_channel_statistics").get_buffer(ltx_video.STATISTICS[1])

    def _find(self, name: str) -> nn.Module:
        found = dict(self.network.named_children()).get(name)
        if found is None:
            raise AttributeError(f"a VAE of the family '{self.vae.family}' has no '{name}'")
        return found

    @_leave_untraced
    @apply_forward_hook
    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | EncoderOutput | tuple[Any, ...]:
        """Pixels (B, C, H, W) or (B, C, T, H, W) in [-1, 1] -> z as a distribution, or as it is where there is none.

        Kandinsky 6's pixels are as its pipeline has them, here and where it decodes: n / 128 - 1 for a byte n.
        The numbers are in the VAE's dtype, as diffusers' are. Raises what VAE.encode raises.
        """
        self._demand_weights()
        if self.pixel_range != 1:
            x = (x.to(torch.promote_types(x.dtype, torch.float32)) + 1) / self.pixel_range - 1
        posterior = self.vae.encode(x, options=self.options)
        unfold = choose_folding(self.vae.clip_law, x.shape).unfold
        mean = unfold(posterior.mean).to(self.dtype)
        if not self.network.gaussian:
            return PointOutput(latent=mean) if return_dict else (mean,)
        moments = torch.cat((mean, unfold(posterior.logvar).to(self.dtype)), 1)
        dist = DiagonalGaussianDistribution(moments)
        return AutoencoderKLOutput(latent_dist=dist) if return_dict else (dist,)

    @_leave_untraced
    @apply_forward_hook
    def decode(
        self,
        z: Tensor,
        temb: Tensor | bool | None = None,
        return_dict: bool = True,
        num_frames: int | None = None,
        image: Tensor | None = None,
        mask: Tensor | None = None,
        **unused: Any,
    ) -> DecoderOutput | tuple[Tensor]:
        """z (B, z_channels, h, w) or (B, z_channels, T, h, w) -> pixels, about [-1, 1], fp32 at least.

        num_frames    Stable Video Diffusion: z is (B * T, z_channels, h, w), and so are the pixels
        image, mask   as VAE.decode takes them
        temb          and what else a pipeline gives are not looked at; of most VAEs `return_dict` stands here
        Raises what VAE.decode raises.
        """
        self._demand_weights()
        return_dict = temb if isinstance(temb, bool) else return_dict
        is_cut = num_frames is not None and z.ndim == 4
        if is_cut and len(z) % (num_frames or 1):
            raise BadRequest(
                f"{len(z)} latents are no clips of {num_frames} frames: give num_frames that divides them."
            )
        z = z.unflatten(0, (-1, num_frames or 1)).transpose(1, 2) if is_cut else z
        pixels = self.vae.decode(self._to_latent(z), image=image, mask=mask, options=self.options)
        pixels = pixels if self.pixel_range == 1 else (pixels + 1) * self.pixel_range - 1
        pixels = pixels.transpose(1, 2).flatten(0, 1) if is_cut else pixels
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)

    def forward(
        self,
        sample: Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
        num_frames: int | None = None,
    ) -> DecoderOutput | tuple[Tensor]:
        """Pixels (B, C, H, W) or (B, C, T, H, W) in [-1, 1] -> what is left of them. Raises what both halves raise."""
        (z,) = self.encode(sample, return_dict=False)
        if isinstance(z, DiagonalGaussianDistribution):
            z = z.sample(generator) if sample_posterior else z.mode()
        return self.decode(z, return_dict=return_dict, num_frames=num_frames)

    @pin_numerics()
    def _to_latent(self, z: Tensor) -> Tensor:
        """(B, z_channels, h, w) or (B, z_channels, T, h, w) -> the latent that VAE.decode takes."""
        ops = self.network.to_latent_ops()
        if not ops:
            return z
        folding = choose_folding(self.vae.clip_law, z.shape)
        return folding.unfold(
            whole.run(ops, folding.fold(z.to(self.device, torch.promote_types(z.dtype, torch.float32))))
        )

    def _demand_weights(self) -> None:
        if self.device.type == "meta":
            raise BadRequest(
                f"the weights of '{self.vae.name}' were taken away layer by layer: call enable_model_cpu_offload "
                "instead of enable_sequential_cpu_offload, or leave 'vae' out of it."
            )

    def to(self, *where: Any, **named: Any) -> "ExactVAE":
        """Move or cast the weights, in place, to what `nn.Module.to` takes. Statistics stay fp32 at least."""
        self.vae.to(*where, **named)
        return self

    def compile(self, *args: Any, **named: Any) -> None:
        """Does nothing, and logs why; `torch.compile` of `encode` or `decode` runs them as they are."""
        log.info("compile does nothing here: every run is planned op by op, and torch.compile would trace the planning")

    def enable_tiling(self, *args: Any, **named: Any) -> None:
        _tell_needless()

    def disable_tiling(self) -> None:
        _tell_needless()

    def enable_slicing(self) -> None:
        _tell_needless()

    def disable_slicing(self) -> None:
        _tell_needless()

    def enable_xformers_memory_efficient_attention(self, *args: Any, **named: Any) -> None:
        _tell_needless()

    def disable_xformers_memory_efficient_attention(self) -> None:
        _tell_needless()


def _tell_needless() -> None:
    asked = inspect.stack()[1].function
    log.info("%s does nothing with this VAE: each run is planned from the memory that is free, and is exact.", asked)
