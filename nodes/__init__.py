"""The nodes of this pack.

Ids never change, because saved graphs contain them. None may equal the id of a node of ComfyUI itself: ComfyUI would
silently drop ours.
"""

from .convert_latent import ConvertLatent
from .empty_latent import EmptyLatent
from .encode_folder import EncodeFolder
from .example_image import ExampleImage
from .join_latents import JoinLatents
from .latent_inspect import LatentInspect
from .latent_interpolate import LatentInterpolate
from .latent_noise import LatentNoise
from .latent_sample import LatentSample
from .load_latent import LoadLatent
from .save_latent import SaveLatent
from .split_latent import SplitLatent
from .vae_compare import VAECompare
from .vae_decode import VAEDecode
from .vae_decode_onto_original import VAEDecodeOntoOriginal
from .vae_decode_to_video_file import VAEDecodeToVideoFile
from .vae_doctor import VAEDoctor
from .vae_encode import VAEEncode
from .vae_encode_for_inpaint import VAEEncodeForInpaint
from .vae_encode_video_file import VAEEncodeVideoFile
from .vae_info import VAEInfo
from .vae_loader import VAELoader
from .vae_save import VAESave
from .vae_tiled_decode import VAETiledDecode
from .vae_tiled_encode import VAETiledEncode

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

# Both tables are literals, because ComfyUI-Manager reads them from the source without running it.
NODE_CLASS_MAPPINGS = {
    "ExactVAELoader": VAELoader,
    "ExactVAEEncode": VAEEncode,
    "ExactVAEDecode": VAEDecode,
    "ExactVAETiledEncode": VAETiledEncode,
    "ExactVAETiledDecode": VAETiledDecode,
    "ExactVAEEncodeForInpaint": VAEEncodeForInpaint,
    "ExactVAEDecodeOntoOriginal": VAEDecodeOntoOriginal,
    "ExactVAEEncodeVideoFile": VAEEncodeVideoFile,
    "ExactVAEDecodeToVideoFile": VAEDecodeToVideoFile,
    "ExactEncodeFolder": EncodeFolder,
    "ExactVAECompare": VAECompare,
    "ExactVAEInfo": VAEInfo,
    "ExactVAEDoctor": VAEDoctor,
    "ExactVAESave": VAESave,
    "ExactEmptyLatent": EmptyLatent,
    "ExactLatentNoise": LatentNoise,
    "ExactLatentInterpolate": LatentInterpolate,
    "ExactLatentSample": LatentSample,
    "ExactConvertLatent": ConvertLatent,
    "ExactSplitLatent": SplitLatent,
    "ExactJoinLatents": JoinLatents,
    "ExactLatentInspect": LatentInspect,
    "ExactSaveLatent": SaveLatent,
    "ExactLoadLatent": LoadLatent,
    "ExactExampleImage": ExampleImage,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "ExactVAELoader": "Load VAE (Exact)",
    "ExactVAEEncode": "VAE Encode (Exact)",
    "ExactVAEDecode": "VAE Decode (Exact)",
    "ExactVAETiledEncode": "VAE Encode (Exact, Tiled)",
    "ExactVAETiledDecode": "VAE Decode (Exact, Tiled)",
    "ExactVAEEncodeForInpaint": "VAE Encode (Exact, for Inpainting)",
    "ExactVAEDecodeOntoOriginal": "VAE Decode onto Original (Exact)",
    "ExactVAEEncodeVideoFile": "VAE Encode Video File (Exact)",
    "ExactVAEDecodeToVideoFile": "VAE Decode to Video File (Exact)",
    "ExactEncodeFolder": "Encode Folder (Exact)",
    "ExactVAECompare": "Compare VAE (Exact)",
    "ExactVAEInfo": "VAE Info (Exact)",
    "ExactVAEDoctor": "VAE Doctor (Exact)",
    "ExactVAESave": "Save VAE (Exact)",
    "ExactEmptyLatent": "Empty Latent (Exact, for VAE)",
    "ExactLatentNoise": "Latent Noise (Exact)",
    "ExactLatentInterpolate": "Latent Interpolate (Exact)",
    "ExactLatentSample": "Latent Sample (Exact)",
    "ExactConvertLatent": "Convert Latent (Exact)",
    "ExactSplitLatent": "Split Latent (Exact)",
    "ExactJoinLatents": "Join Latents (Exact)",
    "ExactLatentInspect": "Latent Inspect (Exact)",
    "ExactSaveLatent": "Save Latent (Exact)",
    "ExactLoadLatent": "Load Latent (Exact)",
    "ExactExampleImage": "Example Image (Exact)",
}
