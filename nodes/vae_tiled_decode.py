"""VAE Decode (Tiled): in bands of a chosen height, or in blended tiles; with core's inputs, so that it can stand in."""

from . import tiling
from .vae_decode import REFUSE, VAEDecode, decode_to_image


class VAETiledDecode(VAEDecode):
    DESCRIPTION = (
        "Decodes in bands of rows to the very image VAE Decode (Exact) gives: no seams, no shift of colour, whatever "
        "the size of the bands. Or, on request, in blended tiles as core does: not the same image. "
        "Takes the inputs of core's VAE Decode (Tiled). The node shows how it ran and in how much memory."
    )
    SEARCH_ALIASES = ["tiled vae", "vae decode tiled", "vae decode low vram", "out of memory decode"]
    OUTPUT_TOOLTIPS = ("The image, in [0, 1] unless clamp is off; with mode exact, that of VAE Decode (Exact).",)

    @classmethod
    def INPUT_TYPES(cls):
        types = super().INPUT_TYPES()
        return {**types, "optional": {**tiling.inputs(step=32), **types["optional"]}}

    def decode(self, samples, vae, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8,
               mode=tiling.EXACT, keep=tiling.AUTOMATIC, *, clamp=True, empty_latent=REFUSE):  # fmt: skip
        options = tiling.run_options(tile_size, overlap, temporal_size, temporal_overlap, mode, keep)
        return decode_to_image(samples, vae, clamp, empty_latent, options)
