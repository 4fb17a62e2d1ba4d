"""How core nodes are declared: a table of inputs, and the words of their tooltips.

IMAGE is (B, H, W, C) float32 in [0, 1], MASK (B, H, W) in [0, 1], LATENT {"samples": (B, C, ..., H, W)}.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from ...vae_core.errors import BadRequest
from ..dynamic import AUTOGROW, COMBO, nest
from ..graph import find_nearest

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
CROPS = ["disabled", "center"]
LARGEST = 16384
LONGEST_BATCH, LONGEST_LATENTS = 4096, 64

TIPS: Mapping[str, str] = MappingProxyType(
    {
        "image": "The images.",
        "image1": "The first images.",
        "image2": "The images behind them, cut and scaled to their size.",
        "mask": "The mask.",
        "samples": "The latent.",
        "upscale_method": "The filter.",
        "width": "Width in pixels; 0: as the height asks for, where that is allowed.",
        "height": "Height in pixels; 0: as the width asks for, where that is allowed.",
        "crop": "Cut the middle out first, so that nothing is stretched.",
        "scale_by": "The factor.",
        "x": "Where it begins, from the left.",
        "y": "Where it begins, from the top.",
        "amount": "How often.",
        "batch_index": "The first one to take; a negative number counts from the end.",
        "length": "How many.",
        "flip_method": "Upside down, or left to right.",
        "rotation": "How far, clockwise.",
        "channel": "Which channel.",
        "value": "The value.",
        "string_a": "The first text.",
        "string_b": "The second text.",
        "delimiter": "What stands between them.",
        "switch": "Which of the two.",
        "on_false": "What is given if the switch is off; it does not run otherwise.",
        "on_true": "What is given if the switch is on; it does not run otherwise.",
        "source": "What to show.",
        "images": "The images.",
        "masks": "The masks.",
        "latents": "The latents.",
        "input": "Images, or a mask.",
        "resize_type": "What the size is computed from.",
        "scale_method": "The filter.",
        "multiplier": "The factor.",
        "longer_size": "The longer side in pixels.",
        "shorter_size": "The shorter side in pixels.",
        "match": "The images or the mask that have the size.",
        "multiple": "Both sides become multiples of this.",
        "megapixels": "How many pixels, in 1024 x 1024.",
        "resolution_steps": "Both sides become multiples of this.",
        "longer_edge": "The longer side in pixels.",
        "shorter_edge": "The shorter side in pixels.",
        "largest_size": "The longer side in pixels.",
        "direction": "On which side of the first images the second are put.",
        "match_image_size": "Scale the second images to the height of the first, or to their width.",
        "spacing_width": "Pixels between the two.",
        "spacing_color": "The colour between the two.",
        "target_width": "Width in pixels.",
        "target_height": "Height in pixels.",
        "padding_color": "The colour beside the images.",
        "interpolation": "The filter.",
        "left": "Pixels on the left side.",
        "top": "Pixels at the top.",
        "right": "Pixels on the right side.",
        "bottom": "Pixels at the bottom.",
        "feathering": "Over how many pixels the mask fades into the image.",
        "alpha": "The mask: 1 where the image becomes transparent.",
        "destination": "What is pasted into.",
        "source_image": "What is pasted.",
        "resize_source": "Scale what is pasted to the size of what it is pasted into.",
        "blend_factor": "How much of the other: 0 none, 1 all.",
        "blend_mode": "How colours are combined.",
        "expand": "By how many pixels; a negative number shrinks.",
        "tapered_corners": "Grow along rows and columns only, so that corners become round.",
        "operation": "How the two are combined.",
        "samples1": "The first latent.",
        "samples2": "The second latent, scaled to the size of the first.",
        "samples_to": "The latent that is pasted into.",
        "samples_from": "The latent that is pasted.",
        "feather": "Over how many pixels the border fades.",
        "dim": "Along which side: width, height or time.",
        "index": "Where to begin; a negative number counts from the end.",
        "slice_size": "How long each part is.",
        "trim_amount": "How many latent frames go.",
        "batch_size": "How many.",
    }
)

Latent = dict[str, Any]


class Core:
    """Declares its inputs as tables: name -> its type, and options if it has any."""

    ID: ClassVar[str] = ""  # core's id, where that is not the name of the class
    TAKES: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    MAY_TAKE: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]] = ("The images.",)
    FUNCTION = "run"
    CATEGORY = "image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        optional = {"optional": _describe(cls.MAY_TAKE)} if cls.MAY_TAKE else {}
        return {"required": _describe(cls.TAKES), **optional}


class Nested(Core):
    """Has inputs that bring others: `run` is given each with those of its own in a dict."""

    FUNCTION = "run_nested"
    run: ClassVar[Callable[..., Any]]  # a dynamic combo is {its name: the choice, and the inputs of the choice}

    def run_nested(self, **given: Any) -> Any:
        """given: by names as the graph has them, `resize_type` and `resize_type.width`."""
        nested = nest(given)
        for name, (kind, *options) in {**self.TAKES, **self.MAY_TAKE}.items():
            if kind == COMBO and name in nested:
                value = nested[name] if isinstance(nested[name], dict) else {name: nested[name]}
                nested[name] = _demand_choice(name, value, options[0]["options"])
        return self.run(**nested)


def whole(default: int, least: int = 0, most: int = LARGEST, **options: Any) -> tuple[str, dict[str, Any]]:
    return "INT", {"default": default, "min": least, "max": most, **options}


def row(name: str, kind: str, most: int = 50) -> tuple[str, dict[str, Any]]:
    """One or more inputs: name0, name1 ..."""
    return AUTOGROW, {"template": {"input": {"required": {name: (kind, {})}}, "prefix": name, "min": 1, "max": most}}


def choice(key: str, **takes: tuple[Any, ...]) -> dict[str, Any]:
    """One choice of a dynamic combo, and the inputs that it brings."""
    return {"key": key, "inputs": {"required": _describe(takes)}}


def _describe(takes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    entries = {name: (kind, options[0] if options else {}) for name, (kind, *options) in takes.items()}
    return {name: (kind, {"tooltip": TIPS.get(name, ""), **one}) for name, (kind, one) in entries.items()}


def _demand_choice(name: str, value: dict[str, Any], options: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The value of a dynamic combo. Raises BadRequest for a choice that it does not have: the host takes any."""
    allowed = [one["key"] for one in options]
    if value[name] in allowed:
        return value
    near = find_nearest(str(value[name]), allowed)[:1]
    hint = f"; nearest is '{near[0]}'" if near else ""
    raise BadRequest(f"{name} is '{value[name]}'; it can be {', '.join(map(repr, allowed))}{hint}")
