"""The only place that knows ComfyUI exists: files, devices, progress, memory, and what travels on the VAE socket.

Everything here works in ComfyUI and without it (the headless runner, the command line, plain Python). In ComfyUI the
socket carries an object that core nodes and other packs accept as a VAE; elsewhere it carries the VAE itself.
"""

from typing import TYPE_CHECKING

from ...vae_core import lazy

if TYPE_CHECKING:
    from .host_model import HostModel
    from .host_vae import RATIO, ClipTiles, HostVAE
    from .memory import advise, budget
    from .models import files, new_file, path
    from .place import (
        Surroundings,
        device,
        explain_device,
        find_device,
        find_version,
        in_comfyui,
        list_devices,
        result,
        surroundings,
    )
    from .previews import LivePreview, first_look
    from .several import nest
    from .showing import Shown, draw_images, progress, show_saved_file, show_text, show_video, slide_images
    from .socket import Load, facts, from_socket, geometry, look, runs_in, to_socket
    from .user_files import find_file, find_folder, find_result_folder, list_files, list_folders, list_graph_texts
    from .videos import FoundVideo, find_video
else:
    __getattr__, __dir__ = lazy.offer(
        __name__,
        {
            "previews": "LivePreview first_look",
            "several": "nest",
            "host_vae": "RATIO ClipTiles HostVAE",
            "memory": "advise budget",
            "models": "files new_file path",
            "place": "Surroundings device explain_device find_device find_version in_comfyui list_devices result "
            "surroundings",
            "showing": "Shown draw_images progress show_saved_file show_text show_video slide_images",
            "host_model": "HostModel",
            "socket": "Load facts from_socket geometry look runs_in to_socket",
            "user_files": "find_file find_folder find_result_folder list_files list_folders list_graph_texts",
            "videos": "FoundVideo find_video",
        },
    )

__all__ = [
    "RATIO",
    "ClipTiles",
    "FoundVideo",
    "HostModel",
    "HostVAE",
    "LivePreview",
    "Load",
    "Shown",
    "Surroundings",
    "advise",
    "budget",
    "device",
    "draw_images",
    "explain_device",
    "facts",
    "files",
    "find_device",
    "find_file",
    "find_folder",
    "find_result_folder",
    "find_version",
    "find_video",
    "first_look",
    "from_socket",
    "geometry",
    "in_comfyui",
    "list_devices",
    "list_files",
    "list_folders",
    "list_graph_texts",
    "look",
    "nest",
    "new_file",
    "path",
    "progress",
    "result",
    "runs_in",
    "show_saved_file",
    "show_text",
    "show_video",
    "slide_images",
    "surroundings",
    "to_socket",
]
