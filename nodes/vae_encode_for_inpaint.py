"""VAE Encode (for Inpainting): an image that is grey under a mask to a latent with that mask."""

from . import host
from .entrance import checks_inputs
from .frames import CLIP, frames_input
from .images import demand_image
from .inpainting import grey_out, make_noise_mask
from .inputs import choice_input, int_input
from .vae_encode import CROP, ODD_SIZES, PAD, Preparation, VAEEncode, encode_to_latent


@checks_inputs()
class VAEEncodeForInpaint:
    DESCRIPTION = (
        "Makes an image grey under a mask and encodes it. The latent carries the grown mask, so a sampler works only "
        "there. The mask is widened to every latent pixel it touches, on the VAE's own grid of 8, 16, 32 ... pixels. "
        "For models that were trained to inpaint, and for a denoise of 1."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["vae encode for inpainting", "inpaint encode", "masked encode", "noise mask", "outpaint"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The raw latent, with its noise mask.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        mask = "1 where the image is generated anew. A mask of another size is resized."
        grow = (
            "Pixels by which the mask becomes wider and higher, as in ComfyUI's own node, so that the new part has a "
            "margin to blend in. The image is made grey only under the mask before it grows."
        )
        sizes = (
            "For an image whose sides are not multiples of the VAE's ratio. pad: mirror image and mask at their right "
            "and lower edge; the latent remembers the size. crop: keep the middle, as ComfyUI does."
        )
        return {
            "required": {
                **VAEEncode.INPUT_TYPES()["required"],
                "mask": ("MASK", {"tooltip": mask}),
                "grow_mask_by": int_input(6, 0, 64, grow),
            },
            "optional": {"odd_sizes": choice_input(ODD_SIZES, PAD, sizes, advanced=True), **frames_input()},
        }

    def encode(self, pixels, vae, mask, grow_mask_by, odd_sizes=PAD, frames=CLIP):
        hole = grey_out(demand_image(pixels), mask)
        found = encode_to_latent(hole, vae, "mode", 0, Preparation(odd_sizes, frames=frames))
        (latent,) = found["result"]
        ratio = host.geometry(vae)[1]
        area = make_noise_mask(mask, tuple(pixels.shape[1:3]), grow_mask_by, ratio, crop=odd_sizes == CROP)
        if latent["samples"].shape[2:3] == (1,) and latent["samples"].ndim == 5:
            area = area[:, :, None]  # one for each image; samplers take (B, 1, H, W) for the frames of one clip
        shown = {**found["ui"], **host.draw_images(hole)}
        return {"ui": shown, "result": ({**latent, "noise_mask": host.result(area)},)}
