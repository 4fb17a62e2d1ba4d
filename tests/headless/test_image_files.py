"""The core nodes: images in and out of their folders, with the names and pixels of the host."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_vae.headless import GraphError, core_nodes, parse, run
from exact_vae.vae_core.errors import BadPixels, BadRequest
from exact_vae.vae_core.readers import read
from PIL import Image, PngImagePlugin


def grey(levels, dtype=np.uint8) -> Image.Image:
    return Image.fromarray(np.array(levels, dtype=dtype))


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def test_rgb(put, load):
    image, mask = load(put(Image.fromarray(np.array([[[0, 51, 255], [255, 0, 102]]], dtype=np.uint8))))
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.tensor([[[[0, 51, 255], [255, 0, 102]]]]) / 255)
    assert torch.equal(mask, torch.zeros(1, 64, 64))


def test_alpha_becomes_the_mask_and_colours_stay(put, load):
    image, mask = load(put(Image.fromarray(np.array([[[10, 20, 30, 0], [40, 50, 60, 204]]], dtype=np.uint8))))
    assert torch.equal(image, torch.tensor([[[[10, 20, 30], [40, 50, 60]]]]) / 255)
    assert torch.allclose(mask, torch.tensor([[[1.0, 0.2]]]))


def test_palette_with_transparency(put, load):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    image, mask = load(put(image, transparency=1))
    assert torch.equal(image[0, 0, 0], torch.tensor([1.0, 0, 0]))
    assert torch.equal(mask, torch.tensor([[[0.0, 1.0]]]))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_other_modes_become_three_channels(put, load, mode):
    name = "x.tif" if mode == "CMYK" else "x.png"
    image, _ = load(put(Image.new("RGB", (3, 2), "white").convert(mode), name))
    assert torch.equal(image, torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_keep_their_precision(put, load, name):
    image, mask = load(put(grey([[0, 1, 257, 65535]], np.uint16), name))
    levels = torch.tensor([0, 1, 257, 65535]) / 65535
    assert torch.equal(image, levels[None, None, :, None].expand(1, 1, 4, 3))
    assert mask.shape == (1, 64, 64)


def test_more_than_sixteen_bits_are_refused(put, load):
    with pytest.raises(BadPixels, match=r"its numbers are integers with a sign of 32 bits, which have no agreed white"):
        load(put(grey([[0, 65536]], np.int32), "x.tif"))


def test_floating_point_is_read_as_it_is(put, load):
    image, _ = load(put(grey([[0, 0.25, 1.5]], np.float32), "x.tif"))
    assert image[0, 0, :, 0].tolist() == [0, 0.25, 1.5]


def test_the_camera_turns_the_image(put, load):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    image, _ = load(put(grey([[0, 255]]), exif=exif))
    assert torch.equal(image[0, :, :, 0], torch.tensor([[0.0], [1.0]]))


def test_frames_become_a_batch(put, load):
    frames = [Image.new("RGB", (4, 2), colour) for colour in ("red", "lime", "blue")]
    image, mask = load(put(frames[0], "x.gif", save_all=True, append_images=frames[1:]))
    assert torch.equal(image[:, 0, 0], torch.eye(3))
    assert image.shape == (3, 2, 4, 3)
    assert torch.equal(mask, torch.zeros(3, 2, 4))


def test_frames_with_and_without_alpha_get_masks_of_one_size(put, load, folders):
    pages = [Image.new("RGB", (4, 2)), Image.new("RGBA", (4, 2), (0, 0, 0, 0)), Image.new("RGB", (5, 2))]
    name = put(pages[0], "x.tif", save_all=True, append_images=pages[1:])
    image, mask = read(folders.input / name)
    assert image.shape == (2, 2, 4, 3)  # the third is of another size
    assert torch.equal(mask, torch.stack([torch.zeros(2, 4), torch.ones(2, 4)]))
    assert load(name)[0].shape == (1, 2, 4, 3)  # the first page, as in the host


ROOM = {"gif": "gif", "moving gif": "gif", "palette": "png", "grey bmp": "bmp", "one bit": "bmp", "palette bmp": "bmp",
        "cmyk": "jpg", "tiff palette": "tif", "tga palette": "tga", "lossless": "webp", "profile": "webp"}  # fmt: skip
PLAIN = {"grey": "png", "lossy": "webp", "rgb": "jpg", "rgb bmp": "bmp", "grey tiff": "tif"}


@pytest.mark.parametrize(("what", "ending"), [*ROOM.items(), *PLAIN.items()])
def test_the_mask_has_the_image_s_size_where_ffmpeg_finds_a_place_for_alpha(nodes, put, what, ending):
    modes = {"palette": "P", "grey": "L", "one": "1", "cmyk": "CMYK", "tiff": "P", "tga": "P"}
    mode = "L" if what == "grey tiff" else modes.get(what.split()[0], "RGB")
    image = Image.new("RGB", (5, 3), "white").convert(mode)
    options = {"lossless": what in ("lossless", "profile")} if ending == "webp" else {}
    options |= {"icc_profile": b"colours"} if what == "profile" else {}
    options |= {"save_all": True, "append_images": [Image.new("RGB", (5, 3))]} if "moving" in what else {}
    name = put(image, f"x.{ending}", **options)
    masks = nodes["LoadImage"]().load_image(name)[1], nodes["LoadImageMask"]().load_mask(name, "alpha")[0]
    wanted = (2 if "moving" in what else 1, *((3, 5) if what in ROOM else (64, 64)))
    assert all(torch.equal(mask, torch.zeros(wanted)) for mask in masks)


@pytest.mark.parametrize("missing", [2, 40])
def test_a_jpeg_that_ends_too_early_is_read_with_a_word(folders, put, load, missing, caplog):
    name = put(Image.effect_noise((64, 64), 50), "x.jpg")
    path, whole = folders.input / name, load(name)[0]
    path.write_bytes(path.read_bytes()[:-missing])
    image, mask = load(name)
    assert torch.equal(image[:, :48], whole[:, :48]) and mask.shape == (1, 64, 64)
    assert caplog.messages == ["'x.jpg' ends before its image does: what is missing of its last rows is grey."]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadPixels, match=r"^cannot read 'x\.jpg' as an image: "):
        load(name)


def test_images_beyond_pillows_limit(put, load, monkeypatch):
    name = put(Image.new("L", (30, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load(name)[0].shape == (1, 10, 30, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("end", [0, 20, 60])
def test_a_broken_file_is_named(folders, put, load, end):
    put(Image.effect_noise((64, 64), 50))
    path = folders.input / "x.png"
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(BadPixels, match=r"^cannot read 'x\.png' as an image: "):
        load("x.png")


def test_subfolders_and_other_folders(folders, put, load, save):
    put(grey([[255]]), "sub/x.png")
    assert load("sub/x.png")[0].mean() == 1
    name = save(torch.full((1, 1, 1, 3), 0.2))[0]["filename"]
    assert load(f"{name} [output]")[0].mean() == pytest.approx(0.2)
    assert load("sub/x.png [input]")[0].mean() == 1


@pytest.mark.parametrize(
    "name", ["../secret.png", "sub/../../secret.png", "/etc/passwd", "../in2/x.png", "../x.png [temp]"]
)
def test_files_outside_the_folder_are_refused(folders, nodes, load, name):
    (folders.input.parent / "secret.png").write_bytes(b"")
    with pytest.raises(BadRequest, match="lies outside the folder"):
        load(name)
    assert "lies outside the folder" in nodes["LoadImage"].VALIDATE_INPUTS(image=name)


def test_validation_names_the_file(nodes):
    graph = parse({"1": node("LoadImage", image="gone.png"), "2": node("PreviewImage", images=["1", 0])})
    with pytest.raises(GraphError) as caught:
        run(graph, nodes)
    said = "Invalid image file: gone.png (there is no file 'gone.png' in the input folder)"
    assert str(caught.value) == f"node 1 (LoadImage): {said}"
    (found,) = caught.value.body["node_errors"]["1"]["errors"]
    assert found["details"] == f"image - {said}"


def test_the_combo_lists_images_only(folders, put, nodes):
    for name in ("b.png", "a.PNG", "sub/c.png"):
        put(grey([[0]]), name)
    (folders.input / "notes.txt").write_text("")
    (folders.input / "folder.png").mkdir()
    assert nodes["LoadImage"].INPUT_TYPES()["required"]["image"][0] == ["a.PNG", "b.png"]


def test_no_input_folder_means_no_choices(tmp_path):
    nodes = core_nodes(tmp_path / "none", tmp_path, tmp_path, {})
    assert nodes["LoadImage"].INPUT_TYPES()["required"]["image"][0] == []


def test_a_changed_file_is_another_computation(folders, put, nodes):
    name = put(grey([[0]]))
    before = nodes["LoadImage"].IS_CHANGED(image=name)
    assert nodes["LoadImage"].IS_CHANGED(image=name) == before
    put(Image.effect_noise((8, 8), 50))
    assert nodes["LoadImage"].IS_CHANGED(image=name) != before


def test_saved_levels_are_clipped_and_truncated(folders, save):
    levels = torch.tensor([-0.5, 0.0, 0.4999, 0.999, 1.0, 1.5]).view(1, 1, 6, 1).expand(1, 1, 6, 3)
    (entry,) = save(levels)
    assert entry == {"filename": "pic_00001_.png", "subfolder": "", "type": "output"}
    with Image.open(folders.output / "pic_00001_.png") as file:
        assert file.mode == "RGB"
        assert np.array(file)[0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels(folders, save, channels, mode):
    save(torch.ones(1, 2, 3, channels, dtype=torch.bfloat16))
    with Image.open(folders.output / "pic_00001_.png") as file:
        assert (file.mode, file.size) == (mode, (3, 2))


def test_numbers_go_on_where_they_stopped(folders, save):
    folders.output.mkdir()
    for name in ("pic_00041_.png", "image_00099_.png", "pic_x_.png", "pic_00050_.txt.bak"):
        (folders.output / name).write_bytes(b"")
    names = [entry["filename"] for entry in save(torch.zeros(2, 1, 1, 3))]
    assert names == ["pic_00051_.png", "pic_00052_.png"]
    assert save(torch.zeros(1, 1, 1, 3))[0]["filename"] == "pic_00053_.png"


def test_tokens_and_subfolders(folders, save):
    images = torch.zeros(2, 4, 6, 3)
    entries = save(images, "%year%-%month%/%width%x%height%_n%batch_num%_%unknown%")
    assert re.fullmatch(r"\d{4}-\d\d", entries[0]["subfolder"])
    names = [entry["filename"] for entry in entries]
    assert names == ["6x4_n0_%unknown%_00001_.png", "6x4_n1_%unknown%_00002_.png"]
    assert sorted(one.name for one in (folders.output / entries[0]["subfolder"]).iterdir()) == names
    again = save(images, "%year%-%month%/%width%x%height%_n%batch_num%_%unknown%")
    assert again[0]["filename"] == "6x4_n0_%unknown%_00003_.png"


@pytest.mark.parametrize("prefix", ["../evil", "a/../../evil", "/tmp/evil"])
def test_nothing_is_saved_outside_the_folder(folders, save, prefix):
    with pytest.raises(BadRequest, match="lies outside the folder"):
        save(torch.zeros(1, 1, 1, 3), prefix)
    assert not list(folders.output.parent.rglob("*evil*"))


def test_the_graph_is_in_the_file(folders, nodes):
    graph = {"1": node("EmptyImage", width="8", height=8, color=255), "2": node("SaveImage", images=["1", 0])}
    graph["2"]["inputs"]["filename_prefix"] = "é"
    graph["1"]["inputs"]["batch_size"] = 1
    body = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {"name": "ü"}}}}
    results = run(parse(body), nodes)
    (entry,) = results.outputs["2"]["images"]
    with Image.open(folders.output / entry["filename"]) as file:
        assert isinstance(file, PngImagePlugin.PngImageFile)
        assert json.loads(file.text["workflow"]) == {"name": "ü"}
        assert parse(json.loads(file.text["prompt"])).nodes["1"].inputs["width"] == 8
        assert np.array(file)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_not_saved(folders, save, bad):
    images = torch.zeros(2, 1, 1, 3)
    images[1, 0, 0, 2] = bad
    with pytest.raises(BadPixels, match=r"^image 2 of 2 holds NaN or Inf"):
        save(images)
    assert not list(folders.output.glob("*"))


@pytest.mark.parametrize(
    "images, found", [(torch.zeros(4, 4, 3), r"\(4, 4, 3\)"), (torch.zeros(1, 4, 4, 2), r"2\)"), ([], "list")]
)
def test_what_is_no_image_is_refused(save, images, found):
    with pytest.raises(BadPixels, match=rf"^images to save are \(B, H, W, C\) .* this is .*{found}$"):
        save(images)


def test_a_folder_that_cannot_be_written(folders, save):
    folders.output.write_text("a file is in the way")
    with pytest.raises(BadRequest, match=rf"^'{re.escape(str(folders.output))}' cannot be written: "):
        save(torch.zeros(1, 1, 1, 3))


def test_a_write_that_breaks_off_leaves_nothing(folders, save, monkeypatch):
    def torn(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", torn)
    with pytest.raises(BadRequest, match=r"No space left on device\.$"):
        save(torch.zeros(1, 1, 1, 3))
    assert list(folders.output.iterdir()) == []


def test_an_existing_file_is_replaced_only_when_all_is_written(folders, monkeypatch):
    from exact_vae.vae_core.files.atomic import write_atomically

    target = folders.input / "x"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), write_atomically(target) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [(one.name, one.read_text()) for one in folders.input.iterdir()] == [("x", "old")]
    with write_atomically(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert [(one.name, one.read_text()) for one in folders.input.iterdir()] == [("x", "new")]


def test_previews_go_to_the_temporary_folder(folders, nodes):
    shown = nodes["PreviewImage"]().preview_images(torch.zeros(1, 2, 2, 3))["ui"]["images"]
    assert shown[0]["type"] == "temp"
    assert (folders.temp / shown[0]["filename"]).is_file()
    assert not folders.output.exists()


def test_what_is_saved_is_what_is_loaded(load, save):
    levels = torch.arange(256).float().view(1, 16, 16, 1).expand(1, 16, 16, 3) / 255
    name = save(levels)[0]["filename"]
    # Truncation may lose a level where 255 * (i / 255) falls short of i in float32.
    assert (load(f"{name} [output]")[0] - levels).abs().max() <= 1 / 255
