"""VAE Doctor: does this device compute this VAE correctly, and in which dtype is it fastest?"""

from __future__ import annotations

import json
from typing import Any

from .. import vae_core
from ..vae_core import doctor, verdicts
from . import host
from .entrance import checks_inputs
from .inputs import bool_input, int_input


@checks_inputs()
class VAEDoctor:
    DESCRIPTION = (
        "Finds out whether your device computes a VAE correctly. It encodes and decodes a test chart in fp32, bf16 and "
        "fp16, whole and in bands, and compares the results with exact ones from the CPU: errors, NaN, time, memory. "
        "The verdict is kept, and from then on this pack goes around what is wrong: that half runs in a dtype that is "
        "right, or on the CPU, and the node says so."
    )
    CATEGORY = "Exact VAE/inspect"
    SEARCH_ALIASES = ["vae doctor", "self test", "check device", "black image", "nan", "wrong colours",
                      "precision test", "vae benchmark", "bug report"]  # fmt: skip
    RETURN_TYPES = ("STRING", "STRING", "IMAGE")
    RETURN_NAMES = ("report", "json", "errors")
    OUTPUT_TOOLTIPS = (
        "The verdict and a Markdown table with a row for each run, for a bug report.",
        "The same and more as JSON.",
        "The chart and the errors of each run. Blue is what rounding explains; red, yellow and white are wrong.",
    )
    FUNCTION = "examine"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        width = (
            "Width of the larger of two charts, in pixels. Some devices compute small images correctly and large ones "
            "wrongly. The CPU computes the chart too, so a large one takes long."
        )
        keep = (
            "On: keep the verdict, so that this pack goes around what is wrong. Off: keep none, and forget an earlier "
            "one on this VAE and device."
        )
        return {
            "required": {"vae": ("VAE", {"tooltip": "The VAE, from any loader. It is left as it is."})},
            "optional": {
                "width": int_input(doctor.WIDTHS[-1], doctor.NARROWEST, 4096, width, step=32),
                "keep_verdict": bool_input(True, keep),
            },
        }

    def examine(self, vae, width=608, keep_verdict=True):
        codec = make_ready(vae, width)
        widths = [one for one in doctor.WIDTHS[:1] if one < width] + [width]
        found = doctor.examine(codec, codec.device, widths=widths, budget=host.budget(vae), progress=host.progress())
        note = verdicts.keep_and_tell(found.verdict) if keep_verdict else verdicts.forget(found.verdict)
        return host.show_text(
            f"{doctor.format_lines(found)}\n\n{note}",
            f"{doctor.format_report(found)}\n\n{note}",
            json.dumps(doctor.to_json(found), indent=2),
            host.result(doctor.draw_errors(found).movedim(1, -1).contiguous()),
        )


def make_ready(vae: Any, width: int) -> vae_core.VAE:
    """The VAE on the socket, with memory made free for it. Raises BadRequest for one that this pack does not run."""
    found = host.look(vae)
    if not isinstance(found, vae_core.VAE):
        raise vae_core.BadRequest("ComfyUI runs this VAE by its own code: the Doctor examines what this pack runs.")
    decodes = vae_core.Half.DECODER.noun in found.parts
    half = vae_core.Half.DECODER if decodes else vae_core.Half.ENCODER
    scale, channels = (found.spatial_ratio, found.latent_channels) if decodes else (1, found.in_channels)
    return host.from_socket(vae, half, (1, channels, *[-(-n // scale) for n in (width * 3 // 4, width)]))
