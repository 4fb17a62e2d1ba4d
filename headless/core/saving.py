"""Core nodes that save moving images, and images of more than 8 bits."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ...vae_core.files import NumberedFile, write_atomically
from .. import exr, image_files, png16
from ..dynamic import COMBO
from ..folders import Folders
from .declaring import Core, Nested, choice, whole
from .files import HIDDEN, PREFIX_TIP, collect_texts, list_files, start_files

RATE_TIP = "Images a second."
LEVEL_TIP = "0: large and fast, 9: small and slow."
PREFIX: tuple[Any, ...] = ("STRING", {"default": "ComfyUI", "tooltip": PREFIX_TIP})
RATE: tuple[Any, ...] = (
    "FLOAT",
    {"default": 6.0, "min": 0.01, "max": 1000.0, "step": 0.01, "tooltip": RATE_TIP},
)


class _Saving(Core):
    folders: ClassVar[Folders]
    OUTPUT_TOOLTIPS = ("The images, as they came.",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {**super().INPUT_TYPES(), "hidden": HIDDEN}


class SaveAnimatedPNG(_Saving):
    DESCRIPTION = "Writes images as one moving PNG file into the output folder."
    TAKES = {"images": ("IMAGE",), "filename_prefix": PREFIX, "fps": RATE,
             "compress_level": whole(4, 0, 9, tooltip=LEVEL_TIP)}  # fmt: skip

    def run(
        self, images: Tensor, filename_prefix: str, fps: float, compress_level: int, prompt: Any = None,
        extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """images: (B, H, W, C) in [0, 1], C 1, 3 or 4. Raises BadPixels on NaN, BadRequest on an unusable place."""
        image_files.demand_images(images)
        file = start_files(self.folders.output, filename_prefix, images).file(None, ".png")
        with write_atomically(file) as part:
            image_files.write_moving_png(part, images, collect_texts(prompt, extra_pnginfo), fps, compress_level)
        return {"ui": _show(file, images), "result": (images,)}


class SaveAnimatedWEBP(_Saving):
    DESCRIPTION = "Writes images as one moving WebP file into the output folder."
    METHODS: ClassVar[Mapping[str, int]] = {"default": 4, "fastest": 0, "slowest": 6}
    TAKES = {"images": ("IMAGE",), "filename_prefix": PREFIX, "fps": RATE,
             "lossless": ("BOOLEAN", {"default": True, "tooltip": "Keep every pixel."}),
             "quality": whole(80, 0, 100, tooltip="The higher, the larger is the file."),
             "method": (list(METHODS), {"tooltip": "How long to look for a small file."})}  # fmt: skip

    def run(
        self, images: Tensor, filename_prefix: str, fps: float, lossless: bool, quality: int, method: str,
        prompt: Any = None, extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """images: (B, H, W, C) in [0, 1], C 1, 3 or 4. Raises BadPixels on NaN, BadRequest on an unusable place."""
        image_files.demand_images(images)
        file = start_files(self.folders.output, filename_prefix, images).file(None, ".webp")
        options = {"lossless": lossless, "quality": quality, "method": self.METHODS[method]}
        with write_atomically(file) as part:
            image_files.write_moving_webp(part, images, collect_texts(prompt, extra_pnginfo), fps, options)
        return {"ui": _show(file, images), "result": (images,)}


class SaveImageAdvanced(_Saving, Nested):
    DESCRIPTION = "Writes images as PNG files of 8 or 16 bits, or as EXR files of floats in linear light."
    EXR_TIP = "What the numbers are: sRGB, HLG in the colours of BT.2020 (HDR), or linear light."
    FORMATS: ClassVar[list[dict[str, Any]]] = [
        choice(
            "png",
            bit_depth=(["8-bit", "16-bit"], {"default": "8-bit", "tooltip": "Bits of a number."}),
            input_color_space=(["sRGB"], {"default": "sRGB", "tooltip": "What the numbers are."}),
        ),
        choice(
            "exr",
            bit_depth=(["32-bit float"], {"default": "32-bit float", "tooltip": "Bits of a number."}),
            input_color_space=(["sRGB", "HDR", "linear"], {"default": "sRGB", "tooltip": EXR_TIP}),
        ),
    ]
    TAKES = {"images": ("IMAGE",), "filename_prefix": PREFIX,
             "format": (COMBO, {"options": FORMATS, "tooltip": "The format of the files."})}  # fmt: skip

    def run(
        self, images: Tensor, filename_prefix: str, format: Mapping[str, str], prompt: Any = None,
        extra_pnginfo: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """images: (B, H, W, C), C 1, 3 or 4. Raises BadPixels on NaN, BadRequest on an unusable place."""
        image_files.demand_images(images)
        texts, kind = collect_texts(prompt, extra_pnginfo), format["format"]
        files = start_files(self.folders.output, filename_prefix, images)
        written = [files.file(i, f".{kind}", tail="") for i in range(len(images))]
        for file, image in zip(written, images, strict=True):
            with write_atomically(file) as part:
                if kind == "exr":
                    exr.write_as_core(part, image, texts, format["input_color_space"])
                elif format["bit_depth"] == "16-bit":
                    png16.write(part, image, texts)
                else:
                    image_files.write_png(part, image, texts, 4)
        return {"ui": {"images": list_files(written, "output")}, "result": (images,)}


def _show(file: NumberedFile, images: Tensor) -> dict[str, Any]:
    return {"images": list_files([file], "output"), **({"animated": (True,)} if len(images) > 1 else {})}


SAVING = (SaveAnimatedPNG, SaveAnimatedWEBP, SaveImageAdvanced)
