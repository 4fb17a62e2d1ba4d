"""VAE Info: a description of a file or of a loaded VAE."""

from typing import Any

from .. import vae_core
from ..vae_core import reports
from . import host
from .entrance import checks_inputs
from .vae_files import PIXEL_SPACE, find_paths, list_names

CONNECTED = "the VAE that is connected"  # an entry of the menu


@checks_inputs()
class VAEInfo:
    DESCRIPTION = (
        "Describes a VAE: its family, the models whose latents it uses, channels, ratio, the halves it holds, and how "
        "its weights are stored. For a file it reads the header only, and lists missing and surplus weights. A "
        "connected VAE is described as it was loaded."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["vae info", "inspect vae", "which vae", "vae metadata", "vae details", "what is this file"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("info",)
    OUTPUT_TOOLTIPS = ("The text that the node shows.",)
    FUNCTION = "describe"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        name = "A file from the list of Load VAE (Exact), which is not loaded; or the VAE that is connected."
        return {
            "required": {"vae_name": ([CONNECTED, *list_names()], {"tooltip": name})},
            "optional": {"vae": ("VAE", {"tooltip": "A VAE, from any loader."})},
        }

    def describe(self, vae_name, vae=None):
        text = describe_connected(vae) if vae_name == CONNECTED else describe_name(vae_name)
        return host.show_text(text, text)


def describe_name(name: str) -> str:
    if name == PIXEL_SPACE:
        family = "none: the model works on pixels, and its latents are images"
        return reports.format_rows({"VAE": name, "family": family})
    return "\n\n".join(reports.describe_file(vae_core.inspect(path)) for path in find_paths(name))


def describe_connected(vae: Any) -> str:
    found = host.look(vae)
    if not isinstance(found, host.HostVAE):
        return reports.describe_vae(found, host.runs_in(vae))
    return reports.format_rows(
        {
            "VAE": found.network_name,
            "family": "not supported by this pack; ComfyUI runs it",
            "latent": f"{found.latent_channels} channels at 1/{found.spatial_ratio}",
            "runs in": host.runs_in(vae),
        }
    )
