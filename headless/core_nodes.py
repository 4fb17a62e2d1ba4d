"""The core nodes that graphs about VAEs need, under ComfyUI's ids, for running without ComfyUI.

They have the inputs, file names and pixels of the core nodes of the same name, with these differences: images of 8 and
16 bits are read exactly (core passes them through luma and chroma of about 15 bits), alpha that colours are multiplied
by is divided out, floats keep values beyond 0 and 1, and what has no agreed white is refused; an image with NaN is
refused instead of saved black. CORE_ALIASES lists the core ids that our own nodes stand in for.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..vae_core import readers
from ..vae_core.errors import BadRequest, DoesNotFit
from ..vae_core.execution import budget, format_bytes
from ..vae_core.files import NumberedFile, next_series, write_atomically
from ..vae_core.latents import read_latent, write_latent
from . import image_files
from .core_pixels import PIXELS
from .core_values import VALUES
from .folders import Folders
from .stand_ins import ENCODERS, as_core_encoder

_PNG_NAME = re.compile(r"[!-~]([ -~]{0,77}[!-~])?")  # of a text in a PNG (PNG, 11.3.3.2), less what only Latin-1 has

CORE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "VAELoader": "ExactVAELoader",
        "VAEEncode": "ExactVAEEncode",
        "VAEEncodeTiled": "ExactVAETiledEncode",
        "VAETiledEncode": "ExactVAETiledEncode",
        "VAEEncodeForInpaint": "ExactVAEEncodeForInpaint",
        "VAEDecode": "ExactVAEDecode",
        "VAEDecodeTiled": "ExactVAETiledDecode",
        "VAETiledDecode": "ExactVAETiledDecode",
        "VAESave": "ExactVAESave",
        "LatentNoise": "ExactLatentNoise",
        "LatentInterpolate": "ExactLatentInterpolate",
    }
)


def core_nodes(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    temp_dir: str | os.PathLike[str],
    aliases: Mapping[str, type],
) -> dict[str, type]:
    """Core id -> node class, bound to these folders.

    aliases: our node id -> class, for CORE_ALIASES; a core id whose class is missing here is left out.
    """
    folders = Folders(Path(input_dir), Path(output_dir), Path(temp_dir))
    bound = {one.__name__: type(one.__name__, (one,), {"folders": folders}) for one in _IN_FOLDERS}
    free = {one.__name__: one for one in (EmptyImage, EmptyLatentImage, EmptySD3LatentImage, *PIXELS, *VALUES)}
    stand_ins = {core: aliases[ours] for core, ours in CORE_ALIASES.items() if ours in aliases}
    encoders = {core: as_core_encoder(core, stand_ins[core]) for core in ENCODERS if core in stand_ins}
    return {**bound, **free, **stand_ins, **encoders}


class LoadImage:
    folders: ClassVar[Folders]
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The image, or all frames of a moving one.", "1 where the image is transparent.")
    FUNCTION = "load_image"
    CATEGORY = "image"
    DESCRIPTION = "Reads an image from the input folder: turned as its camera held it, in all of its 16 bits."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tip = "A file in the input folder, also in a subfolder; 'x.png [output]' means one in the output folder."
        names = cls.folders.names(readers.SUFFIXES)
        return {"required": {"image": (names, {"image_upload": True, "tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: Any) -> bool | str:
        return _validate_file(cls.folders, image, "image")

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return _file_version(cls.folders.find(image))

    def load_image(self, image: str) -> tuple[Tensor, Tensor]:
        """-> IMAGE (B, H, W, 3) in [0, 1], MASK (B, H, W)."""
        return readers.read(self.folders.find(image))


class SaveImage:
    folders: ClassVar[Folders]
    kind: ClassVar[str] = "output"
    compress_level: ClassVar[int] = 4
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save_images"
    CATEGORY = "image"
    DESCRIPTION = "Writes 8-bit PNG files into the output folder, with the graph inside them."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tip = "How file names begin; may name subfolders and %width%, %height%, %year%, %month%, %day%, %batch_num%."
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The images to save; what is below 0 or above 1 is clipped."}),
                "filename_prefix": ("STRING", {"default": "ComfyUI", "tooltip": tip}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Tensor, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """images: (B, H, W, C) in [0, 1], C 1, 3 or 4. Raises BadPixels on NaN, BadRequest on an unusable place."""
        image_files.demand_images(images)
        tokens = {"width": images.shape[2], "height": images.shape[1]}
        files = next_series(self.folders.of(self.kind), filename_prefix, tokens)
        texts = _collect_texts(prompt, extra_pnginfo)
        written = [files.file(i, ".png") for i in range(len(images))]
        for file, image in zip(written, images, strict=True):
            with write_atomically(file) as part:
                image_files.write_png(part, image, texts, self.compress_level)
        return {"ui": {"images": _list_files(written, self.kind)}}


class PreviewImage(SaveImage):
    kind = "temp"
    compress_level = 1
    FUNCTION = "preview_images"
    DESCRIPTION = "Writes 8-bit PNG files into the folder for temporary files."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = super().INPUT_TYPES()
        return {"required": {"images": types["required"]["images"]}, "hidden": types["hidden"]}

    def preview_images(self, images: Tensor, prompt: Any = None, extra_pnginfo: Any = None) -> dict[str, Any]:
        """images: (B, H, W, C) in [0, 1]."""
        return self.save_images(images, "ComfyUI_temp", prompt, extra_pnginfo)


class SaveLatent:
    folders: ClassVar[Folders]
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save"
    CATEGORY = "model/latent"
    DESCRIPTION = "Writes the samples of a latent into the output folder, with the graph inside the file."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tip = "How file names begin; may name subfolders and %year%, %month%, %day%, %hour%, %minute%, %second%."
        return {
            "required": {
                "samples": ("LATENT", {"tooltip": "The latent to save. Only its samples are kept, not a mask."}),
                "filename_prefix": ("STRING", {"default": "latents/ComfyUI", "tooltip": tip}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self, samples: dict[str, Any], filename_prefix: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """samples: {"samples": raw latent of any shape}."""
        file = next_series(self.folders.output, filename_prefix, {}).file(0, ".latent")
        write_latent(file, samples["samples"], texts=_collect_texts(prompt, extra_pnginfo))
        return {"ui": {"latents": _list_files([file], "output")}}


class LoadLatent:
    folders: ClassVar[Folders]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The samples, raw: without the scale and shift of a diffusion model.",)
    FUNCTION = "load"
    CATEGORY = "model/latent"
    DESCRIPTION = "Reads a latent from the input folder. Old files, scaled for SD 1, are scaled back."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tip = "A .latent file in the input folder, also in a subfolder; 'x.latent [output]' means the output folder."
        return {"required": {"latent": (cls.folders.names((".latent",)), {"tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, latent: Any) -> bool | str:
        return _validate_file(cls.folders, latent, "latent")

    @classmethod
    def IS_CHANGED(cls, latent: str) -> str:
        return _file_version(cls.folders.find(latent))

    def load(self, latent: str) -> tuple[dict[str, Tensor]]:
        """-> {"samples": float32, shape as saved}. Raises BadRequest, or LatentMismatch if no latent is in it."""
        return ({"samples": read_latent(self.folders.find(latent))[0]},)


class EmptyLatentImage:
    channels: ClassVar[int] = 4
    ratio: ClassVar[int] = 8
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("Zeros, for a sampler to start from.",)
    FUNCTION = "generate"
    CATEGORY = "model/latent"
    DESCRIPTION = "An empty latent of 4 channels, for SD 1, SD 2 and SDXL."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 512, "min": 16, "max": 16384, "step": 8}
        return {
            "required": {
                "width": ("INT", {**side, "tooltip": "Width of the image in pixels; the latent has an eighth."}),
                "height": ("INT", {**side, "tooltip": "Height of the image in pixels; the latent has an eighth."}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096, "tooltip": "How many latents."}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1) -> tuple[dict[str, Any]]:
        """-> {"samples": (B, channels, H/8, W/8) zeros}. Raises DoesNotFit."""
        shape = (batch_size, self.channels, height // self.ratio, width // self.ratio)
        _demand_room(shape)
        return ({"samples": torch.zeros(shape), "downscale_ratio_spacial": self.ratio},)


class EmptySD3LatentImage(EmptyLatentImage):
    channels = 16
    DESCRIPTION = "An empty latent of 16 channels, for SD 3, FLUX.1 and others with such a VAE."


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("Images of one colour.",)
    FUNCTION = "generate"
    CATEGORY = "image"
    DESCRIPTION = "Images of one colour."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 512, "min": 1, "max": 16384, "step": 1}
        tip = "Red, green and blue as one number: 0xFF0000 is red."
        return {
            "required": {
                "width": ("INT", {**side, "tooltip": "Width in pixels."}),
                "height": ("INT", {**side, "tooltip": "Height in pixels."}),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096, "tooltip": "How many images."}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "display": "color", "tooltip": tip}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Tensor]:
        """-> (B, H, W, 3). Raises DoesNotFit."""
        _demand_room((batch_size, height, width, 3))
        colour = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
        return (colour.repeat(batch_size, height, width, 1),)


_IN_FOLDERS = (LoadImage, SaveImage, PreviewImage, SaveLatent, LoadLatent)


def _demand_room(shape: tuple[int, ...]) -> None:
    """Raises DoesNotFit if there is too little memory for so many numbers in float32."""
    size, free = 4 * math.prod(shape), budget.free(torch.device("cpu"))
    if size > free:
        raise DoesNotFit(
            f"{' x '.join(map(str, shape))} numbers take {format_bytes(size)} of memory, and {format_bytes(free)} are "
            "free: use a smaller size, or a smaller batch"
        )


def _validate_file(folders: Folders, name: Any, kind: str) -> bool | str:
    """The answer of VALIDATE_INPUTS for a file. name: None if another node gives it."""
    if name is None:
        return True
    try:
        return bool(folders.find(str(name)))
    except BadRequest as error:
        return f"Invalid {kind} file: {name} ({error})"


def _file_version(path: Path) -> str:
    """A text that changes when the file changes."""
    stat = path.stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def _collect_texts(prompt: Any, extra_pnginfo: Any) -> dict[str, str]:
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    named = {name: json.dumps(value) for name, value in (extra_pnginfo or {}).items() if _PNG_NAME.fullmatch(name)}
    return texts | named


def _list_files(files: Iterable[NumberedFile], kind: str) -> list[dict[str, str]]:
    return [{"filename": file.path.name, "subfolder": file.series.subfolder, "type": kind} for file in files]
