"""VAE Decode onto Original: what was made anew under a mask, put into the image it was made for."""

from . import host
from .inpainting import composite_decoded, fit_mask
from .vae_decode import VAEDecode, decode_pixels


class VAEDecodeOntoOriginal:
    DESCRIPTION = (
        "Decodes a latent and puts it into the original image under the mask. Outside of the mask the image is the "
        "original to the bit, however often it is inpainted; at the mask's edge one fades into the other."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae decode inpaint", "paste back", "composite masked", "keep unmasked area", "stitch", "overlay"]
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The original, with the new part in it.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        image = "The image that was encoded. Of another size than the decoded one it is refused."
        mask = (
            "1 where the decoded image is to be seen, 0 where the original stays. Grow it beforehand if the sampler "
            "worked on a grown mask and you want all of that. Of another size it is resized."
        )
        feather = "Pixels over which the new part fades in, at the mask's edge and within the mask. 0: as the mask is."
        colour = (
            "Shift the new part's colours by what the VAE and the sampler changed around the mask, as averages over "
            "cells of 32 pixels. For seams that show as a change of tone. Not if the whole image was made anew."
        )
        return {
            "required": {
                **VAEDecode.INPUT_TYPES()["required"],
                "image": ("IMAGE", {"tooltip": image}),
                "mask": ("MASK", {"tooltip": mask}),
            },
            "optional": {
                "feather": ("INT", {"default": 16, "min": 0, "max": 256, "step": 1, "tooltip": feather}),
                "match_colour": ("BOOLEAN", {"default": False, "tooltip": colour}),
            },
        }

    def decode(self, samples, vae, image, mask, *, feather=16, match_colour=False):
        where = fit_mask(mask, image)
        pixels, shown = decode_pixels(samples, vae, original=(image, where))
        ratio = host.geometry(vae)[1]
        return shown.beside(host.result(composite_decoded(image, pixels, where, feather, match_colour, ratio)))
