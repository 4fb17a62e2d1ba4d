"""VAEs that this pack does not run but ComfyUI does: a hint for their files."""

from ..vae_core import UnsupportedCheckpoint

# Title in vae_core -> the first version of ComfyUI with such a VAE, or a date where the version is not certain. From
# ComfyUI's release notes and the history of its repository. Version 0.33 was tested to load all of them.
SINCE = {
    "LTX-2.5 with its diffusion decoder": "August 2026",
}


def point_to_core(refused: UnsupportedCheckpoint) -> UnsupportedCheckpoint:
    """Add to the error since when ComfyUI runs such a VAE."""
    since = SINCE.get(refused.title)
    hint = (
        f" ComfyUI has run it since {since}, though not from every layout of its names: try ComfyUI's own Load VAE. "
        "These nodes take its VAE."
    )
    return UnsupportedCheckpoint(f"{refused}{hint if since else ''}", refused.title)
