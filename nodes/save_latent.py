"""Save Latent: a latent to a file, with its mask and its tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..vae_core import latents
from . import host
from .entrance import checks_inputs
from .images import latent_of, tag_of
from .inputs import choice_input, text_input
from .several import items_of, split_latents

PREFIX = (
    "Beginning of the file's name, in the output folder. It may contain subfolders, %year%, %month%, %day%, %hour%, "
    "%minute% and %second%."
)


@checks_inputs()
class SaveLatent:
    DESCRIPTION = (
        "Writes a latent to the output folder, in its own dtype, with its mask and everything it remembers: its model, "
        "its convention, the size of the image, the VAE that made it. A LATENT that holds several, as of a clip with "
        "sound, is saved whole. ComfyUI's own Load Latent also reads .latent files."
    )
    CATEGORY = "Exact VAE/latent"
    SEARCH_ALIASES = ["save latent", "export latent", "latent to file", "write latent", "keep latent"]
    RETURN_TYPES = ()
    OUTPUT_TOOLTIPS = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        ending = ".latent: as ComfyUI writes it. .safetensors: for other programs; the tensor is named latent."
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent to save, with its mask if it has one."}),
                "filename_prefix": text_input("latents/ComfyUI", PREFIX),
            },
            "optional": {"file_type": choice_input(latents.SUFFIXES, latents.NODE_SUFFIX, ending)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(self, samples, filename_prefix, file_type=".latent", prompt=None, extra_pnginfo=None):
        first, *others = [_to_stored(one) for one in split_latents(samples)]
        file = host.new_file(filename_prefix, file_type)
        texts, index = host.list_graph_texts(prompt, extra_pnginfo), items_of(samples)
        latents.write_latent(file, first.latent, first.tag, texts, mask=first.mask, index=index, beside=others)
        return host.show_saved_file(file, "latents")


def _to_stored(samples: Any) -> latents.StoredLatent:
    mask = samples.get("noise_mask") if isinstance(samples, Mapping) else None
    return latents.StoredLatent(latent_of(samples), tag_of(samples), mask if isinstance(mask, Tensor) else None)
