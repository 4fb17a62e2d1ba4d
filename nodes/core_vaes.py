"""VAEs that this pack does not run and ComfyUI does: where to turn with their files."""

from ..vae_core import UnsupportedCheckpoint

# Title in vae_core -> the first version of ComfyUI with such a VAE, by its release notes and the history of its
# repository; a date where no release is certain. Version 0.33 was seen to load all of them.
SINCE = {
    "Mochi": "October 2024",
    "LTX-Video": "0.3.4",
    "Cosmos": "0.3.11",
    "CogVideoX": "0.21",
    "SeedVR2": "July 2026",
    "Mage-Flow": "0.29",
    "MiniMax-H3": "0.30",
}


def point_to_core(refused: UnsupportedCheckpoint) -> UnsupportedCheckpoint:
    """The same, and since when ComfyUI runs it."""
    since = SINCE.get(refused.title)
    hint = (
        f" ComfyUI has run it since {since}, though not from every layout of its names: try core's Load VAE, whose VAE "
        "these nodes take."
    )
    return UnsupportedCheckpoint(f"{refused}{hint if since else ''}", refused.title)
