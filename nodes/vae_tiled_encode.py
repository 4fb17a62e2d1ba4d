"""VAE Encode (Tiled): encode in strips of a chosen height, or in blended tiles. Inputs are those of ComfyUI's node."""

from . import tiling
from .entrance import checks_inputs
from .frames import CLIP
from .images import WHITE
from .vae_encode import PAD, Preparation, VAEEncode, encode_to_latent


@checks_inputs()
class VAETiledEncode(VAEEncode):
    DESCRIPTION = (
        "Encodes in strips of rows to exactly the latent of VAE Encode (Exact), whatever the size of the strips. On "
        "request it encodes in blended tiles as ComfyUI does, which gives a different latent. It has the inputs of "
        "ComfyUI's own VAE Encode (Tiled). The node shows how it ran and how much memory it took."
    )
    SEARCH_ALIASES = ["tiled vae", "vae encode tiled", "vae encode low vram", "out of memory encode", "seam", "seams",
                      "low memory"]  # fmt: skip
    OUTPUT_TOOLTIPS = ("The raw latent. In mode exact it is that of VAE Encode (Exact).",)

    @classmethod
    def INPUT_TYPES(cls):
        types = super().INPUT_TYPES()
        return {**types, "optional": {**tiling.inputs(step=64), **types["optional"]}}

    def encode(self, pixels, vae, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8,
               mode=tiling.EXACT, keep=tiling.AUTOMATIC, *, posterior="mode", seed=0, odd_sizes=PAD, alpha="automatic",
               background=WHITE, frames=CLIP):  # fmt: skip
        options = tiling.run_options(tile_size, overlap, temporal_size, temporal_overlap, mode, keep)
        how = Preparation(odd_sizes, alpha, background, frames)
        return encode_to_latent(pixels, vae, posterior, seed, how, options)
