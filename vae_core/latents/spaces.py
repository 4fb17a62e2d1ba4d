"""Latent spaces: what the numbers of a latent mean to the diffusion models that work on it.

A *raw* latent is what an encoder makes, and what nodes pass on. Diffusion models see it scaled (conventions.py has the
ways between). Several VAEs share names and shapes, and even a space; so a space is named after its models, and is a
fact about them, not about a file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import BadRequest
from . import statistics as known

RAW = "raw"
MOST = 4  # models that a sentence names


class LatentSpace(NamedTuple):
    """scaled = (raw - shift) * scale, or channel by channel (raw - mean) / std * scale where there are mean and std."""

    models: str
    channels: int  # of the latent that nodes pass on
    ratio: int  # pixels to one latent pixel, in each direction
    scale: float = 1.0
    shift: float = 0.0
    families: tuple[str, ...] = ("kl", "tiny")  # of this library, that speak it
    mean: tuple[float, ...] = ()  # of raw latents, for each channel
    std: tuple[float, ...] = ()


# scale and shift: `scaling_factor` and `shift_factor` in vae/config.json of the repository named beside them, or the
# default of the class of huggingface/diffusers 0.42 that is named instead.
SPACES: Mapping[str, LatentSpace] = {
    # CompVis/stable-diffusion-v1-4
    "sd1": LatentSpace("SD 1.x, SD 2.x, PixArt-alpha", 4, 8, 0.18215, families=("kl", "asymmetric", "tiny")),
    # stabilityai/stable-diffusion-xl-base-1.0
    "sdxl": LatentSpace("SDXL, PixArt-Sigma, AuraFlow, Kolors", 4, 8, 0.13025),
    # playgroundai/playground-v2.5-1024px-aesthetic; its scale is the sigma_data of EDM
    "playground25": LatentSpace(
        "Playground 2.5", 4, 8, 0.5, families=("kl",), mean=known.PLAYGROUND25_MEAN, std=known.PLAYGROUND25_STD
    ),
    # stabilityai/stable-diffusion-x4-upscaler
    "sd-x4": LatentSpace("SD x4 upscaler", 4, 4, 0.08333),
    # stabilityai/stable-diffusion-3-medium-diffusers
    "sd3": LatentSpace("SD 3.x", 16, 8, 1.5305, 0.0609),
    # black-forest-labs/FLUX.1-dev
    "flux1": LatentSpace("FLUX.1, Lumina 2, Z-Image, Chroma", 16, 8, 0.3611, 0.1159),
    # THUDM/CogView4-6B
    "cogview4": LatentSpace("CogView4", 16, 8),
    # Wan-AI/Wan2.1-T2V-1.3B-Diffusers
    "wan21": LatentSpace(
        "Wan 2.1, Qwen-Image", 16, 8, families=("wan", "tiny_video"), mean=known.WAN21_MEAN, std=known.WAN21_STD
    ),
    # Wan-AI/Wan2.2-TI2V-5B
    "wan22": LatentSpace("Wan 2.2", 48, 16, families=("wan", "tiny_video"), mean=known.WAN22_MEAN, std=known.WAN22_STD),
    # AutoencoderKLQwenImage21
    "qwen-image-2.1": LatentSpace(
        "Qwen-Image-2.1", 64, 16, families=("wan",), mean=known.QWEN_IMAGE21_MEAN, std=known.QWEN_IMAGE21_STD
    ),
    # black-forest-labs/FLUX.2-dev; normalised inside the VAE
    "flux2": LatentSpace("FLUX.2", 128, 16),
    # Efficient-Large-Model/Sana_1600M_1024px_diffusers
    "sana": LatentSpace("Sana", 32, 32, 0.41407, families=("tiny", "dc_ae")),
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
        "HunyuanVideo 1.5, HunyuanImage 2.1's refiner", 32, 16, 1.03682, families=("hunyuan_video_15", "tiny_video")
    ),
    # AutoencoderKLHunyuanVideo
    "hunyuan-video": LatentSpace("HunyuanVideo", 16, 8, 0.476986, families=("hunyuan_video", "tiny_video")),
    # stabilityai/stable-video-diffusion-img2vid
    "svd": LatentSpace("Stable Video Diffusion", 4, 8, 0.18215, families=("svd",)),
    # kandinsky-community/kandinsky-2-2-decoder, movq; diffusers' pipelines do not scale
    "kandinsky2": LatentSpace("Kandinsky 2.x", 4, 8, families=("vq",)),
    # amused/amused-512; z before its codebook, or codes
    "amused": LatentSpace("aMUSEd", 64, 16, families=("vq",)),
    # Stability-AI/StableCascade modules/stage_a.py, `scale_factor`; warp-ai/wuerstchen, vqgan
    "cascade-a": LatentSpace("Stable Cascade (stage A)", 4, 4, 1 / 0.43, families=("paella",)),
    "wuerstchen": LatentSpace("Würstchen", 4, 4, 1 / 0.3764, families=("paella",)),
    # stabilityai/stable-cascade-prior
    "cascade-c": LatentSpace("Stable Cascade (stage C)", 16, 32, families=("effnet",)),
    # AutoencoderKLCogVideoX; the 5B models have their own
    "cogvideox-2b": LatentSpace("CogVideoX 2B", 16, 8, 1.15258426, families=()),
    # THUDM/CogVideoX-5b
    "cogvideox-5b": LatentSpace("CogVideoX 5B", 16, 8, 0.7, families=()),
    # AutoencoderKLMochi
    "mochi": LatentSpace("Mochi 1", 12, 8, families=(), mean=known.MOCHI_MEAN, std=known.MOCHI_STD),
    # Lightricks/LTX-Video, nvidia/Cosmos-1.0-Tokenizer-CV8x8x8; normalised by statistics in the file of the VAE
    "ltx-video": LatentSpace("LTX-Video", 128, 32, families=()),
    "cosmos": LatentSpace("Cosmos 1.0", 16, 8, families=()),
    # AutoencoderKLAllegro, AutoencoderKLMagvit, Kandinsky6SRVAE
    "allegro": LatentSpace("Allegro", 4, 8, 0.13, families=()),
    "easyanimate": LatentSpace("EasyAnimate", 16, 8, 0.7125, families=()),
    "kandinsky6-sr": LatentSpace("Kandinsky 6 SR", 64, 16, 0.910344004631042, families=()),
    "pixel": LatentSpace("pixel-space models", 3, 1, families=("pixel",)),
}


# Tiny VAEs do not say whose latents they were trained on; their authors say it by the names of the files.
TINY_FILES = {
    "taesd": "sd1",
    "taesdxl": "sdxl",
    "taesd3": "sd3",
    "taef1": "flux1",
    "taesana": "sana",
    "taehv": "hunyuan-video",
    "taew2_1": "wan21",
    "taew2_2": "wan22",
    "taew2_2_super": "wan22",
    "taehv1_5": "hunyuan-video-15",
    "taehv1_5_super": "hunyuan-video-15",
}


def space_of_file(name: str) -> str | None:
    """'taesdxl_decoder.pth' -> 'sdxl'; None for a name that says nothing."""
    stem = name.partition(".")[0].lower()
    return TINY_FILES.get(stem.removesuffix("_encoder").removesuffix("_decoder"))


def get_space(name: str) -> LatentSpace:
    if name not in SPACES:
        raise BadRequest(f"there is no latent space '{name}': choose one of {', '.join(SPACES)}.")
    return SPACES[name]


def find_spaces(channels: int, ratio: int | None = None, family: str | None = None) -> tuple[str, ...]:
    """The spaces of so many channels (at this ratio, of this family): all that a shape can tell."""
    return tuple(
        name
        for name, one in SPACES.items()
        if one.channels == channels and ratio in (None, one.ratio) and (family is None or family in one.families)
    )


def name_models(channels: int, ratio: int | None = None, family: str | None = None) -> str:
    """Whose latents have so many channels (at this ratio, of this family): 'SD 3.x or FLUX.1, ...', '' if nobody's."""
    fitting = [SPACES[name].models for name in find_spaces(channels, ratio, family)]
    more = [f"{len(fitting) - MOST} others"] if len(fitting) > MOST else []
    return " or ".join(fitting[:MOST] + more)


@dataclass(frozen=True)
class Tag:
    """What a latent should remember: whose it is, what its numbers mean, and how large the image was.

    latent       the (h, w) the tag was made for; a latent of another size has been edited since, and the size of its
                 image with it
    convention   'raw', or what conventions.py made of it
    space        the name of its latent space, if the VAE knows it
    vae          the fingerprint of the VAE that made it
    """

    family: str
    channels: int
    ratio: int
    latent: tuple[int, int]
    size: tuple[int, int] | None = None  # (H, W) of the image
    convention: str = RAW
    space: str | None = None
    vae: str | None = None

    @classmethod
    def of(cls, latent: Tensor, family: str, ratio: int, size: tuple[int, int] | None, vae: Any = None) -> "Tag":
        """The tag of a raw latent. Raises nothing of its own.

        latent  (B, C, h, w) or (B, C, T, h, w), of any dtype
        size    (H, W) of its image
        vae     the VAE that made it, which has a `latent_space` and a `fingerprint`; None: not known
        """
        h, w = latent.shape[-2:]
        tag = cls(family, latent.shape[1], ratio, (h, w), size)
        return tag if vae is None else replace(tag, space=vae.latent_space, vae=vae.fingerprint)

    def size_of(self, latent_shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The size to crop the decoded image to, if this latent is still the one that was tagged."""
        return self.size if tuple(latent_shape[-2:]) == self.latent else None

    def adapt_to(self, latent_shape: tuple[int, ...]) -> "Tag | None":
        """What of this tag is still true of a latent of this shape: nothing if its channels are others.

        Nor of one that is no image's and no clip's: a sampler of sound may have put it in the same place.
        """
        if len(latent_shape) not in (4, 5) or latent_shape[1] != self.channels:
            return None
        h, w = latent_shape[-2:]
        return replace(self, latent=(h, w), size=self.size_of(latent_shape))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> "Tag | None":
        """None for a tag that cannot be read: a latent without one is still a latent."""
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError):
            return None

    @classmethod
    def from_dict(cls, d: Any) -> "Tag | None":
        """None for what is no tag, or one that cannot be true."""
        try:
            h, w = (int(n) for n in d["latent"])
            size = None if d.get("size") is None else tuple(int(n) for n in d["size"])
            words = {name: str(d[name]) for name in ("convention", "space", "vae") if d.get(name) is not None}
            tag = cls(str(d["family"]), int(d["channels"]), int(d["ratio"]), (h, w), size, **words)  # type: ignore
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            return None
        return tag._drop_foreign_space() if tag._is_possible() else None

    def _is_possible(self) -> bool:
        """Its numbers are those of a latent, and the image fits into what that decodes to."""
        if min(self.channels, self.ratio, *self.latent) < 1:
            return False
        pairs = list(zip(self.size or (), self.latent, strict=False))
        return self.size is None or (len(self.size) == 2 and all(0 < pixels <= n * self.ratio for pixels, n in pairs))

    def _drop_foreign_space(self) -> "Tag":
        """A space that is not known here, or of other channels, says nothing; all else may still be true."""
        space = SPACES.get(self.space or "")
        return self if space and space.channels == self.channels else replace(self, space=None)
