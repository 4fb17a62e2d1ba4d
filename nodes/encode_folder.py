"""Encode Folder: a folder of images to a cache of latents for training, the one that `exact-vae cache build` writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import batch, vae_core
from ..vae_core import BadRequest
from . import host
from .entrance import checks_inputs
from .inputs import bool_input, choice_input, int_input, seed_number, text_input

CAPTIONS = (".txt", ".caption", ".json", "none")
LARGEST = 16384  # pixels of a side
TOLD = 32  # images that are looked at between two signs of life


@checks_inputs()
class EncodeFolder:
    DESCRIPTION = (
        "Encodes all images of a folder for training, and writes what exact-vae cache build writes: shards of raw "
        "latents, an index, and a file that says which VAE made them, and how. Cancelled or stopped, the same graph "
        "goes on where it was. One broken image stops nothing: it is listed with the reason."
    )
    CATEGORY = "Exact VAE"
    SEARCH_ALIASES = ["cache latents", "encode dataset", "batch encode", "training latents", "folder to latents",
                      "kohya", "musubi"]  # fmt: skip
    RETURN_TYPES = ("STRING", "INT", "INT", "IMAGE")
    RETURN_NAMES = ("path", "latents", "skipped", "sheet")
    OUTPUT_TOOLTIPS = (
        "Where the cache is.",
        "The number of latents in it.",
        "The number of images without a latent. skipped.jsonl in the folder says why.",
        "Some of the images, each above what its latent in the cache decodes to.",
    )
    FUNCTION = "encode"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        folder = (
            "A folder within the input folder, with all below it; . is the input folder itself. Folders in the output "
            "folder end with [output]."
        )
        name = "The folder of the cache, in the output folder. With the name of one that is there, the run goes on."
        area = "times the other side is the area that buckets keep."
        step = "Sides of buckets are multiples of it."
        buckets = (
            "How an image finds its size. aspect: the bucket of the nearest aspect ratio. none: it keeps its own. "
            "sd-scripts, musubi: as these trainers do it, to the pixel; they need opencv-python-headless."
        )
        posterior = (
            "What is stored. mean: the middle of the Gaussian that the encoder gives. mean+logvar: all of it, so that "
            "each epoch can draw anew. sample: one sample by the seed."
        )
        dtype = "The dtype of the latents in the files."
        crops = "Crops of each image: the middle, and others that its content decides."
        captions = "The ending of files beside the images that hold their captions."
        update = "Off: refuse if images have changed since the cache was made. On: encode new ones, forget others."
        samples = "So many images are encoded again and decoded in the end, to show that the cache is right."
        return {
            "required": {
                "folder": (host.list_folders(), {"tooltip": folder}),
                "vae": ("VAE", {"tooltip": "The VAE to encode with, from any loader."}),
                "folder_name": text_input("latents/dataset", name),
                "width": int_input(1024, 16, LARGEST, f"Width, which {area}"),
                "height": int_input(1024, 16, LARGEST, f"Height, which {area}"),
                "buckets": choice_input(batch.RULES, batch.RULES[0], buckets),
                "posterior": choice_input(batch.POSTERIORS, batch.POSTERIORS[0], posterior),
                "dtype": choice_input(tuple(batch.STORED), next(iter(batch.STORED)), dtype),
            },
            "optional": {
                "step": int_input(64, 1, 1024, step, advanced=True),
                "flip": bool_input(False, "Store the latent of the mirrored image, too.", advanced=True),
                "crops": int_input(1, 1, 64, crops, advanced=True),
                "captions": choice_input(CAPTIONS, CAPTIONS[0], captions, advanced=True),
                "update": bool_input(False, update, advanced=True),
                "samples": int_input(4, 0, 64, samples, advanced=True),
                # Last, for the editor keeps a row of its own behind a seed.
                "seed": seed_number("Only for posterior = sample.", advanced=True),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, folder):
        try:
            return folder is None or bool(host.find_folder(folder))  # None: it comes from another node
        except BadRequest as e:
            return str(e)

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")  # whether images have changed is found out by the run, which then does little

    def encode(self, folder, vae, folder_name, width, height, buckets, posterior, dtype, step=64, flip=False, crops=1,
               captions=CAPTIONS[0], update=False, samples=4, seed=0):  # fmt: skip
        source, out = host.find_folder(folder), host.find_result_folder(folder_name)
        recipe = batch.Recipe(
            (width, height), step, buckets, posterior=posterior, seed=seed, stored=dtype, flip=flip, crops=crops
        )
        codec = make_ready(vae, width, height)
        on_look, progress = watch(host.progress())
        request = batch.Request(
            source, out, batch.InHand(vae=codec), recipe, (str(codec.device),), captions, update=update, on_look=on_look
        )
        report = batch.build(request, progress=progress)
        shown = draw(vae, out, min(samples, report.latents), (height, width))
        reasons = batch.count_reasons(batch.Store(out).read_skipped()) if report.skipped else {}
        told = describe(report, reasons, folder_name)
        return host.show_text(told, str(out), report.latents, report.skipped, host.result(shown), images=[shown])


def make_ready(vae: Any, width: int, height: int) -> vae_core.VAE:
    """The VAE on the socket, with memory made free for an image. Raises BadRequest for one this pack does not run."""
    found = host.facts(vae)
    if isinstance(found, host.HostVAE):
        raise BadRequest("ComfyUI runs this VAE by its own code, of which no cache can say what it was made by.")
    return host.from_socket(vae, vae_core.Half.ENCODER, (1, found.in_channels, height, width))


def watch(tell: Callable[[int, int], Any] | None) -> tuple[Callable[[int], None], Callable[[int, int, int], None]]:
    """What `build` calls while it looks at images, and while it encodes; `tell` raises if the user has cancelled."""

    def look(number: int) -> None:
        if tell and number % TOLD == 0:
            tell(0, 1)

    def encode(done: int, total: int, skipped: int) -> None:
        if tell:
            tell(done, max(1, total))

    return look, encode


def draw(vae: Any, out: Path, samples: int, size: tuple[int, int]) -> Tensor:
    """Some images above what their latents decode to, (1, H, W, 3) in [0, 1]; one grey tile if there are none.

    Raises BadRequest if a latent is not what the VAE gives.
    """
    found, tell = host.facts(vae), host.progress()
    if not samples or vae_core.Half.DECODER.noun not in found.parts:
        return torch.full((1, 64, 64, 3), 0.5)
    ratio, seen, wrong = found.spatial_ratio, [], batch.Findings()
    shape = (1, found.latent_channels, *(-(-side // ratio) for side in size))
    codec = host.from_socket(vae, vae_core.Half.DECODER, shape)
    for one in batch.compare(batch.Store(out), codec, samples, wrong):
        seen.append(one)
        if tell:
            tell(len(seen), samples)
    if wrong.problems:
        raise BadRequest(f"the cache in '{out}' is not right: {wrong.problems[0].where}: {wrong.problems[0].what}.")
    return batch.draw_sheet(seen).movedim(0, -1)[None]


def describe(report: batch.Report, reasons: Mapping[str, int], name: str) -> str:
    """'8 latents, 8 encoded now; 2 skipped (2: it is too small); in the output folder: x/y': lines on the node."""
    parts = [f"{report.latents} latents, {report.encoded} encoded now"]
    if report.skipped:
        told = ", ".join(f"{count}: {reason}" for reason, count in list(reasons.items())[:3])
        parts.append(f"{report.skipped} skipped ({told})")
    return "; ".join([*parts, f"in the output folder: {name}"])
