"""VAE Info: a description of a file, of a loaded VAE, or of all files of a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import vae_core
from ..vae_core import reports
from . import host
from .entrance import checks_inputs
from .vae_files import ALL, PIXEL_SPACE, find_folder, find_paths, list_folders, list_names

CONNECTED = "the VAE that is connected"  # an entry of the menu


@checks_inputs()
class VAEInfo:
    DESCRIPTION = (
        "Describes a VAE: its family, the models whose latents it uses, channels, ratio, the halves it holds, and how "
        "its weights are stored. For a file it reads the header only, and lists missing and surplus weights. For a "
        "folder it lists all files, and why some would not load. A connected VAE is described as it was loaded."
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
        name = (
            "A file from the list of Load VAE (Exact), which is not loaded; the VAE that is connected; or all files of "
            "a folder of models."
        )
        return {
            "required": {"vae_name": ([CONNECTED, *list_names(), *list_folders()], {"tooltip": name})},
            "optional": {"vae": ("VAE", {"tooltip": "A VAE, from any loader."})},
        }

    @classmethod
    def IS_CHANGED(cls, vae_name, vae=None):
        files = [] if vae_name == CONNECTED else _list_files(vae_name)
        return " ".join(f"{file} {(stat := file.stat()).st_size} {stat.st_mtime_ns}" for file in files if file.exists())

    def describe(self, vae_name, vae=None):
        if vae_name.startswith(ALL):
            rows = reports.survey_files(find_folder(vae_name))
            return host.show_text(reports.list_survey(rows), reports.format_survey(rows))
        text = describe_connected(vae) if vae_name == CONNECTED else describe_name(vae_name)
        return host.show_text(text, text)


def _list_files(name: str) -> Sequence[Path]:
    if name == PIXEL_SPACE:
        return []
    return find_folder(name) if name.startswith(ALL) else find_paths(name)


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
