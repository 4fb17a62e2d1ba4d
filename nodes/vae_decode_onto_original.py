"""VAE Decode onto Original: decode an inpainted latent and composite it into the original image."""

from . import host
from .entrance import checks_inputs
from .inpainting import composite_decoded, fit_mask
from .inputs import bool_input, int_input
from .vae_decode import VAEDecode, decode_pixels


@checks_inputs()
class VAEDecodeOntoOriginal:
    DESCRIPTION = (
        "Decodes a latent and composites it into the original image under the mask. Outside the mask every bit of the "
        "original is kept, however often you inpaint. At the mask's edge one image fades into the other."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae decode inpaint", "paste back", "composite masked", "keep unmasked area", "stitch", "overlay",
                      "colour shift", "seam", "washed out"]  # fmt: skip
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The original image with the new part in it.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        image = "The original image that was encoded. The decoded image must have the same size."
        mask = (
            "1 where the decoded image is shown, 0 where the original is kept. If the sampler worked on a grown mask "
            "and you want all of its work, grow this mask too. A mask of another size is resized."
        )
        feather = "Pixels over which the new part fades in, inside the mask's edge. 0: use the mask as it is."
        colour = (
            "Undo the colour shift that VAE and sampler caused around the mask, averaged over cells of 32 pixels. Use "
            "it if seams show as a change of tone, but not if the whole image was generated anew."
        )
        return {
            "required": {
                **VAEDecode.INPUT_TYPES()["required"],
                "image": ("IMAGE", {"tooltip": image}),
                "mask": ("MASK", {"tooltip": mask}),
            },
            "optional": {
                "feather": int_input(16, 0, 256, feather),
                "match_colour": bool_input(False, colour),
            },
        }

    def decode(self, samples, vae, image, mask, *, feather=16, match_colour=False):
        where = fit_mask(mask, image)
        pixels, shown = decode_pixels(samples, vae, original=(image, where))
        ratio = host.geometry(vae)[1]
        made = host.result(composite_decoded(image, pixels, where, feather, match_colour, ratio))
        return shown.beside(made, images=(made,))
