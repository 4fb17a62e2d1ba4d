"""VAE Decode (Tiled): the same picture, with the inputs of core's tiled node, so that it can stand in for that."""

from .vae_decode import VAEDecode

EXACT = "The picture does not depend on it: this node never blends tiles."


class VAETiledDecode(VAEDecode):
    DESCRIPTION = (
        "Decodes to the very picture VAE Decode (Exact) gives: no seams, no shift of colour. It takes the inputs of "
        "core's VAE Decode (Tiled), and for now decodes the picture whole; they do not change the result."
    )
    SEARCH_ALIASES = ["tiled vae", "vae decode tiled", "vae decode low vram", "out of memory decode"]
    OUTPUT_TOOLTIPS = ("The picture, in [0, 1], equal to that of VAE Decode (Exact).",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            **super().INPUT_TYPES(),
            "optional": {
                "tile_size": _size(512, 64, 4096, 32, f"Pixels. {EXACT}"),
                "overlap": _size(64, 0, 4096, 32, f"Pixels. {EXACT}"),
                "temporal_size": _size(64, 8, 4096, 4, f"Frames, for VAEs of video. {EXACT}"),
                "temporal_overlap": _size(8, 4, 4096, 4, f"Frames, for VAEs of video. {EXACT}"),
            },
        }

    def decode(self, samples, vae, tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8):
        return super().decode(samples, vae)


def _size(default: int, least: int, most: int, step: int, tooltip: str):
    return ("INT", {"default": default, "min": least, "max": most, "step": step, "advanced": True, "tooltip": tooltip})
