"""What a person sees of a run: its progress, and a text on the node."""

# pyright: reportMissingImports=false

import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...vae_core.execution import Progress
from ...vae_core.files import NumberedFile
from .place import get_surroundings, in_comfyui
from .previews import LivePreview, send_beside_bar
from .videos import to_video

MOST_DRAWN = 16  # images of a batch: each is a PNG file that is written and fetched


def progress(drawn: bool = True, live: LivePreview | None = None) -> Progress | None:
    """What to call while something runs; it draws a bar, and raises if the user has cancelled.

    drawn: False where the host draws a bar of its own, of which this is a part. live: what is shown meanwhile.
    """
    if in_comfyui():
        return _comfyui_progress(drawn, live)
    here = get_surroundings()
    return here.progress if here else None


def _comfyui_progress(drawn: bool, live: LivePreview | None) -> Progress:
    import comfy.utils
    from comfy import model_management

    bar = comfy.utils.ProgressBar(1) if drawn else None

    def tell(done: int, total: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        look = live.due(last=done >= total) if live else None
        if bar:
            bar.update_absolute(done, total, *filter(None, [look]))
        elif look:
            send_beside_bar(look)

    return tell


class Shown:
    """Takes the plan of a run and shows it: as text on the node before it runs, and in what the node returns."""

    def __init__(self, note: str = ""):
        self.note, self.text = note, ""

    def __call__(self, plan: Any) -> None:
        how = plan if isinstance(plan, str) else plan.summary
        self.text = "; ".join(filter(None, (how, self.note)))
        if in_comfyui():
            _show(self.text)

    def beside(self, *result: Any, images: Sequence[Tensor] = ()) -> dict[str, Any]:
        """A node's result with the text beside it, for the history and for whoever asks over the API.

        images: IMAGEs that the node shows.
        """
        return {"ui": {"text": [self.text], **draw_images(*images)}, "result": result}


def show_text(text: str, *result: Any, images: Sequence[Tensor] = ()) -> dict[str, Any]:
    """What a node returns whose text is a result of its own. images: IMAGEs that it shows."""
    shown = Shown()
    shown(text)
    return shown.beside(*result, images=images)


def draw_images(*images: Tensor) -> dict[str, list[Any]]:
    """The part of `ui` that makes the host draw these IMAGEs on the node: files in its temporary folder.

    Of a batch, as of the frames of a clip, the first MOST_DRAWN.
    """
    return {"images": _keep_images(images)} if images and in_comfyui() else {}


def slide_images(before: Sequence[Tensor], after: Sequence[Tensor]) -> dict[str, list[Any]]:
    """The part of `ui` for the host's slider between two images, under its own words; web/compare.js hands it over.

    before, after: IMAGEs, of each batch the first MOST_DRAWN.
    """
    return {"a_images": _keep_images(before), "b_images": _keep_images(after)} if in_comfyui() else {}


def _keep_images(images: Sequence[Tensor]) -> list[Any]:
    """How the host lists the files that it made of these IMAGEs in its temporary folder."""
    keep = sys.modules["nodes"].PreviewImage().save_images  # the host's module; a relative name would be this pack's
    return [listed for some in images for listed in keep(some[:MOST_DRAWN], "exact_vae")["ui"]["images"]]


def show_saved_file(file: NumberedFile, kind: str) -> dict[str, Any]:
    """What a node returns that wrote a file. kind: under what the host lists it."""
    if in_comfyui():
        _show(say_where(file))
    return {"ui": {"text": [str(file.path)], kind: [_list_file(file)]}, "result": ()}


def show_video(file: NumberedFile, shown: Shown) -> dict[str, Any]:
    """What a node returns that wrote a video: the host plays it on the node. shown: how the run went."""
    shown(f"{shown.text}; {say_where(file)}")
    ui = {"text": [shown.text], "images": [_list_file(file)], "animated": [True]}
    return {"ui": ui, "result": (to_video(file.path), str(file.path))}


def _list_file(file: NumberedFile) -> dict[str, str]:
    """As the host lists files of its output folder."""
    return {"filename": file.path.name, "subfolder": file.series.subfolder, "type": "output"}


def say_where(file: NumberedFile) -> str:
    """'saved as latents/one_00001_.latent in the output folder'"""
    return f"saved as {'/'.join(filter(None, (file.series.subfolder, file.path.name)))} in the output folder"


def _show(text: str) -> None:
    """The host draws progress text on any node; the "text" of its result only on its own Preview as Text.

    Classic nodes break words where a line is full, and keep no space but the ends of lines: so each part gets a line.
    """
    from comfy_execution.utils import get_executing_context

    running = get_executing_context()
    if running is None:
        return
    from server import PromptServer

    if PromptServer.instance.client_id is not None:
        PromptServer.instance.send_progress_text(_in_lines(text), running.node_id, PromptServer.instance.client_id)


def _in_lines(text: str) -> str:
    """A line for each part; two spaces end it for Nodes 2.0, which reads it as Markdown."""
    return text.replace("; ", ";\n").replace("\n", "  \n")
