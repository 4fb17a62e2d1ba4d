"""Latent spaces: what the numbers of a latent mean to the diffusion models that work on it.

A *raw* latent is what an encoder makes, and what nodes pass on. Diffusion models see it scaled; conventions.py converts
between the two. A space belongs to models, not to a file: several VAEs share names, shapes and even a space. So a space
is named after its models.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import BadRequest
from . import statistics as known

MOST = 4  # models that a sentence names
LIGHT_FILES = ("lighttaehy1_5",)  # LightX2V's others are networks of TAEHV's
ADDED = ("encoder", "decoder", "fp16", "bf16", "fp32", "f16", "f32")  # to a tiny VAE's name by those who convert it


class LatentSpace(NamedTuple):
    """The latent space of some diffusion models.

    models      who they are, for people
    channels    of a raw latent
    ratio       pixels per latent pixel, in each direction
    families    VAE families of this library that make such latents
    tiny_files  how the authors of tiny VAEs call their files, without an ending, and without what `ADDED` names
    mean, std   of the raw latents, per channel; empty if nobody has published them

    scaled = (raw - shift) * scale; with mean and std, channel by channel, scaled = (raw - mean) / std * scale.
    """

    models: str
    channels: int
    ratio: int
    scale: float = 1.0
    shift: float = 0.0
    families: tuple[str, ...] = ("kl", "tiny")
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    tiny_files: tuple[str, ...] = ()


# scale and shift: `scaling_factor` and `shift_factor` in vae/config.json of the repository named beside them, or the
# default of the class of huggingface/diffusers 0.42 that is named instead.
SPACES: Mapping[str, LatentSpace] = {
    # CompVis/stable-diffusion-v1-4
    "sd1": LatentSpace(
        "SD 1.x, SD 2.x, PixArt-alpha",
        4,
        8,
        0.18215,
        families=("kl", "asymmetric", "consistency", "tiny"),
        tiny_files=("taesd",),
    ),
    # stabilityai/stable-diffusion-xl-base-1.0
    "sdxl": LatentSpace("SDXL, PixArt-Sigma, AuraFlow, Kolors", 4, 8, 0.13025, tiny_files=("taesdxl",)),
    # playgroundai/playground-v2.5-1024px-aesthetic; its scale is the sigma_data of EDM
    "playground25": LatentSpace(
        "Playground 2.5", 4, 8, 0.5, families=("kl",), mean=known.PLAYGROUND25_MEAN, std=known.PLAYGROUND25_STD
    ),
    # stabilityai/stable-diffusion-x4-upscaler
    "sd-x4": LatentSpace("SD x4 upscaler", 4, 4, 0.08333),
    # stabilityai/stable-diffusion-3-medium-diffusers
    "sd3": LatentSpace("SD 3.x", 16, 8, 1.5305, 0.0609, tiny_files=("taesd3",)),
    # black-forest-labs/FLUX.1-dev
    "flux1": LatentSpace("FLUX.1, Lumina 2, Z-Image, Chroma", 16, 8, 0.3611, 0.1159, tiny_files=("taef1",)),
    # THUDM/CogView4-6B
    "cogview4": LatentSpace("CogView4", 16, 8),
    # Wan-AI/Wan2.1-T2V-1.3B-Diffusers
    "wan21": LatentSpace(
        "Wan 2.1, Qwen-Image",
        16,
        8,
        families=("wan", "tiny_video"),
        mean=known.WAN21_MEAN,
        std=known.WAN21_STD,
        tiny_files=("taew2_1", "lighttaew2_1"),
    ),
    # Wan-AI/Wan2.2-TI2V-5B
    "wan22": LatentSpace(
        "Wan 2.2",
        48,
        16,
        families=("wan", "tiny_video"),
        mean=known.WAN22_MEAN,
        std=known.WAN22_STD,
        tiny_files=("taew2_2", "taew2_2_super", "lighttaew2_2"),
    ),
    # AutoencoderKLQwenImage21
    "qwen-image-2.1": LatentSpace(
        "Qwen-Image-2.1",
        64,
        16,
        families=("wan", "tiny"),
        mean=known.QWEN_IMAGE21_MEAN,
        std=known.QWEN_IMAGE21_STD,
        tiny_files=("taeqi2_1",),
    ),
    # black-forest-labs/FLUX.2-dev; normalised inside the VAE. Mage-VAE was trained to make such latents
    "flux2": LatentSpace("FLUX.2", 128, 16, families=("kl", "tiny", "mage"), tiny_files=("taef2",)),
    # bytetriper/RAE: of DINOv2-B with registers, normalised inside the VAE
    "rae": LatentSpace("RAE's DiT-DH", 768, 16, families=("rae",)),
    # Efficient-Large-Model/Sana_1600M_1024px_diffusers
    "sana": LatentSpace("Sana", 32, 32, 0.41407, families=("tiny", "dc_ae"), tiny_files=("taesana",)),
    # huggingface/diffusers scripts/convert_dcae_to_diffusers.py; 'in' was trained on ImageNet, 'mix' on several sets
    "dc-ae-f32c32-in": LatentSpace("DC-AE in-1.0", 32, 32, 0.3189, families=()),
    "dc-ae-f32c32-mix": LatentSpace("DC-AE mix-1.0", 32, 32, 0.4552, families=()),
    "dc-ae-f64c128-in": LatentSpace("DC-AE in-1.0", 128, 64, 0.2889, families=("dc_ae",)),
    "dc-ae-f64c128-mix": LatentSpace("DC-AE mix-1.0", 128, 64, 0.4538, families=("dc_ae",)),
    "dc-ae-f128c512-in": LatentSpace("DC-AE in-1.0", 512, 128, 0.4883, families=("dc_ae",)),
    "dc-ae-f128c512-mix": LatentSpace("DC-AE mix-1.0", 512, 128, 0.3620, families=("dc_ae",)),
    # hunyuanvideo-community/HunyuanImage-2.1-Diffusers
    "hunyuan-image": LatentSpace("HunyuanImage 2.1", 64, 32, 0.75289, families=("hunyuan_image",)),
    # tencent/HunyuanImage-3.0, config.json: vae.scaling_factor
    "hunyuan-image-3": LatentSpace("HunyuanImage 3.0", 32, 16, 0.562679178327931, families=("hunyuan_image_3",)),
    # AutoencoderKLHunyuanVideo15, AutoencoderKLHunyuanImageRefiner
    "hunyuan-video-15": LatentSpace(
        "HunyuanVideo 1.5, HunyuanImage 2.1's refiner",
        32,
        16,
        1.03682,
        families=("hunyuan_video_15", "tiny_video"),
        tiny_files=("taehv1_5", "taehv1_5_super", "lighttaehy1_5"),
    ),
    # AutoencoderKLHunyuanVideo
    "hunyuan-video": LatentSpace(
        "HunyuanVideo", 16, 8, 0.476986, families=("hunyuan_video", "tiny_video"), tiny_files=("taehv",)
    ),
    # stabilityai/stable-video-diffusion-img2vid
    "svd": LatentSpace("Stable Video Diffusion", 4, 8, 0.18215, families=("svd", "taesdv"), tiny_files=("taesdv",)),
    # kandinskylab/KVAE-2D-1.0; AutoencoderKLKVAE knows no scale
    "kvae": LatentSpace("KVAE 2-D", 16, 8, families=("kvae",)),
    # kandinskylab/KVAE-3D-1.0; AutoencoderKLKVAEVideo knows no scale
    "kvae-3d": LatentSpace("KVAE 3-D", 16, 8, families=("kvae_video",)),
    # kandinsky-community/kandinsky-2-2-decoder, movq; diffusers' pipelines do not scale
    "kandinsky2": LatentSpace("Kandinsky 2.x", 4, 8, families=("vq",)),
    # amused/amused-512; z before its codebook, or codes
    "amused": LatentSpace("aMUSEd", 64, 16, families=("vq",)),
    # FoundationVision/LlamaGen, deepseek-ai/Janus; z before its codebook, or codes
    "llamagen": LatentSpace("LlamaGen, Janus", 8, 16, families=("llamagen",)),
    "llamagen-vq8": LatentSpace("LlamaGen VQ-8", 8, 8, families=("llamagen",)),
    # Stability-AI/StableCascade modules/stage_a.py, `scale_factor`; warp-ai/wuerstchen, vqgan
    "cascade-a": LatentSpace("Stable Cascade (stage A)", 4, 4, 1 / 0.43, families=("paella",)),
    "wuerstchen": LatentSpace("Würstchen", 4, 4, 1 / 0.3764, families=("paella",)),
    # stabilityai/stable-cascade-prior
    "cascade-c": LatentSpace("Stable Cascade (stage C)", 16, 32, families=("effnet",)),
    # ByteDance-Seed/SeedVR; scaled inside the VAE
    "seedvr2": LatentSpace("SeedVR2", 16, 8, families=("seedvr2",)),
    # AutoencoderKLCogVideoX; the 5B models have their own
    "cogvideox-2b": LatentSpace("CogVideoX 2B", 16, 8, 1.15258426, families=("cogvideox",)),
    # THUDM/CogVideoX-5b. Its tiny VAE, taecvx, is no file to convert: it works on raw latents (madebyollin/taehv
    # examples/TAECVX_T2I_Demo.ipynb divides by 0.7 first).
    "cogvideox-5b": LatentSpace("CogVideoX 5B", 16, 8, 0.7, families=("cogvideox",)),
    # AutoencoderKLMochi
    "mochi": LatentSpace(
        "Mochi 1",
        12,
        8,
        families=(
            "mochi",
            "tiny_video",
        ),
        mean=known.MOCHI_MEAN,
        std=known.MOCHI_STD,
        tiny_files=("taem1",),
    ),
    # Lightricks/LTX-Video, nvidia/Cosmos-1.0-Tokenizer-CV8x8x8; normalised by statistics in the file of the VAE
    "ltx-video": LatentSpace(
        "LTX-Video",
        128,
        32,
        families=("ltx_video", "ltx_diffusion", "tiny_video"),
        tiny_files=("taeltx_2", "taeltx2_3", "taeltx2_3_wide"),
    ),
    # MiniMax-H3; normalised by statistics in the file of the VAE
    "minimax-h3": LatentSpace("MiniMax-H3", 24, 16, families=("minimax_h3",)),
    "cosmos": LatentSpace("Cosmos 1.0", 16, 8, families=("cosmos",)),
    # AutoencoderKLAllegro, AutoencoderKLMagvit, Kandinsky6SRVAE
    "allegro": LatentSpace("Allegro", 4, 8, 0.13, families=("allegro",)),
    "easyanimate": LatentSpace("EasyAnimate", 16, 8, 0.7125, families=("easyanimate",)),
    # microsoft/VidTok, whose programs do not scale; by ratio and channels, FSQ's of 4 to 6 channels too
    **{
        f"vidtok-f{ratio}c{channels}": LatentSpace("VidTok", channels, ratio, families=("vidtok",))
        for ratio, of in {4: (4,), 8: (4, 5, 6, 8, 16), 16: (4, 6, 16)}.items()
        for channels in of
    },
    "kandinsky6-sr": LatentSpace("Kandinsky 6 SR", 64, 16, 0.910344004631042, families=("kandinsky6",)),
    "pixel": LatentSpace("pixel-space models", 3, 1, families=("pixel",)),
}


def get_space(name: "str | LatentSpace") -> LatentSpace:
    """The latent space of this name, a key of SPACES, or the space itself. Raises BadRequest if there is none."""
    if isinstance(name, LatentSpace):
        return name
    if name not in SPACES:
        raise BadRequest(f"there is no latent space '{str(name)[:60]}': choose one of {', '.join(SPACES)}.")
    return SPACES[name]


def find_spaces(channels: int, ratio: int | None = None, family: str | None = None) -> tuple[str, ...]:
    """Names of the spaces with this number of channels and, if given, this ratio and this VAE family."""
    return tuple(
        name
        for name, one in SPACES.items()
        if one.channels == channels and ratio in (None, one.ratio) and (family is None or family in one.families)
    )


def list_tiny_spaces() -> tuple[str, ...]:
    """Names of the spaces that there are tiny VAEs for, which have to be told theirs."""
    return tuple(name for name, one in SPACES.items() if one.tiny_files)


def find_tiny_space(file: str, family: str) -> str | None:
    """Name of the space by a file's name, of a family of tiny VAEs: 'taesdxl_decoder.pth' -> 'sdxl'; else None."""
    stem = _stem(file)
    return next((name for name, one in SPACES.items() if stem in one.tiny_files and family in one.families), None)


def is_named_light(file: str) -> bool:
    """Is the file named as the tiny VAE of clips that LightX2V trained with activations of its own?"""
    return _stem(file) in LIGHT_FILES


def _stem(file: str) -> str:
    """'TAESD_decoder_fp16.safetensors' -> 'taesd'"""
    stem, before = file.partition(".")[0].lower(), ""
    while stem != before:
        stem, before = re.sub(f"[-_]({'|'.join(ADDED)})$", "", stem), stem
    return stem


def name_models(channels: int, ratio: int | None = None, family: str | None = None) -> str:
    """The models of `find_spaces` for people: 'SD 3.x or FLUX.1, ...'; '' if there are none."""
    fitting = [SPACES[name].models for name in find_spaces(channels, ratio, family)]
    more = [f"{len(fitting) - MOST} others"] if len(fitting) > MOST else []
    return " or ".join(fitting[:MOST] + more)
