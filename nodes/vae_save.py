"""Save VAE: a VAE to a file, with its weights named as in a layout."""

from ..vae_core import BadRequest, checkpoints, families
from ..vae_core.devices import DTYPES, parse_dtype
from . import host
from .entrance import checks_inputs
from .inputs import choice_input, text_input
from .save_latent import PREFIX

AS_IT_IS = "as it is"


@checks_inputs()
class VAESave:
    DESCRIPTION = (
        "Writes a VAE to the output folder as safetensors, for ComfyUI, for the authors' own code or for diffusers. "
        "Use it to take the VAE out of a checkpoint, to join two halves in one file, or to change layout and dtype."
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
            "Names of the weights. original: as in their authors' files, which ComfyUI loads. diffusers: as in the "
            "folder vae of a diffusers model."
        )
        dtype = (
            "The dtype of the weights. as it is: the one the VAE was loaded in. Statistics of latents are always fp32."
        )
        return {
            "required": {
                "vae": ("VAE", {"tooltip": "The VAE, from any loader."}),
                "filename_prefix": text_input("vae/ComfyUI_vae", PREFIX),
            },
            "optional": {
                "layout": choice_input(families.LAYOUTS, families.ORIGINAL, layout),
                "dtype": choice_input((AS_IT_IS, *DTYPES), AS_IT_IS, dtype),
            },
        }

    def save(self, vae, filename_prefix, layout="original", dtype=AS_IT_IS):
        found = host.look(vae)
        if isinstance(found, host.HostVAE):
            raise BadRequest("this pack does not support the family of this VAE: use ComfyUI's own VAESave.")
        file = host.new_file(filename_prefix, ".safetensors")
        checkpoints.save(found, file, layout, None if dtype == AS_IT_IS else parse_dtype(dtype))
        return host.show_saved_file(file, "files")
