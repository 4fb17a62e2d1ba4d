"""VAE Info: what a file, or a VAE that is loaded, is."""

from typing import Any

from ..vae_core import inspect
from ..vae_core.reports import description
from . import host
from .vae_loader import PIXEL_SPACE, find_paths, list_names

CONNECTED = "the VAE that is connected"


class VAEInfo:
    DESCRIPTION = (
        "Says what a VAE is: its family and whose latents it speaks, channels, ratio, the halves it holds, how its "
        "weights are stored. Of a file from its header alone, with what is missing or too many; of a VAE that is "
        "connected as it is loaded."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["vae info", "inspect vae", "which vae", "vae metadata", "vae details", "what is this file"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("info",)
    OUTPUT_TOOLTIPS = ("The lines that the node shows.",)
    FUNCTION = "describe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        name = "A file, as Load VAE (Exact) lists them; it is not loaded. Or the VAE that is connected."
        return {
            "required": {"vae_name": ([CONNECTED, *list_names()], {"tooltip": name})},
            "optional": {"vae": ("VAE", {"tooltip": "A VAE, from any loader."})},
        }

    def describe(self, vae_name, vae=None):
        text = describe_connected(vae) if vae_name == CONNECTED else describe_file_of(vae_name)
        return host.told(text, text)


def describe_file_of(name: str) -> str:
    if name == PIXEL_SPACE:
        return description.format_rows(
            {"VAE": name, "family": "none: the model works on pixels, and a latent is an image"}
        )
    return "\n\n".join(description.describe_file(inspect(path)) for path in find_paths(name))


def describe_connected(vae: Any) -> str:
    found = host.look(vae)
    if not isinstance(found, host.HostVAE):
        return description.describe_vae(found, host.runs_in(vae))
    return description.format_rows(
        {
            "VAE": found.network_name,
            "family": "one that this pack does not run; ComfyUI does",
            "latent": f"{found.latent_channels} channels at 1/{found.spatial_ratio}",
            "runs in": host.runs_in(vae),
        }
    )
