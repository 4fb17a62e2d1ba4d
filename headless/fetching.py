"""Asks a ComfyUI that the user names for its definitions of nodes: the one module here that uses the network."""

import urllib.request

from .definitions import Declared, parse_definitions
from .graph import GraphError
from .limits import LARGEST_DEFINITIONS

PATIENCE = 60  # seconds that a server may take: it lists the files of every folder of models


def fetch_definitions(url: str) -> dict[str, type[Declared]]:
    """From a ComfyUI that runs: GET <url>/object_info. Raises GraphError."""
    if not url.startswith(("http://", "https://")):
        raise GraphError(f"'{url}' is no address of a ComfyUI: write it as http://127.0.0.1:8188")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/object_info", timeout=PATIENCE) as answer:
            return parse_definitions(answer.read(LARGEST_DEFINITIONS + 1))
    except (OSError, GraphError) as error:
        raise GraphError(f"the ComfyUI at {url} does not give its definitions of nodes: {error}") from error
