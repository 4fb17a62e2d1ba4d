"""The example workflows, an idea each: made of this pack's nodes, the built-in VAE and its photographs."""

from typing import Any

from drawing import Box, Recipe
from with_models import RECIPES as WITH_MODELS


def image(name: str = "image", **inputs: Any) -> Box:
    return Box(name, "ExactExampleImage", 0, inputs)


def vae(name: str = "vae", title: str = "", **inputs: Any) -> Box:
    return Box(name, "ExactVAELoader", 0, {"vae_name": "exact-vae-demo (built in)", **inputs}, title)


def encode(name: str, column: int, pixels: str, **inputs: Any) -> Box:
    return Box(name, "ExactVAEEncode", column, {"pixels": (pixels, 0), "vae": ("vae", 0), **inputs})


def decode(name: str, column: int, samples: str, **inputs: Any) -> Box:
    return Box(name, "ExactVAEDecode", column, {"samples": (samples, 0), "vae": ("vae", 0), **inputs})


def preview(name: str, column: int, images: str, output: int = 0, **more: Any) -> Box:
    return Box(name, "PreviewImage", column, {"images": (images, output)}, **more)


def twice(name: str) -> Box:
    """Two copies beside one another."""
    return Box(f"{name} twice", "ImageStitch", 3, {"image1": (name, 0), "image2": (name, 0)})


def noise_column(column: int, spectrum: str) -> list[Box]:
    inputs = {"vae": ("vae", 0), "width": 384, "height": 288, "spectrum": spectrum, "seed": 1}
    shown = {"samples": (spectrum, 0), "scale": 6}
    return [
        Box(spectrum, "ExactLatentNoise", column, inputs, f"Latent Noise: {spectrum}"),
        Box(f"{spectrum} seen", "ExactLatentInspect", column, shown),
        preview(f"{spectrum} channels", column, f"{spectrum} seen", 1, title=f"The channels of {spectrum} noise"),
    ]


SPECTRA = ("white", "pink", "perlin", "pyramid")

RECIPES = {
    "round_trip": Recipe(
        "## See what a VAE keeps of an image\n"
        "An image to its latent and back. Choose a VAE of yours in Load VAE: any file of "
        "models/vae, models/vae_approx or models/checkpoints; exact-vae-demo (built in) comes with the pack, "
        "and pixel_space gives the image back unchanged. For an image of yours put Load Image in Example "
        "Image's place.",
        [
            image(),
            vae(),
            encode("encode", 1, "image"),
            decode("decode", 2, "encode"),
            preview("before", 1, "image", title="Before"),
            Box("save", "SaveImage", 3, {"images": ("decode", 0), "filename_prefix": "round_trip"}, "After"),
        ],
        ["before", "save"],
    ),
    "compare_vaes": Recipe(
        "## Compare VAEs in figures, side by side and under a slider\n"
        "One VAE is loaded twice, in fp32 and in bf16, and each takes an image there and back "
        "twice, exactly and in blended tiles. The table on the node says how near each came; the heat map shows "
        "where they erred, black not at all, white by a fifth of the range or more. Choose two VAEs of yours "
        "instead, and connect up to four.",
        [
            image(width=256, height=320),
            vae(dtype="fp32"),
            vae("bf16", "The same in bf16", dtype="bf16"),
            Box(
                "compare",
                "ExactVAECompare",
                1,
                {
                    "image": ("image", 0),
                    "vae": ("vae", 0),
                    "vae_2": ("bf16", 0),
                    "mode": "both",
                    "tile_size": 128,
                    "overlap": 32,
                },
                width=560,
            ),
            preview("side by side", 2, "compare", 1, title="The image, and what came back", width=560),
            preview("heat map", 2, "compare", 2, title="Where they differ", width=560),
        ],
        ["side by side", "heat map"],
    ),
    "doctor": Recipe(
        "## Find out whether this device computes a VAE right\n"
        "The Doctor encodes and decodes a chart in every dtype, whole and in bands, and "
        "compares with exact results from the CPU, which takes a while. Choose your VAE in Load VAE. Blue panels are "
        "right: their errors are those of rounding. What is red, yellow or white is wrong on this device; from then on "
        "this pack goes around it, and the nodes say so.",
        [
            vae(),
            Box("doctor", "ExactVAEDoctor", 1, {"vae": ("vae", 0)}, width=480),
            preview("errors", 2, "doctor", 2, title="Errors, by what rounding allows", width=720, room=720),
        ],
        ["errors"],
    ),
    "dataset": Recipe(
        "## A folder of images, for training\nPut images, with captions as .txt beside them, into the input folder or "
        "one below it, and choose it in Encode Folder. The latents go to the output folder, in shards with an index, "
        "and what was skipped is listed there with the reason. If the run is stopped, the same graph goes on. The "
        "sheet shows some of the images above what their latents decode to.",
        [
            vae(),
            Box("folder", "ExactEncodeFolder", 1, {"vae": ("vae", 0), "width": 512, "height": 512}, width=380),
            preview("sheet", 2, "folder", 3, title="Images, and what their latents give", width=720, room=560),
        ],
        ["sheet"],
    ),
    "big_image": Recipe(
        "## Encode and decode a big image in the memory you have\n"
        "Both nodes run in strips of rows, each at most tile_size pixels high, "
        "and keep on disk what they need again, so that memory does not grow with the image. The result is that "
        "of an untiled run: no seams, no shift of colour. Change tile_size and see that the image stays and the "
        "memory, which the nodes show, does not.",
        [
            image(width=1536, height=864),
            vae(),
            Box(
                "encode",
                "ExactVAETiledEncode",
                1,
                {"pixels": ("image", 0), "vae": ("vae", 0), "tile_size": 128, "keep": "disk"},
            ),
            Box(
                "decode",
                "ExactVAETiledDecode",
                2,
                {"samples": ("encode", 0), "vae": ("vae", 0), "tile_size": 64, "keep": "disk"},
            ),
            Box("save", "SaveImage", 3, {"images": ("decode", 0), "filename_prefix": "big_image"}),
        ],
        ["save"],
    ),
    "inpaint_onto_original": Recipe(
        "## Change only what is under the mask\n"
        "The pixels under the mask are made grey and encoded, for a sampler; here the latent of a cat is put there "
        "instead. A plain decode changes all of the image, each time. Decoded onto the original only the mask's part "
        "is new, with a soft edge, and all around it stays to the bit, however often it is done.",
        [
            image(width=512, height=384),
            image("cat", image="cat", width=240, height=176),
            vae(),
            Box(
                "hole", "ExactVAEEncodeForInpaint", 1, {"pixels": ("image", 0), "vae": ("vae", 0), "mask": ("image", 1)}
            ),
            encode("other", 1, "cat"),
            Box(
                "sampler",
                "LatentComposite",
                2,
                {"samples_to": ("hole", 0), "samples_from": ("other", 0), "x": 136, "y": 96},
                "In a sampler's place",
            ),
            decode("plain", 3, "sampler"),
            preview("plain shown", 4, "plain", title="Plain: all of it has changed"),
            Box(
                "onto",
                "ExactVAEDecodeOntoOriginal",
                3,
                {"samples": ("sampler", 0), "vae": ("vae", 0), "image": ("image", 0), "mask": ("image", 1)},
            ),
            preview("onto shown", 4, "onto", title="Onto the original: what was masked"),
        ],
        ["plain shown", "onto shown"],
    ),
    "video_file": Recipe(
        "## Decode straight into a video, frame by frame\n"
        "A walk between two photographs is decoded frame by frame into a video in the output "
        "folder, and memory does not grow with its length. The second node reads the file back, a few frames at a "
        "time. Choose a VAE of clips (Wan, LTX, Mochi ...) and a video of yours as its file, and what was encoded "
        "comes back with its size, its frames and its sound: connect the video to source, too.",
        [
            image(width=256, height=192),
            image("other", image="cat", width=256, height=192),
            vae(),
            encode("one", 1, "image"),
            encode("two", 1, "other"),
            Box("walk", "ExactLatentInterpolate", 2, {"samples1": ("one", 0), "samples2": ("two", 0), "steps": 6}),
            Box(
                "video",
                "ExactVAEDecodeToVideoFile",
                3,
                {"samples": ("walk", 0), "vae": ("vae", 0), "fps": 4.0},
                width=360,
                room=420,
            ),
            Box("latent", "ExactVAEEncodeVideoFile", 4, {"file": "none", "vae": ("vae", 0), "video": ("video", 0)}),
            decode("back", 4, "latent"),
            preview("frames", 5, "back", title="The file's frames, decoded"),
        ],
        ["frames"],
    ),
    "latent_walk": Recipe(
        "## Walk through latent space from one photograph to another\n"
        "Two photographs become two latents, and Latent Interpolate goes from one "
        "to the other in steps, along a circle (slerp). Every point on the way decodes to an image: the space has "
        "no holes between its images, which is what the KL term of training is for. It is a fade rather than a "
        "change of shape, as each latent pixel stands for its own place.",
        [
            image(width=256, height=256),
            image("other", image="cat", width=256, height=256),
            vae(),
            encode("a", 1, "image"),
            encode("b", 1, "other"),
            Box("walk", "ExactLatentInterpolate", 2, {"samples1": ("a", 0), "samples2": ("b", 0), "steps": 6}),
            decode("decode", 3, "walk"),
            preview("shown", 4, "decode", title="From the heron to the cat", width=460, room=380),
        ],
        ["shown"],
    ),
    "noise_lab": Recipe(
        "## See four kinds of noise side by side\n"
        "Four kinds of noise of the same seed, each with mean 0 and variance 1 in every channel, as "
        "the lines on the nodes show. Models are trained with white noise; pink, Perlin's and pyramid noise hold "
        "more large shapes, and push an image towards other compositions and stronger light and dark. Plug one "
        "into a sampler by the NOISE output, or add a little of it to a latent.",
        [vae(), *(box for i, spectrum in enumerate(SPECTRA) for box in noise_column(i + 1, spectrum))],
        [f"{spectrum} channels" for spectrum in SPECTRA],
    ),
    "seamless_texture": Recipe(
        "## Decode a texture that tiles without a seam\n"
        "Brown noise continues at its other side, so a texture could. But with zeros "
        "beyond the border, as VAEs were trained, a seam shows where two copies meet. With border: "
        "circular each convolution reads what lies at the other side, and no seam is there. "
        "For textures of something, take the latent of a sampler that wraps around, too.",
        [
            vae("vae", "Load VAE: zeros, as trained", border="zeros"),
            vae("wrapped", "Load VAE: border circular", border="circular"),
            Box(
                "noise",
                "ExactLatentNoise",
                1,
                {"vae": ("vae", 0), "width": 256, "height": 256, "spectrum": "brown", "seed": 3},
            ),
            decode("plain", 2, "noise"),
            Box("texture", "ExactVAEDecode", 2, {"samples": ("noise", 0), "vae": ("wrapped", 0)}),
            *(twice(name) for name in ("plain", "texture")),
            Box("saved", "SaveImage", 3, {"images": ("texture", 0), "filename_prefix": "texture"}, "The texture"),
            preview("plain shown", 4, "plain twice", title="Two copies: a seam", width=460),
            preview("texture shown", 4, "texture twice", title="Two copies: none", width=460),
        ],
        ["plain shown", "texture shown"],
    ),
    "posterior": Recipe(
        "## See that an image becomes a distribution\n"
        "The encoder gives no point for an image but a Gaussian: a mean and a "
        "spread for every latent pixel. Samples of it decode to all but the same image, so neighbours in the "
        "latent space are neighbours in images; at five times the spread one sees what the VAE is least sure of, "
        "the fine detail. The node says how large the spread is beside the latent itself.",
        [
            image(image="cat", width=256, height=256),
            vae(),
            encode("mean", 1, "image"),
            decode("mean decoded", 2, "mean"),
            preview("mean shown", 3, "mean decoded", title="From the mean"),
            *(
                box
                for times, title in ((1.0, "Samples"), (5.0, "Samples at five times the spread"))
                for box in (
                    Box(
                        f"x{times}",
                        "ExactLatentSample",
                        1,
                        {"vae": ("vae", 0), "pixels": ("image", 0), "temperature": times},
                        title,
                    ),
                    decode(f"x{times} decoded", 2, f"x{times}"),
                    preview(f"x{times} shown", 3, f"x{times} decoded", title=title),
                )
            ),
            Box("seen", "ExactLatentInspect", 2, {"samples": ("mean", 0), "vae": ("vae", 0)}),
            preview("channels", 3, "seen", 1, title="The channels of the mean"),
        ],
        ["x1.0 shown", "x5.0 shown"],
    ),
    "completeness": Recipe(
        "## See what a decoder makes of chance\n"
        "Every point drawn from the prior decodes to colours and blobs that the "
        "decoder knows: there are no gaps, which is what completeness means. It is an image of nothing, as the "
        "prior draws each latent pixel alone; with brown noise neighbours agree, and larger shapes appear. How "
        "latent pixels belong together is what a diffusion model learns.",
        [
            vae(),
            Box(
                "prior",
                "ExactLatentSample",
                1,
                {"vae": ("vae", 0), "seed": 5, "width": 256, "height": 256},
                "The prior, each latent pixel alone",
            ),
            Box(
                "brown",
                "ExactLatentNoise",
                1,
                {"vae": ("vae", 0), "seed": 5, "width": 256, "height": 256, "batch_size": 4, "spectrum": "brown"},
                "Brown noise: neighbours agree",
            ),
            decode("prior decoded", 2, "prior"),
            preview("prior shown", 3, "prior decoded", title="The prior, decoded"),
            decode("brown decoded", 2, "brown"),
            preview("brown shown", 3, "brown decoded", title="Brown noise, decoded"),
        ],
        ["prior shown", "brown shown"],
    ),
    "img2img": Recipe(
        "## Change an image with a checkpoint and keep its size\n"
        "Core's sampler between our encode and decode, with the VAE of the checkpoint. **It "
        "needs a checkpoint:** choose one of yours in Load Checkpoint, of SD 1.x, SD 2.x or SDXL. An image of any "
        "size comes back in just that size, and the nodes show how much memory the VAE took.",
        [
            image(),
            Box("model", "CheckpointLoaderSimple", 0),
            Box(
                "positive", "CLIPTextEncode", 1, {"clip": ("model", 1), "text": "a kingfisher on a branch, photograph"}
            ),
            Box("negative", "CLIPTextEncode", 1, {"clip": ("model", 1), "text": "blurry, text"}),
            Box("encode", "ExactVAEEncode", 1, {"pixels": ("image", 0), "vae": ("model", 2)}),
            Box(
                "sampler",
                "KSampler",
                2,
                {
                    "model": ("model", 0),
                    "positive": ("positive", 0),
                    "negative": ("negative", 0),
                    "latent_image": ("encode", 0),
                    "denoise": 0.6,
                },
            ),
            Box("decode", "ExactVAEDecode", 3, {"samples": ("sampler", 0), "vae": ("model", 2)}),
            Box("save", "SaveImage", 4, {"images": ("decode", 0), "filename_prefix": "img2img"}),
        ],
        [],
    ),
    **WITH_MODELS,
}
