"""From the raw latent that a VAE makes to the numbers that its diffusion model sees, and back."""

from torch import Tensor

from ..errors import BadRequest
from .conventions import RAW, SCALED, convert
from .spaces import LatentSpace, find_spaces, get_space


class Scalable:
    """A VAE of which it is known whose latents it makes."""

    name: str
    family: str
    latent_space: str | None

    def scale(self, latent: Tensor) -> Tensor:
        """The raw latent -> what the diffusion model sees, as `convert(latent, space, "raw", "scaled")` gives it.

        latent: (B, C, h, w) or (B, C, T, h, w), raw, any floating dtype. Returns the same shape, float32 at least.
        Raises BadRequest if it is not known whose latents these are, LatentMismatch for another shape.
        """
        return convert(latent, self._demand_space(latent), RAW, SCALED)

    def unscale(self, latent: Tensor) -> Tensor:
        """What the diffusion model makes -> the raw latent, which `decode` takes. The inverse of `scale`.

        latent: (B, C, h, w) or (B, C, T, h, w), scaled, any floating dtype. Returns the same shape, float32 at least.
        Raises BadRequest if it is not known whose latents these are, LatentMismatch for another shape.
        """
        return convert(latent, self._demand_space(latent), SCALED, RAW)

    def _demand_space(self, latent: Tensor) -> LatentSpace:
        if self.latent_space is not None:
            return get_space(self.latent_space)
        possible = (
            find_spaces(latent.shape[1], family=self.family) if isinstance(latent, Tensor) and latent.ndim > 1 else ()
        )
        choice = f": set vae.latent_space to one of {', '.join(possible)}" if possible else ""
        raise BadRequest(f"it is not known whose latents '{self.name}' makes, so not how they are scaled{choice}.")
