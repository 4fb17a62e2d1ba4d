"""Core nodes that write files, or show what is given: they know the three folders of a graph."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ...vae_core.errors import BadRequest
from ...vae_core.files import NumberedFile, next_series, write_atomically
from ...vae_core.latents import write_latent
from .. import image_files
from ..folders import Folders

_PNG_NAME = re.compile(r"[!-~]([ -~]{0,77}[!-~])?")  # of a text in a PNG (PNG, 11.3.3.2), less what only Latin-1 has
PREFIX_TIP = "How file names begin; may name subfolders and %width%, %height%, %year%, %month%, %day%, %batch_num%."
# What core fills into a prefix for %width% and %height% where there is no image.
NO_SIZE, ONE_PIXEL = {"width": 0, "height": 0}, {"width": 1, "height": 1}
HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}


class SaveImage:
    folders: ClassVar[Folders]
    kind: ClassVar[str] = "output"
    compress_level: ClassVar[int] = 4
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("The images, as they came.",)
    OUTPUT_NODE = True
    FUNCTION = "save_images"
    CATEGORY = "image"
    DESCRIPTION = "Writes 8-bit PNG files into the output folder, with the graph inside them."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The images to save; what is below 0 or above 1 is clipped."}),
                "filename_prefix": ("STRING", {"default": "ComfyUI", "tooltip": PREFIX_TIP}),
            },
            "hidden": HIDDEN,
        }

    def save_images(
        self, images: Tensor, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """images: (B, H, W, C) in [0, 1], C 1, 3 or 4. Raises BadPixels on NaN, BadRequest on an unusable place."""
        texts = collect_texts(prompt, extra_pnginfo)
        written = write_images(self.folders.of(self.kind), filename_prefix, images, texts, self.compress_level)
        return {"ui": {"images": list_files(written, self.kind)}, "result": (images,)}


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
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The latent, as it came.",)
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
            "hidden": HIDDEN,
        }

    def save(
        self, samples: dict[str, Any], filename_prefix: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """samples: {"samples": raw latent of any shape}. Raises BadRequest for several, and on an unusable place."""
        if not isinstance(samples["samples"], Tensor):
            raise BadRequest("this latent is of a clip and its sound: take them apart by LTXVSeparateAVLatent")
        file = next_series(self.folders.output, filename_prefix, NO_SIZE).file(None, ".latent")
        write_latent(file, samples["samples"], texts=collect_texts(prompt, extra_pnginfo))
        return {"ui": {"latents": list_files([file], "output")}, "result": (samples,)}


class MaskPreview(PreviewImage):
    RETURN_TYPES = ("MASK",)
    OUTPUT_TOOLTIPS = ("The mask, as it came.",)
    FUNCTION = "preview_mask"
    CATEGORY = "image/mask"
    DESCRIPTION = "Writes a mask as grey PNG files into the folder for temporary files."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"mask": ("MASK", {"tooltip": "The mask."})}, "hidden": HIDDEN}

    def preview_mask(self, mask: Tensor, prompt: Any = None, extra_pnginfo: Any = None) -> dict[str, Any]:
        """mask: (B, H, W) or (H, W) in [0, 1]."""
        grey = mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3)
        return {**self.preview_images(grey, prompt, extra_pnginfo), "result": (mask,)}


class ImageCompare(PreviewImage):
    RETURN_TYPES = ()
    OUTPUT_TOOLTIPS = ()
    FUNCTION = "compare"
    DESCRIPTION = "Writes two batches of images as PNG files into the folder for temporary files."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        view = ("IMAGECOMPARE", {"tooltip": "What the editor shows."})
        images = {name: ("IMAGE", {"tooltip": "The images."}) for name in ("image_a", "image_b")}
        return {"required": {"compare_view": view}, "optional": images, "hidden": HIDDEN}

    def compare(
        self, compare_view: Any = None, image_a: Tensor | None = None, image_b: Tensor | None = None,
        prompt: Any = None, extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """image_a, image_b: (B, H, W, C) in [0, 1]."""
        shown = {"a_images": image_a, "b_images": image_b}
        given = {name: images for name, images in shown.items() if images is not None}
        saved = {name: self.preview_images(one, prompt, extra_pnginfo)["ui"]["images"] for name, one in given.items()}
        return {"ui": {name: saved.get(name, []) for name in shown}}


class SaveText:
    folders: ClassVar[Folders]
    RETURN_TYPES = ("STRING",)
    OUTPUT_TOOLTIPS = ("The text, as it came.",)
    OUTPUT_NODE = True
    FUNCTION = "save"
    CATEGORY = "text"
    DESCRIPTION = "Writes a text into the output folder."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "text": ("STRING", {"forceInput": True, "tooltip": "The text."}),
                "filename_prefix": ("STRING", {"default": "ComfyUI", "tooltip": PREFIX_TIP}),
                "format": (["txt", "csv", "md", "json"], {"tooltip": "The ending of the name."}),
            }
        }

    def save(self, text: str, filename_prefix: str, format: str) -> dict[str, Any]:
        """Raises BadRequest on an unusable place."""
        file = next_series(self.folders.output, filename_prefix, ONE_PIXEL).file(None, f".{format}", tail="")
        with write_atomically(file) as part:
            part.write_text(text, encoding="utf-8", newline="")
        return {"ui": {"text": (text,), "files": list_files([file], "output")}, "result": (text,)}


FILES = (SaveImage, PreviewImage, MaskPreview, ImageCompare, SaveText, SaveLatent)


def write_images(folder: Path, prefix: str, images: Tensor, texts: dict[str, str], level: int) -> list[NumberedFile]:
    """8-bit PNG files. images: (B, H, W, C) in [0, 1], C 1, 3 or 4. Raises BadPixels, BadRequest."""
    image_files.demand_images(images)
    files = start_files(folder, prefix, images)
    written = [files.file(i, ".png") for i in range(len(images))]
    for file, image in zip(written, images, strict=True):
        with write_atomically(file) as part:
            image_files.write_png(part, image, texts, level)
    return written


def start_files(folder: Path, prefix: str, images: Tensor) -> Any:
    """The next numbers for files of these images (B, H, W, C)."""
    return next_series(folder, prefix, {"width": images.shape[2], "height": images.shape[1]})


def collect_texts(prompt: Any, extra_pnginfo: Any) -> dict[str, str]:
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    named = {name: json.dumps(value) for name, value in (extra_pnginfo or {}).items() if _PNG_NAME.fullmatch(name)}
    return texts | named


def list_files(files: Iterable[NumberedFile], kind: str) -> list[dict[str, str]]:
    return [{"filename": file.path.name, "subfolder": file.series.subfolder, "type": kind} for file in files]
