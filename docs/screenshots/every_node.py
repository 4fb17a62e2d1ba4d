"""One workflow with every node of the pack once, so that each can be pictured after a run."""

import sys
from pathlib import Path
from typing import Any

from exact_vae import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

sys.path.insert(0, str(Path(__file__).parents[1] / "workflows"))
from drawing import Box, Recipe, in_editor_format

IMAGE, VAE, LATENT = ("image", 0), ("vae", 0), ("encode", 0)
SMALL = {"width": 256, "height": 192}
DRAWN = 600  # below a node that shows images
SHOWN = tuple(NODE_CLASS_MAPPINGS)

BOXES = [
    Box("image", "ExactExampleImage", 0, SMALL),
    Box("vae", "ExactVAELoader", 0, {"vae_name": "exact-vae-demo (built in)"}),
    Box("info", "ExactVAEInfo", 0, {"vae": VAE}, width=340, room=400),
    Box("save", "ExactVAESave", 0, {"vae": VAE}),
    Box("doctor", "ExactVAEDoctor", 1, {"vae": VAE, "width": 128}, width=420, room=400),
    Box("encode", "ExactVAEEncode", 1, {"pixels": IMAGE, "vae": VAE}, room=400),
    Box("decode", "ExactVAEDecode", 1, {"samples": LATENT, "vae": VAE}, room=400),
    Box("tiled encode", "ExactVAETiledEncode", 1, {"pixels": IMAGE, "vae": VAE}),
    Box("tiled decode", "ExactVAETiledDecode", 2, {"samples": LATENT, "vae": VAE}),
    Box("hole", "ExactVAEEncodeForInpaint", 2, {"pixels": IMAGE, "vae": VAE, "mask": ("image", 1)},
        room=DRAWN),
    Box("onto", "ExactVAEDecodeOntoOriginal", 2,
        {"samples": LATENT, "vae": VAE, "image": IMAGE, "mask": ("image", 1)}, room=DRAWN),
    Box("to video", "ExactVAEDecodeToVideoFile", 2, {"samples": LATENT, "vae": VAE}, width=340, room=DRAWN),
    Box("from video", "ExactVAEEncodeVideoFile", 3, {"file": "none", "vae": VAE, "video": ("to video", 0)}),
    Box("folder", "ExactEncodeFolder", 2, {"vae": VAE, **SMALL}, room=DRAWN),
    Box("compare", "ExactVAECompare", 3, {"image": IMAGE, "vae": VAE}, width=360, room=DRAWN),
    Box("noise", "ExactLatentNoise", 3, {"vae": VAE, **SMALL}),
    Box("walk", "ExactLatentInterpolate", 4, {"samples1": LATENT, "samples2": ("hole", 0), "steps": 2}),
    Box("sample", "ExactLatentSample", 4, {"vae": VAE, **SMALL}),
    Box("empty", "ExactEmptyLatent", 4, {"vae": VAE, **SMALL}),
    Box("convert", "ExactConvertLatent", 5, {"samples": LATENT, "latent_space": "sd1"}),
    Box("inspect", "ExactLatentInspect", 5, {"samples": LATENT, "vae": VAE}, width=440, room=DRAWN),
    Box("join", "ExactJoinLatents", 5, {"samples1": LATENT, "samples2": ("hole", 0)}),
    Box("split", "ExactSplitLatent", 6, {"samples": ("join", 0)}),
    Box("save latent", "ExactSaveLatent", 6, {"samples": LATENT}),
    Box("load latent", "ExactLoadLatent", 6),
    # What is shown must be read by a node that shows.
    *(
        Box(f"{name} shown", "PreviewImage", 7, {"images": (name, output)})
        for name, output in {"decode": 0, "tiled decode": 0, "onto": 0, "inspect": 1}.items()
    ),
    *(
        Box(f"{name} inspected", "ExactLatentInspect", 8, {"samples": (name, 0)})
        for name in ("tiled encode", "noise", "walk", "sample", "empty", "convert", "split", "from video")
    ),
]  # fmt: skip


class _EveryNode(Recipe):
    def workflow(self) -> dict[str, Any]:
        return in_editor_format("every_node", self)


RECIPE = _EveryNode("## Every node\nFor images of them.", BOXES, [])


def list_declared(kind: str) -> dict[str, Any]:
    """What an image of this node shows of it: an image is stale when this has changed."""
    cls = NODE_CLASS_MAPPINGS[kind]
    types = cls.INPUT_TYPES()
    inputs = {**types["required"], **types.get("optional", {})}
    names = getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)
    return {"name": NODE_DISPLAY_NAME_MAPPINGS[kind], "outputs": list(names), "inputs": list(inputs)}
