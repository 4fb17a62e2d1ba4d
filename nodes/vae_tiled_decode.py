"""VAE Decode (Tiled): decode in strips of a chosen height, or in blended tiles. Inputs are those of ComfyUI's node."""

from . import tiling
from .entrance import checks_inputs
from .vae_decode import REFUSE, VAEDecode, decode_to_image


@checks_inputs()
class VAETiledDecode(VAEDecode):
    DESCRIPTION = (
        "Decodes in strips of rows to exactly the image of VAE Decode (Exact): no seams and no colour shift, whatever "
        "the size of the strips. On request it decodes in blended tiles as ComfyUI does, which gives a different "
        "image. It has the inputs of ComfyUI's own VAE Decode (Tiled). The node shows how it runs, and the memory."
    )
    SEARCH_ALIASES = ["tiled vae", "vae decode tiled", "vae decode low vram", "out of memory decode", "seam",
                      "seams", "tile seams", "tiling artifacts", "low memory"]  # fmt: skip
    OUTPUT_TOOLTIPS = ("The image, in [0, 1] unless clamp is off. In mode exact it is that of VAE Decode (Exact).",)

    @classmethod
    def INPUT_TYPES(cls):
        types = super().INPUT_TYPES()
        return {**types, "optional": {**tiling.inputs(step=32), **types["optional"]}}

    def decode(self, samples, vae, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8,
               mode=tiling.EXACT, keep=tiling.AUTOMATIC, *, clamp=True, empty_latent=REFUSE):  # fmt: skip
        options = tiling.run_options(tile_size, overlap, temporal_size, temporal_overlap, mode, keep)
        return decode_to_image(samples, vae, clamp, empty_latent, options)
