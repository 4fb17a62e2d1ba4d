"""The core node of a picture that was painted in the editor."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...vae_core.errors import BadPixels
from ..folders import Folders
from .declaring import Core, whole
from .files import list_files, write_images
from .loading import file_version


class Painter(Core):
    folders: ClassVar[Folders]
    DESCRIPTION = "Lays what was painted in the editor over an image, or over one colour."
    PAINTED: ClassVar[Mapping[str, Any]] = {"default": "", "widgetType": "PAINTER", "image_upload": True,
                                            "socketless": True, "tooltip": "The file that was painted."}  # fmt: skip
    SIDE: ClassVar[tuple[Any, ...]] = whole(512, 64, 4096, step=64, hidden=True, socketless=True)
    COLOUR: ClassVar[Mapping[str, Any]] = {"default": "#000000", "tooltip": "The colour where nothing was painted."}
    TAKES = {"mask": ("STRING", PAINTED), "width": SIDE, "height": SIDE, "bg_color": ("COLOR", COLOUR)}
    MAY_TAKE = {"image": ("IMAGE", {"tooltip": "What is painted over; of a batch the first."})}
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The picture.", "1 where something was painted.")

    @classmethod
    def IS_CHANGED(cls, mask: str, **others: Any) -> str:
        return file_version(cls.folders.find(mask)) if mask and mask.strip() else ""

    def run(
        self, mask: str, width: int, height: int, bg_color: str = "#000000", image: Tensor | None = None
    ) -> dict[str, Any]:
        """image: (B, H, W, C). -> IMAGE (1, H, W, 3) and MASK (1, H, W). Raises BadRequest, BadPixels.

        An image over which nothing was painted keeps all its channels.
        """
        under = torch.tensor(_read_colour(bg_color)).repeat(1, height, width, 1) if image is None else image[:1]
        painted = torch.zeros(*under.shape[1:3], 4)
        if mask and mask.strip():
            painted = self._read(mask, under.shape[2], under.shape[1])
        alpha = painted[None, ..., 3:]
        made = painted[None, ..., :3] * alpha + under[..., :3] * (1 - alpha) if mask and mask.strip() else under
        shown = list_files(write_images(self.folders.temp, "ComfyUI_temp", made, {}, 1), "temp")
        return {"ui": {"images": shown}, "result": (made, alpha[..., 0])}

    def _read(self, name: str, width: int, height: int) -> Tensor:
        """-> (height, width, 4) in [0, 1]."""
        path = self.folders.find(name)
        try:
            with Image.open(path) as file:
                painted = file.convert("RGBA")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise BadPixels(f"'{path}' cannot be read as an image ({error})") from error
        if painted.size != (width, height):
            painted = painted.resize((width, height), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(painted).astype(np.float32) / 255)


def _read_colour(text: str) -> tuple[float, float, float]:
    """#rrggbb; black if it is anything else, as in core."""
    digits = text.removeprefix("#")
    if len(digits) != 6 or not all(one in "0123456789abcdefABCDEF" for one in digits):
        return 0.0, 0.0, 0.0
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue
