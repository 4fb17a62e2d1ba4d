"""Load Latent: a latent from a file, with its mask and its tag."""

from __future__ import annotations

from typing import Any

from ..vae_core import BadRequest, latents
from . import host
from .entrance import checks_inputs
from .images import TAG
from .several import join_latents

NO_FILES = "no latent is there yet"  # what the menu shows then


@checks_inputs()
class LoadLatent:
    DESCRIPTION = (
        "Reads a latent from the input folder, the output folder or their subfolders. It reads files of Save Latent "
        "(Exact), with the mask and everything the latent remembered; files of ComfyUI's own Save Latent; "
        ".safetensors files with a tensor named latent; and what sd-scripts and musubi-tuner keep for training (.npz, "
        "and tensors named latents). Old files of ComfyUI, scaled for SD 1, are scaled back."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["load latent", "open latent", "import latent", "latent from file", "read latent"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent, as it was saved.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        name = "A file in the input folder. Files in the output folder, where latents are saved, end with [output]."
        return {"required": {"latent": (host.list_files(latents.READABLE) or [NO_FILES], {"tooltip": name})}}

    @classmethod
    def VALIDATE_INPUTS(cls, latent):
        if latent == NO_FILES:
            return "there is no latent in the input or output folder: save one with Save Latent (Exact), then press R."
        try:
            return latent is None or bool(host.find_file(latent))  # None: it comes from another node
        except BadRequest as e:
            return str(e)

    @classmethod
    def IS_CHANGED(cls, latent):
        stat = host.find_file(latent).stat()
        return f"{latent} {stat.st_size} {stat.st_mtime_ns}"

    def load(self, latent):
        stored = latents.read_latent_file(host.find_file(latent))
        return (join_latents([_to_latent(one) for one in (stored, *stored.beside)]),)


def _to_latent(stored: latents.StoredLatent) -> dict[str, Any]:
    found: dict[str, Any] = {"samples": host.result(stored.latent)}
    known = {TAG: stored.tag and stored.tag.to_dict(), "noise_mask": stored.mask, "batch_index": stored.items}
    return {**found, **{key: value for key, value in known.items() if value is not None}}
