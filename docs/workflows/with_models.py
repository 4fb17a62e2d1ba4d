"""Example workflows for the models that people have. They run as they are, with the built-in VAE instead."""

from drawing import MUTED, Box, Recipe

BUILT_IN = "exact-vae-demo (built in)"
INSTEAD = "It runs as it is, with the built-in VAE and photographs."


def _image(name: str = "image", **inputs: object) -> Box:
    return Box(name, "ExactExampleImage", 0, inputs)


def _vae(title: str, name: str = "vae", **inputs: object) -> Box:
    return Box(name, "ExactVAELoader", 0, {"vae_name": BUILT_IN, **inputs}, title)


def _shown(name: str, column: int, images: str, title: str, output: int = 0) -> Box:
    return Box(name, "PreviewImage", column, {"images": (images, output)}, title, width=440, room=400)


RECIPES = {
    "big_latent_of_flux2_z_image_qwen_image": Recipe(
        "## Decode a big latent of FLUX.2, Z-Image or Qwen-Image exactly\n"
        "The same latent is decoded in strips, which give the image of an untiled run, and in blended tiles as "
        f"ComfyUI does, where tone and edges shift. {INSTEAD} For your own, choose the VAE in Load VAE: "
        "flux2-vae.safetensors for FLUX.2, ae.safetensors for Z-Image and FLUX.1, qwen_image_vae.safetensors for "
        "Qwen-Image. Then connect the LATENT of your sampler to both decoders in place of Encode's.",
        [
            _image(width=640, height=384),
            _vae("Load VAE: that of your model"),
            Box(
                "latent",
                "ExactVAEEncode",
                1,
                {"pixels": ("image", 0), "vae": ("vae", 0)},
                "A latent, in your sampler's place",
            ),
            Box("exact", "ExactVAEDecode", 2, {"samples": ("latent", 0), "vae": ("vae", 0)}),
            Box(
                "tiled",
                "ExactVAETiledDecode",
                2,
                {
                    "samples": ("latent", 0),
                    "vae": ("vae", 0),
                    "tile_size": 256,
                    "overlap": 64,
                    "mode": "blended approximate",
                },
                "In blended tiles, as ComfyUI does",
            ),
            _shown("exact shown", 3, "exact", "Exact"),
            _shown("tiled shown", 3, "tiled", "In blended tiles"),
        ],
        ["tiled shown", "exact shown"],
    ),
    "wan_clip_from_a_saved_latent": Recipe(
        "## Decode a clip of Wan from a saved latent, in little memory\n"
        "Frames go into the video as they are decoded, so memory does not grow with the clip's length, and no model "
        f"but the VAE is loaded. {INSTEAD} For your own, end the sampler's workflow with Save Latent (Exact). Here "
        "unmute Load Latent, choose that file, and connect it to the decoder in place of the walk. Choose the VAE in "
        "Load VAE: wan_2.1_vae.safetensors for Wan 2.1 and Wan 2.2 14B, wan2.2_vae.safetensors for Wan 2.2 5B.",
        [
            _image(width=256, height=192),
            _image("other", image="cat", width=256, height=192),
            _vae("Load VAE: that of Wan"),
            Box("one", "ExactVAEEncode", 1, {"pixels": ("image", 0), "vae": ("vae", 0)}),
            Box("two", "ExactVAEEncode", 1, {"pixels": ("other", 0), "vae": ("vae", 0)}),
            Box(
                "walk",
                "ExactLatentInterpolate",
                2,
                {"samples1": ("one", 0), "samples2": ("two", 0), "steps": 6},
                "A walk, in a clip's place",
            ),
            Box("saved", "ExactLoadLatent", 2, {"latent": ""}, "Your saved latent: unmute it", mode=MUTED),
            Box(
                "video",
                "ExactVAEDecodeToVideoFile",
                3,
                {"samples": ("walk", 0), "vae": ("vae", 0), "fps": 8.0},
                width=400,
                room=500,
            ),
            Box("frames", "ExactVAEDecode", 3, {"samples": ("walk", 0), "vae": ("vae", 0)}),
            _shown("frames shown", 4, "frames", "The frames, where an image is wanted"),
        ],
        ["frames shown"],
    ),
    "sdxl_in_fp16_without_the_fixed_file": Recipe(
        "## Run SDXL's VAE in fp16 without the fixed file\n"
        "SDXL's own VAE overflows in fp16 and gives black images; inside these nodes it is rescaled exactly, so no "
        f"fine-tuned copy is needed. {INSTEAD} For your own, choose sdxl_vae.safetensors, or an SDXL checkpoint such "
        "as sd_xl_base_1.0.safetensors, in both loaders. The table says how far fp16 and fp32 are from the photograph, "
        "and the images should look alike. On a CPU fp16 is run in fp32.",
        [
            _image(width=256, height=256),
            _vae("", dtype="fp16"),
            _vae("The same in fp32", "fp32", dtype="fp32"),
            Box(
                "compare",
                "ExactVAECompare",
                1,
                {"image": ("image", 0), "vae": ("vae", 0), "vae_2": ("fp32", 0)},
                width=560,
                room=640,
            ),
            _shown("beside", 2, "compare", "The image, in fp16, in fp32", 1),
            _shown("heat", 2, "compare", "Where they differ from the image", 2),
        ],
        ["beside"],
    ),
    "keep_the_original_outside_the_mask": Recipe(
        "## Keep the original outside the mask, with any inpainting model\n"
        "A model for inpainting returns the whole image a little changed, also where nothing was masked. Decoded onto "
        f"the original, only the mask's part is new, with a soft edge, and all else stays to the bit. {INSTEAD} For "
        "your own, put your sampler in the place of Noise: of SD 1.5 or SDXL inpainting with the checkpoint's VAE, of "
        "FLUX.1 Fill with ae.safetensors, of Qwen-Image-Edit with qwen_image_vae.safetensors. Turn match_colour on if "
        "the new part has another tone.",
        [
            _image(width=512, height=288),
            _vae("Load VAE: that of your model"),
            Box("latent", "ExactVAEEncode", 1, {"pixels": ("image", 0), "vae": ("vae", 0)}),
            Box(
                "noise",
                "ExactLatentNoise",
                2,
                {"samples": ("latent", 0), "add_to_samples": True, "spectrum": "pink", "strength": 0.4, "seed": 7},
                "Noise, in your sampler's place",
            ),
            Box("plain", "ExactVAEDecode", 3, {"samples": ("noise", 0), "vae": ("vae", 0)}),
            Box(
                "onto",
                "ExactVAEDecodeOntoOriginal",
                3,
                {
                    "samples": ("noise", 0),
                    "vae": ("vae", 0),
                    "image": ("image", 0),
                    "mask": ("image", 1),
                    "feather": 24,
                },
                room=460,
            ),
            _shown("plain shown", 4, "plain", "Before: all of it has changed"),
            _shown("onto shown", 4, "onto", "After: only what was masked"),
        ],
        ["plain shown", "onto shown"],
    ),
}
