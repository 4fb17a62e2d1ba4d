"""Save VAE: to a file, in the names of a layout."""

from ..vae_core import BadRequest
from ..vae_core.checkpoints import LAYOUTS, ORIGINAL, save
from ..vae_core.dtypes import DTYPES, parse_dtype
from . import host
from .save_latent import PREFIX

AS_IT_IS = "as it is"


class VAESave:
    DESCRIPTION = (
        "Writes a VAE to the output folder as safetensors, for ComfyUI and the authors' own code or for diffusers. "
        "Takes the VAE out of a checkpoint, joins two halves into one file, changes layout and dtype."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["save vae", "export vae", "convert vae", "extract vae", "vae to diffusers", "bake vae"]
    RETURN_TYPES = ()
    OUTPUT_TOOLTIPS = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        layout = (
            "How weights are named. original: as in their authors' files, which ComfyUI loads. diffusers: as in the "
            "folder vae of a diffusers model."
        )
        dtype = "What weights are stored in; as it is: what the VAE was loaded in. Statistics of latents stay fp32."
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE, from any loader."}),
                "filename_prefix": ("STRING", {"default": "vae/ComfyUI_vae", "tooltip": PREFIX}),
            },
            "optional": {
                "layout": (list(LAYOUTS), {"default": ORIGINAL, "tooltip": layout}),
                "dtype": ([AS_IT_IS, *DTYPES], {"default": AS_IT_IS, "tooltip": dtype}),
            },
        }

    def save(self, vae, filename_prefix, layout=ORIGINAL, dtype=AS_IT_IS):
        found = host.look(vae)
        if isinstance(found, host.HostVAE):
            raise BadRequest("this pack does not run this VAE's family and cannot name its weights: use core's node.")
        path, shown = host.new_file(filename_prefix, ".safetensors")
        save(found, path, layout, None if dtype == AS_IT_IS else parse_dtype(dtype))
        return host.saved(path, files=shown)
