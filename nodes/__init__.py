"""Node id -> class. Ids are for ever; a core node's id must never stand here (the host would drop ours silently)."""

from .latent_noise import LatentNoise
from .vae_decode import VAEDecode
from .vae_encode import VAEEncode
from .vae_loader import VAELoader
from .vae_tiled_decode import VAETiledDecode
from .vae_tiled_encode import VAETiledEncode

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

NODE_CLASS_MAPPINGS = {
    "ExactVAELoader": VAELoader,
    "ExactVAEEncode": VAEEncode,
    "ExactVAEDecode": VAEDecode,
    "ExactVAETiledEncode": VAETiledEncode,
    "ExactVAETiledDecode": VAETiledDecode,
    "ExactLatentNoise": LatentNoise,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "ExactVAELoader": "Load VAE (Exact)",
    "ExactVAEEncode": "VAE Encode (Exact)",
    "ExactVAEDecode": "VAE Decode (Exact)",
    "ExactVAETiledEncode": "VAE Encode (Exact, Tiled)",
    "ExactVAETiledDecode": "VAE Decode (Exact, Tiled)",
    "ExactLatentNoise": "Latent Noise (Exact)",
}
