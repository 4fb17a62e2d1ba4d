"""How trainers keep latents: the names of files and tensors, and what the numbers mean.

sd-scripts  kohya-ss/sd-scripts 48d368f, library/strategy_base.py and strategy_*.py: beside the image, float32
musubi      kohya-ss/musubi-tuner 30c658c, dataset/architectures.py, cache_io.py, image_video_dataset.py: in one folder

How the files of diffusion-pipe, SimpleTuner and OneTrainer look is said where they are read, in `trainers`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..vae_core.latents import NORMALISED, RAW, SCALED
from .buckets import MUSUBI, SD_SCRIPTS

TRAINERS = (SD_SCRIPTS, MUSUBI)


class Format(NamedTuple):
    """How a trainer keeps latents of a model.

    spaces        whose latents it takes, keys of SPACES
    convention    of its numbers
    ending        of the files' names
    frames        do latents of images have a dimension for frames?
    sized         do the names of tensors end with the latent's size? then files hold several sizes
    architecture  musubi's word in the metadata
    """

    spaces: tuple[str, ...]
    convention: str
    ending: str
    frames: bool = False
    sized: bool = True
    architecture: str = ""


_WAN = ("wan21",)

FORMATS: Mapping[str, Mapping[str, Format]] = {
    SD_SCRIPTS: {
        "sd": Format(("sd1",), RAW, "_sd.npz", sized=False),
        "sdxl": Format(("sdxl",), RAW, "_sdxl.npz", sized=False),
        "sd3": Format(("sd3",), RAW, "_sd3.npz"),
        "flux": Format(("flux1",), SCALED, "_flux.npz"),
        "lumina": Format(("flux1",), SCALED, "_lumina.npz"),
        "hunyuan-image": Format(("hunyuan-image",), RAW, "_hi.npz"),
        "anima": Format(_WAN, NORMALISED, "_anima.npz"),
    },
    MUSUBI: {
        "hv": Format(("hunyuan-video",), RAW, "_hv.safetensors", True, architecture="hunyuan_video"),
        "hv15": Format(("hunyuan-video-15",), RAW, "_hv15.safetensors", True, architecture="hunyuan_video_1_5"),
        "wan": Format((*_WAN, "wan22"), NORMALISED, "_wan.safetensors", True, architecture="wan"),
        "qi": Format(_WAN, NORMALISED, "_qi.safetensors", True, architecture="qwen_image"),
        "kr2": Format(_WAN, NORMALISED, "_kr2.safetensors", True, architecture="krea2"),
        "zi": Format(("flux1",), RAW, "_zi.safetensors", architecture="z_image"),
        "f2d": Format(("flux2",), RAW, "_f2d.safetensors", architecture="flux_2_dev"),
        "f2k4b": Format(("flux2",), RAW, "_f2k4b.safetensors", architecture="flux_2_klein_4b"),
        "f2k9b": Format(("flux2",), RAW, "_f2k9b.safetensors", architecture="flux_2_klein_9b"),
    },
}
# Of musubi's models whose latents are read here, but not written: they need control images or other frames beside them.
READ_ONLY = (
    Format(("flux1",), SCALED, "_fk.safetensors", architecture="flux_kontext"),
    Format(("hunyuan-video",), SCALED, "_fp.safetensors", True, architecture="framepack"),
    Format(("hunyuan-video",), SCALED, "_k5.safetensors", True, architecture="kandinsky5"),
    Format(_WAN, NORMALISED, "_qie.safetensors", True, architecture="qwen_image_edit"),
    Format(_WAN, NORMALISED, "_qil.safetensors", True, architecture="qwen_image_layered"),
)
DIFFUSION_PIPE, SIMPLE_TUNER, ONE_TRAINER = "diffusion-pipe", "SimpleTuner", "OneTrainer"
# Of trainers that keep the latents of all models in one way: as the model sees them, or as the encoder gives them
# (diffusion-pipe 8f83dbf, models/*.py; SimpleTuner bc8e6ab, helpers/models/foundation_mixins.py; OneTrainer 23df383,
# modules/modelSetup: scaled in training).
CONVENTIONS: Mapping[str, str] = {DIFFUSION_PIPE: SCALED, SIMPLE_TUNER: SCALED, ONE_TRAINER: RAW}
VERSION = "1.0.1"  # of musubi's files, cache_io.py: format_version

# Whose caches cannot be written by others, and why (the files that say so are named above, and where they are read).
# diffusers 0.42, examples/: train_dreambooth_*.py keep latents in memory, train_text_to_image_sdxl.py in the cache of
# `datasets`, under a hash of its own function.
NOT_WRITTEN: Mapping[str, str] = {
    "diffusers": (
        "the training examples of diffusers keep latents in memory, or in a cache of `datasets` that only they can "
        "name: there are no files to write. Train from LatentDataset of exact_vae.batch, or export webdataset"
    ),
    DIFFUSION_PIPE: (
        "diffusion-pipe keeps a fingerprint of its own code and data with a cache, and deletes one that has another. "
        "`exact-vae cache verify` reads its caches"
    ),
    SIMPLE_TUNER: (
        "SimpleTuner takes a .pt by the image's name, and keeps sizes and crops in lists of its own, so latents of "
        "another bucket would be trained on unnoticed. `exact-vae cache verify` reads its caches"
    ),
    ONE_TRAINER: (
        "OneTrainer finds a latent by its place in the order of its own concepts, so a cache that it did not write "
        "gives images the latents of others. `exact-vae cache verify` reads its caches"
    ),
}
