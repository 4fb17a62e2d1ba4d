"""Core nodes that read images and latents, and what all that read a file share.

That is the input that names it, the check of the name, and whether the file has changed since.
"""

import inspect
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ...vae_core import readers
from ...vae_core.errors import BadRequest
from ...vae_core.latents import read_latent
from ..folders import Folders
from .declaring import Core
from .image_kinds import read_image

WHERE = "A file in the input folder, also in a subfolder; 'x.png [output]' means one in the output folder."


class FromFile(Core):
    """A node whose input FILE names a file in one of the folders."""

    folders: ClassVar[Folders]
    FILE: ClassVar[str]  # the name of the input
    KIND: ClassVar[str]  # what the host calls it where there is none
    UPLOAD: ClassVar[dict[str, Any]] = {}  # how the editor lets a file be given
    WHERE: ClassVar[str] = WHERE

    def __init_subclass__(cls) -> None:
        """The host asks a class by the names of the parameters, so the check has that of the input."""
        name = getattr(cls, "FILE", "")

        def check(cls: type["FromFile"], **given: Any) -> bool | str:
            return validate_file(cls.folders, given[name], cls.KIND)

        parameters = [inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD) for one in ("cls", name) if one]
        check.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        cls.VALIDATE_INPUTS = classmethod(check)  # type: ignore[attr-defined]

    @classmethod
    def list_endings(cls) -> tuple[str, ...]:
        """Of the files that are offered."""
        raise NotImplementedError

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = super().INPUT_TYPES()
        file = (cls.folders.names(cls.list_endings()), {**cls.UPLOAD, "tooltip": cls.WHERE})
        return {**types, "required": {cls.FILE: file, **types["required"]}}

    @classmethod
    def IS_CHANGED(cls, **given: Any) -> str:
        return file_version(cls.folders.find(given[cls.FILE]))


class LoadImage(FromFile):
    FILE, KIND = "image", "image"
    UPLOAD: ClassVar[dict[str, Any]] = {"image_upload": True}
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The image, or all frames of a moving one.", "1 where the image is transparent.")
    FUNCTION = "load_image"
    DESCRIPTION = "Reads an image from the input folder: turned as its camera held it, in all of its 16 bits."

    @classmethod
    def list_endings(cls) -> tuple[str, ...]:
        return readers.SUFFIXES

    def load_image(self, image: str) -> tuple[Tensor, Tensor]:
        """-> IMAGE (B, H, W, 3) in [0, 1], MASK (B, H, W)."""
        return read_image(self.folders.find(image))


class LoadImageMask(LoadImage):
    RETURN_TYPES = ("MASK",)
    OUTPUT_TOOLTIPS = ("The channel; of the alpha 1 where the image is transparent.",)
    FUNCTION = "load_mask"
    DESCRIPTION = "Reads one channel of an image from the input folder as a mask."
    CHANNELS: ClassVar[list[str]] = ["alpha", "red", "green", "blue"]
    TAKES = {"channel": (CHANNELS,)}

    def load_mask(self, image: str, channel: str) -> tuple[Tensor]:
        """-> MASK (B, H, W)."""
        colours, transparent = self.load_image(image)
        return (transparent if channel == "alpha" else colours[..., self.CHANNELS.index(channel) - 1],)


class LoadImageOutput(LoadImage):
    DESCRIPTION = "Reads an image from the output folder."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tip = "A file in the output folder, as 'x.png [output]'."
        return {"required": {"image": ("COMBO", {"image_upload": True, "image_folder": "output", "tooltip": tip})}}


class LoadLatent(FromFile):
    FILE, KIND = "latent", "latent"
    WHERE = "A .latent file in the input folder, also in a subfolder; 'x.latent [output]' means the output folder."
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The samples, raw: without the scale and shift of a diffusion model.",)
    FUNCTION = "load"
    CATEGORY = "model/latent"
    DESCRIPTION = "Reads a latent from the input folder. Old files, scaled for SD 1, are scaled back."

    @classmethod
    def list_endings(cls) -> tuple[str, ...]:
        return (".latent",)

    def load(self, latent: str) -> tuple[dict[str, Tensor]]:
        """-> {"samples": float32, shape as saved}. Raises BadRequest, or LatentMismatch if no latent is in it."""
        return ({"samples": read_latent(self.folders.find(latent))[0]},)


LOADING = (LoadImage, LoadImageMask, LoadImageOutput, LoadLatent)


def validate_file(folders: Folders, name: Any, kind: str) -> bool | str:
    """The answer of VALIDATE_INPUTS for a file. name: None if another node gives it."""
    if name is None:
        return True
    try:
        return bool(folders.find(str(name)))
    except BadRequest as error:
        return f"Invalid {kind} file: {name} ({error})"


def file_version(path: Path) -> str:
    """A text that changes when the file changes."""
    stat = path.stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"
