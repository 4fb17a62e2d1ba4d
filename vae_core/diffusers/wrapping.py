"""`as_vae`: one of our VAEs as the VAE of a pipeline."""

from typing import TYPE_CHECKING, Any

from ..errors import BadRequest
from ..execution.options import DEFAULTS, RunOptions
from ..families import minimax_h3
from ..vae import VAE
from .facts import demand_place, demand_space, list_facts

if TYPE_CHECKING:
    from .model import ExactVAE

OURS = ("force_upcast", "timestep_conditioning")  # facts that hold of our runs, whatever VAE they take the place of
STATISTICS = ("latents_mean", "latents_std")


def as_vae(
    vae: VAE, *, like: Any = None, latent_space: str | None = None, options: RunOptions = DEFAULTS
) -> "ExactVAE":
    """An nn.Module that takes the place of a pipeline's VAE: `pipe.vae = as_vae(load("sdxl_vae.safetensors"))`.

    vae            what `load` gives; its weights are shared, not copied
    like           the VAE whose place it takes, such as `pipe.vae`: the facts of its config are kept, such as the scale
    latent_space   whose latents it makes, a name in SPACES, if neither the file nor `like` says so
    options        how to run, such as RunOptions(budget="4GiB")
    Raises BadRequest if diffusers is not installed, if the scale of its latents is not known, for a latent space or a
    VAE in whose place it cannot stand, of other channels, and for MiniMax-H3's, whose pipelines have other pixels.
    """
    try:
        from .model import ExactVAE
    except ModuleNotFoundError as e:
        raise BadRequest(f"as_vae needs {e.name}: pip install diffusers.") from e
    if vae.family == minimax_h3.FAMILY.name:
        raise BadRequest(
            f"'{vae.name}' cannot stand in a pipeline of MiniMax-H3, whose pixels are by ImageNet's statistics and not "
            "in [-1, 1]: use its encode and decode."
        )
    if latent_space:
        demand_space(vae, latent_space)
    if like is None:
        return ExactVAE(vae, list_facts(vae, latent_space), options)
    # A ratio that is None is worked out by their class; statistics that are None are not there.
    kept = {name: fact for name, fact in like.config.items() if name not in OURS and not name.startswith("_")}
    known = {name: fact for name, fact in kept.items() if fact is not None or name in STATISTICS}
    # What a latent is worth is the config's to say, so any space of ours does for what it leaves out.
    ours = list_facts(vae, latent_space or vae.latent_space or "pixel")
    demand_place(known, ours, vae.name)
    return ExactVAE(vae, {**ours, **known}, options)
