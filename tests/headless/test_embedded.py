"""Workflows in the files that hosts save: PNG, WebP, video, latent."""

import json

import pytest
import torch
from exact_vae.headless import GraphError, load
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file

PROMPT = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
FLOW = {"nodes": [{"id": 1, "type": "EmptyImage", "widgets_values_named": {"width": 8}, "outputs": [{}]}]}
TEXTS = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(FLOW)}


def save_png(path, texts):
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


def save_webp(path, texts):
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    for tag, (name, text) in zip((0x0110, 0x010F), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    image.save(path, exif=exif)


def save_latent(path, texts):
    save_file({"latent_tensor": torch.zeros(1)}, path, metadata=texts)


def save_video(path, texts):
    import av

    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(texts)
        stream = container.add_stream("libx264", rate=1)
        stream.width = stream.height = 16
        frame = av.VideoFrame.from_image(Image.new("RGB", (16, 16)))
        container.mux([*stream.encode(frame), *stream.encode(None)])


KINDS = {"a.png": save_png, "a.webp": save_webp, "a.latent": save_latent, "a.mp4": save_video}


@pytest.mark.parametrize("name", KINDS)
def test_files_that_carry_a_workflow(tmp_path, name):
    path = tmp_path / name
    KINDS[name](path, TEXTS)
    graph = load(path, {})
    assert graph.to_json() == PROMPT and graph.pnginfo == {"workflow": FLOW} and not graph.from_editor
    KINDS[name](path, {"workflow": TEXTS["workflow"]})
    assert load(path, {}).to_json()["1"]["inputs"] == {"width": 8} and load(path, {}).from_editor
    KINDS[name](path, {"other": "text"})
    with pytest.raises(GraphError, match="it is no JSON, and carries no workflow of ComfyUI"):
        load(path, {})


def test_a_video_of_a_pack_keeps_both_in_a_comment(tmp_path):
    save_video(tmp_path / "a.mp4", {"comment": json.dumps({"prompt": TEXTS["prompt"], "workflow": FLOW})})
    assert load(tmp_path / "a.mp4", {}).to_json() == PROMPT


def test_a_damaged_text(tmp_path):
    save_png(tmp_path / "a.png", {"prompt": "{"})
    with pytest.raises(GraphError, match="is not JSON"):
        load(tmp_path / "a.png", {})
