"""VAE Encode (for Inpainting): an image with a hole, and the mask that tells a sampler where it is."""

from . import host
from .encoding import CROP, ODD_SIZES, PAD
from .images import WHITE, demand_image
from .inpainting import grey_out, make_noise_mask
from .vae_encode import VAEEncode, encode_to_latent


class VAEEncodeForInpaint:
    DESCRIPTION = (
        "Encodes an image whose pixels under the mask are made grey, and hands on the mask, grown, so that a sampler "
        "works only there. The mask covers whole latent pixels, on the VAE's own grid of 8, 16, 32 ... pixels: none "
        "that it touches is left out. For models that were trained to inpaint, and for a denoise of 1."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode for inpainting", "inpaint encode", "masked encode", "noise mask", "outpaint"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The raw latent, with its noise mask.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        mask = "1 where the image is to be made anew. Of another size it is resized."
        grow = (
            "How many pixels wider and higher the mask becomes, so that the new part has a margin to join in, as in "
            "core. The image is made grey only under the mask as it was."
        )
        sizes = (
            "An image that is no multiple of the VAE's ratio. pad: it and the mask are continued at the right and "
            "lower edge by their mirror image; the latent remembers the size. crop: the middle, as core does."
        )
        return {
            "required": {
                **VAEEncode.INPUT_TYPES()["required"],
                "mask": ("MASK", {"tooltip": mask}),
                "grow_mask_by": ("INT", {"default": 6, "min": 0, "max": 64, "step": 1, "tooltip": grow}),
            },
            "optional": {"odd_sizes": (list(ODD_SIZES), {"default": PAD, "advanced": True, "tooltip": sizes})},
        }

    def encode(self, pixels, vae, mask, grow_mask_by, odd_sizes=PAD):
        hole = grey_out(demand_image(pixels), mask)
        found = encode_to_latent(hole, vae, "mode", 0, (odd_sizes, "automatic", WHITE))
        (latent,) = found["result"]
        ratio = host.geometry(vae)[1]
        area = make_noise_mask(mask, tuple(pixels.shape[1:3]), grow_mask_by, ratio, crop=odd_sizes == CROP)
        return {**found, "result": ({**latent, "noise_mask": host.result(area)},)}
