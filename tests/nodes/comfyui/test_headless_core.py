"""The core nodes of the headless runner beside the real ones: the same pixels, latents, numbers and texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae import headless
from PIL import Image
from safetensors.torch import load_file
from support.beside_core import assert_same_pixels, files_of, node, read_frames, run_both

FILTERS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
FLIPS = ("x-axis: vertically", "y-axis: horizontally")
SIDES = {"left": 5, "top": 0, "right": 9, "bottom": 40}
STITCHES = [(side, same, colour) for side in ("right", "down", "left", "up")
            for same, colour in ((True, "white"), (False, "white"), (False, "red"))]  # fmt: skip
RULES = {
    "dimensions": {"scale dimensions": {"width": 40, "height": 0, "crop": "center"}},
    "both": {"scale dimensions": {"width": 40, "height": 90, "crop": "center"}},
    "factor": {"scale by multiplier": {"multiplier": 1.37}},
    "longer": {"scale longer dimension": {"longer_size": 50}},
    "shorter": {"scale shorter dimension": {"shorter_size": 50}},
    "width": {"scale width": {"width": 33}},
    "height": {"scale height": {"height": 33}},
    "pixels": {"scale total pixels": {"megapixels": 0.01}},
    "match": {"match size": {"match": ["tall", 0], "crop": "center"}},
    "multiple": {"scale to multiple": {"multiple": 16}},
}


def rule(name: str) -> dict:
    ((kind, values),) = RULES[name].items()
    return {"resize_type": kind, **{f"resize_type.{key}": value for key, value in values.items()}}


# Name -> class and inputs; "odd", "tall", "clear", "mask", "large" and "other" are the nodes of `sources`.
IMAGES = {
    **{f"by_{m}": ("ImageScaleBy", {"upscale_method": m, "scale_by": 1.37}) for m in FILTERS},
    **{f"to_{m}": ("ImageScale", {"upscale_method": m, "width": 40, "height": 90, "crop": "center"}) for m in FILTERS},
    "wide": ("ImageScale", {"upscale_method": "area", "width": 90, "height": 31, "crop": "center"}),
    "one side": ("ImageScale", {"upscale_method": "bilinear", "width": 0, "height": 33, "crop": "disabled"}),
    "no side": ("ImageScale", {"upscale_method": "bilinear", "width": 0, "height": 0, "crop": "disabled"}),
    "crop": ("ImageCrop", {"width": 20, "height": 30, "x": 11, "y": 50}),
    "crop beyond": ("ImageCrop", {"width": 20, "height": 30, "x": 900, "y": 50}),
    "repeat": ("RepeatImageBatch", {"amount": 2}),
    "pick": ("ImageFromBatch", {"batch_index": -1, "length": 3}),
    "pick beyond": ("ImageFromBatch", {"batch_index": 7, "length": 1}),
    "invert": ("ImageInvert", {}),
    **{m[:1]: ("ImageFlip", {"flip_method": m}) for m in FLIPS},
    **{f"turn {a}": ("ImageRotate", {"rotation": f"{a} degrees"}) for a in (90, 180, 270)},
    "batch": ("ImageBatch", {"image1": ["odd", 0], "image2": ["tall", 0]}),
    "batches": ("BatchImagesNode", {"images.image0": ["odd", 0], "images.image1": ["clear", 0]}),
    "pixels": ("ImageScaleToTotalPixels", {"upscale_method": "area", "megapixels": 0.01, "resolution_steps": 8}),
    "largest": ("ImageScaleToMaxDimension", {"upscale_method": "lanczos", "largest_size": 50}),
    "longer": ("ResizeImagesByLongerEdge", {"images": ["odd", 0], "longer_edge": 50}),
    "shorter": ("ResizeImagesByShorterEdge", {"images": ["odd", 0], "shorter_edge": 50}),
    "kontext": ("FluxKontextImageScale", {}),
    **{f"rule {r}": ("ResizeImageMaskNode", {"input": ["odd", 0], **rule(r), "scale_method": "area"}) for r in RULES},
    "rule lanczos": ("ResizeImageMaskNode", {"input": ["clear", 0], **rule("width"), "scale_method": "lanczos"}),
    **{f"stitch {s} {m} {c}": ("ImageStitch", {"image1": ["odd", 0], "image2": ["tall", 0], "direction": s,
       "match_image_size": m, "spacing_width": 5, "spacing_color": c}) for s, m, c in STITCHES},
    "borders": ("ResizeAndPadImage", {"target_width": 90, "target_height": 41, "padding_color": "white",
                "interpolation": "bicubic"}),
    "outpaint": ("ImagePadForOutpaint", {**SIDES, "feathering": 12}),
    "alpha": ("JoinImageWithAlpha", {"alpha": ["mask", 0]}),
    "no alpha": ("SplitImageWithAlpha", {"image": ["clear", 0]}),
    "paste": ("ImageCompositeMasked", {"destination": ["tall", 0], "source": ["odd", 0], "x": 20, "y": 99,
              "resize_source": False, "mask": ["mask", 0]}),
    "paste scaled": ("ImageCompositeMasked", {"destination": ["clear", 0], "source": ["tall", 0], "x": 20, "y": 9,
                     "resize_source": True, "mask": ["mask", 0]}),
    **{f"blend {m}": ("ImageBlend", {"image1": ["odd", 0], "image2": ["tall", 0], "blend_factor": 0.3, "blend_mode": m})
       for m in ("normal", "multiply", "screen", "overlay", "soft_light", "difference")},
}  # fmt: skip
MASKS = {
    "invert": ("InvertMask", {}),
    "threshold": ("ThresholdMask", {"value": 0.4}),
    "crop": ("CropMask", {"x": 3, "y": 5, "width": 30, "height": 20}),
    "grow": ("GrowMask", {"expand": 7, "tapered_corners": True}),
    "shrink": ("GrowMask", {"expand": -7, "tapered_corners": False}),
    "feather": ("FeatherMask", SIDES),
    **{m: ("MaskComposite", {"destination": ["mask", 0], "source": ["small", 0], "x": 9, "y": 50, "operation": m})
       for m in ("multiply", "add", "subtract", "and", "or", "xor")},
    "batches": ("BatchMasksNode", {"masks.mask0": ["small", 0], "masks.mask1": ["mask", 0]}),
    "rule": ("ResizeImageMaskNode", {"input": ["mask", 0], **rule("match"), "scale_method": "bilinear"}),
    "of transparency": ("SplitImageWithAlpha", {"image": ["clear", 0]}),
    "of borders": ("ImagePadForOutpaint", {"image": ["odd", 0], **SIDES, "feathering": 12}),
}  # fmt: skip
LATENTS = {
    **{f"flip {m[:1]}": ("LatentFlip", {"flip_method": m}) for m in FLIPS},
    **{f"turn {a}": ("LatentRotate", {"rotation": f"{a} degrees"}) for a in (90, 180, 270)},
    **{f"to {m}": ("LatentUpscale", {"upscale_method": m, "width": 200, "height": 0, "crop": "center"})
       for m in (*FILTERS[:4], "bislerp")},
    "by": ("LatentUpscaleBy", {"upscale_method": "bislerp", "scale_by": 0.7}),
    "crop": ("LatentCrop", {"width": 64, "height": 72, "x": 16, "y": 400}),
    "composite": ("LatentComposite", {"samples_to": ["large", 0], "samples_from": ["other", 0], "x": 16, "y": 64,
                  "feather": 24}),
    "masked": ("LatentCompositeMasked", {"destination": ["large", 0], "source": ["other", 0], "x": 16, "y": 8,
               "resize_source": True, "mask": ["mask", 0]}),
    "blend": ("LatentBlend", {"samples1": ["large", 0], "samples2": ["other", 0], "blend_factor": 0.3}),
    "batch": ("LatentBatch", {"samples1": ["large", 0], "samples2": ["other", 0]}),
    "batches": ("BatchLatentsNode", {"latents.latent0": ["other", 0], "latents.latent1": ["large", 0]}),
    "repeat": ("RepeatLatentBatch", {"amount": 3}),
    "pick": ("LatentFromBatch", {"batch_index": -1, "length": 4}),
    "cut": ("LatentCut", {"dim": "x", "index": -5, "amount": 3}),
    "concat": ("LatentConcat", {"samples1": ["large", 0], "samples2": ["large", 0], "dim": "-y"}),
    "noise mask": ("SetLatentNoiseMask", {"mask": ["mask", 0]}),
    "flux2": ("EmptyFlux2LatentImage", {"width": 70, "height": 40, "batch_size": 2}),
    "hunyuan": ("EmptyHunyuanLatentVideo", {"width": 70, "height": 40, "length": 9, "batch_size": 2}),
    "hunyuan15": ("EmptyHunyuanVideo15Latent", {"width": 70, "height": 40, "length": 9, "batch_size": 1}),
    "ltx": ("EmptyLTXVLatentVideo", {"width": 70, "height": 64, "length": 17, "batch_size": 1}),
}  # fmt: skip
REGEX = {"case_insensitive": True, "multiline": True, "dotall": False}
VALUES = {
    "math": ("ComfyMathExpression", {"expression": "max(5, round(a * 24)) + (a if a > 2 else b) & ~1", "values.a": 3,
             "values.b": 2}),
    "fraction": ("ComfyMathExpression", {"expression": "sum(values) / 7 - a // 2", "values.a": 3, "values.b": 2.5}),
    "resolution": ("ResolutionSelector", {"aspect_ratio": "21:9 (Ultrawide)", "megapixels": 0.7, "multiple": 12}),
    "number": ("ComfyNumberConvert", {"value": " -4.7 "}),
    "colour": ("ColorToRGBInt", {"color": "#AbCdEf80"}),
    "choice": ("CustomCombo", {"choice": "b", "index": 1, "option1": "a", "option2": "b"}),
    "not": ("ComfyNotNode", {"value": ""}),
    "concatenate": ("StringConcatenate", {"string_a": "a", "string_b": "b", "delimiter": "\n"}),
    "replace": ("StringReplace", {"string": "a.b.c", "find": ".", "replace": ", "}),
    "trim": ("StringTrim", {"string": "\n a ", "mode": "Left"}),
    "part": ("StringSubstring", {"string": "abcdef", "start": -4, "end": -1}),
    "title": ("CaseConverter", {"string": "one wor'd", "mode": "Title Case"}),
    "length": ("StringLength", {"string": "\u00e9\n"}),
    "contains": ("StringContains", {"string": "aBc", "substring": "bC", "case_sensitive": False}),
    "compare": ("StringCompare", {"string_a": "aBc", "string_b": "bc", "mode": "Ends With", "case_sensitive": False}),
    "match": ("RegexMatch", {"string": "x\nab", "regex_pattern": "^A", **REGEX}),
    **{f"extract {m}": ("RegexExtract", {"string": "aBc abd", "regex_pattern": "a(b)(.)", "mode": m, **REGEX,
                        "group_index": 2}) for m in ("First Match", "All Matches", "First Group", "All Groups")},
    "regex": ("RegexReplace", {"string": "ab AB", "regex_pattern": "(a)b", "replace": r"<\1>", **REGEX, "count": 1}),
    "json": ("JsonExtractString", {"json_string": '{"a": {"b": [1, null]}}', "key": "a"}),
}  # fmt: skip
SWITCHES = {name: ("ComfySwitchNode", {"switch": name == "on", "on_false": ["one", 0], "on_true": ["two", 0]})
            for name in ("on", "off")}  # fmt: skip
SAVES = {
    "png16": ("SaveImageAdvanced", {"format": "png", "format.bit_depth": "16-bit", "format.input_color_space": "sRGB"}),
    "png8": ("SaveImageAdvanced", {"format": "png", "format.bit_depth": "8-bit", "format.input_color_space": "sRGB"}),
    **{f"exr {s}": ("SaveImageAdvanced", {"format": "exr", "format.bit_depth": "32-bit float",
                    "format.input_color_space": s}) for s in ("sRGB", "HDR", "linear")},
    "moving png": ("SaveAnimatedPNG", {"fps": 7.0, "compress_level": 4}),
    "moving webp": ("SaveAnimatedWEBP", {"fps": 7.0, "lossless": True, "quality": 80, "method": "default"}),
    "poor webp": ("SaveAnimatedWEBP", {"fps": 7.0, "lossless": False, "quality": 30, "method": "slowest"}),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_images(server, sources, tmp_path, name):
    kind, inputs = IMAGES[name]
    linked = any(isinstance(one, list) and one[0] in ("odd", "clear") for one in inputs.values())
    first = {} if linked else {"image": ["odd", 0]}
    assert_same_pixels(server, tmp_path, {**sources, "made": node(kind, **first, **inputs)})


@pytest.mark.parametrize("name", MASKS)
def test_masks(server, sources, tmp_path, name):
    kind, inputs = MASKS[name]
    slot = 1 if kind in ("SplitImageWithAlpha", "ImagePadForOutpaint") else 0
    first = {} if any(isinstance(one, list) for one in inputs.values()) else {"mask": ["mask", 0]}
    made = node("MaskToImage", mask=["changed", slot])
    assert_same_pixels(server, tmp_path, {**sources, "changed": node(kind, **first, **inputs), "made": made})


@pytest.mark.parametrize("channel", ["alpha", "red", "blue"])
def test_a_mask_of_a_file(server, sources, tmp_path, channel):
    rgba = np.random.default_rng(0).integers(0, 256, (9, 13, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(server.base / "input" / "rgba.png")
    mask = node("LoadImageMask", image="rgba.png", channel=channel)
    assert_same_pixels(server, tmp_path, {"mask": mask, "made": node("MaskToImage", mask=["mask", 0])})


@pytest.mark.parametrize("name", LATENTS)
def test_latents(server, sources, tmp_path, name):
    kind, inputs = LATENTS[name]
    free = "samples" in {*headless.core_nodes("", "", "", {})[kind].INPUT_TYPES()["required"]}
    made = node(kind, **({"samples": ["large", 0]} if free else {}), **inputs)
    graph = {**sources, "made": made, "save": node("SaveLatent", samples=["made", 0], filename_prefix="core")}
    ((their, our),) = files_of(server, tmp_path, graph, "latents")
    their, our = (load_file(one)["latent_tensor"] for one in (their, our))
    bound = 2e-5 if "bislerp" in (*inputs.values(), kind) else 0  # angles between vectors: a few roundings of 2 ** -23
    assert their.shape == our.shape and torch.allclose(their, our, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", [*VALUES, *SWITCHES])
def test_values(server, sources, tmp_path, name):
    kind, inputs = {**VALUES, **SWITCHES}[name]
    count = len(headless.core_nodes("", "", "", {})[kind].RETURN_TYPES)
    shown = {f"show{i}": node("PreviewAny", source=["made", i]) for i in range(count)}
    theirs, ours = run_both(server, tmp_path, {**sources, "made": node(kind, **inputs), **shown})
    assert {one: theirs[one]["text"] for one in shown} == {one: list(ours[one]["text"]) for one in shown}


@pytest.mark.parametrize("name", SAVES)
def test_files(server, sources, tmp_path, name):
    kind, inputs = SAVES[name]
    images = node("BatchImagesNode", **{"images.image0": ["odd", 0], "images.image1": ["clear", 0]})
    saved = node(kind, images=["made", 0], filename_prefix=f"saved {name}", **inputs)
    for their, our in files_of(server, tmp_path, {**sources, "made": images, "save": saved}):
        assert their.name == our.name
        if our.suffix == ".exr":
            assert np.allclose(*map(read_exr, (their, our)), rtol=1e-6, atol=1e-6)
        elif name == "png16":
            imagecodecs = pytest.importorskip("imagecodecs")
            assert np.array_equal(*(imagecodecs.png_decode(one.read_bytes()) for one in (their, our)))
        else:
            (theirs, said), (ours, told) = map(read_frames, (their, our))
            assert np.array_equal(theirs, ours) and said == told


def read_exr(path: Path) -> np.ndarray:
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray()


def test_what_savers_pass_on(server, sources, tmp_path):
    passed = {"saved": node("SaveImage", images=["odd", 0], filename_prefix="first"),
              "shown": node("PreviewImage", images=["saved", 0]),
              "mask_shown": node("MaskPreview", mask=["mask", 0]),
              "made": node("JoinImageWithAlpha", image=["shown", 0], alpha=["mask_shown", 0])}  # fmt: skip
    assert_same_pixels(server, tmp_path, {**sources, **passed})


def test_a_solid_mask_and_numbers(server, tmp_path):
    size = node("GetImageSize", image=["odd", 0])
    solid = node("SolidMask", value=["value", 0], width=["size", 0], height=["size", 1])
    graph = {"odd": node("LoadImage", image="odd.png"), "size": size, "value": node("PrimitiveFloat", value=0.3)}
    assert_same_pixels(server, tmp_path, {**graph, "solid": solid, "made": node("MaskToImage", mask=["solid", 0])})


def test_an_image_of_one_colour(server, tmp_path):
    made = node("EmptyImage", width=13, height=7, batch_size=2, color=0x336699)
    assert_same_pixels(server, tmp_path, {"made": made})
