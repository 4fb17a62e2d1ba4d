"""This pack's encoders as core's nodes: what several images are the loader of the VAE has said, as in ComfyUI."""

from typing import Any

from ...vae_core import VAE

ENCODERS = ("VAEEncode", "VAEEncodeTiled", "VAETiledEncode", "VAEEncodeForInpaint")  # core's ids
FRAMES = "frames"  # the input that the pack's encoders have, and core's have not
APART = "separate images"  # its value for images that are no clip


def as_core_encoder(name: str, ours: type) -> type:
    """The node class under core's id, without the input that core's node lacks."""

    def list_inputs(cls: type) -> dict[str, Any]:
        types = ours.INPUT_TYPES()  # type: ignore[attr-defined]
        return {**types, "optional": {k: v for k, v in types.get("optional", {}).items() if k != FRAMES}}

    def encode(self: Any, pixels: Any, vae: Any, *more: Any, **options: Any) -> Any:
        told = {FRAMES: APART} if isinstance(vae, VAE) and vae.separate_images else {}
        return getattr(ours, ours.FUNCTION)(self, pixels, vae, *more, **{**told, **options})  # type: ignore[attr-defined]

    return type(name, (ours,), {"INPUT_TYPES": classmethod(list_inputs), "FUNCTION": "encode", "encode": encode})
