"""Comparing, describing and saving VAEs."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import host
from exact_vae.vae_core import BadRequest, from_weights, inspect, load
from exact_vae.vae_core.images import metrics
from exact_vae.vae_core.reports import format_survey, survey_files
from safetensors.torch import load_file, save_file
from support.node_calls import call, run_node, sample_image, text
from support.random_networks import random_weights, small_kl


def test_both_images_are_for_the_host_s_slider(monkeypatch, vae):
    """Under the words that web/compare.js hands to the widget; of a batch every image."""
    kept = []

    class PreviewImage:
        def save_images(self, images, prefix):
            kept.append(images)
            return {"ui": {"images": [{"filename": f"{prefix}{len(kept)}_{i}.png"} for i in range(len(images))]}}

    monkeypatch.setattr("exact_vae.nodes.host.showing.in_comfyui", lambda: True)
    monkeypatch.setattr("exact_vae.nodes.host.showing._comfyui_progress", lambda *how: None)
    monkeypatch.setattr("exact_vae.nodes.host.showing._show", lambda text: None)
    monkeypatch.setitem(sys.modules, "nodes", SimpleNamespace(PreviewImage=PreviewImage))
    image = sample_image(40, 24).expand(2, -1, -1, -1)
    found = NODE_CLASS_MAPPINGS["ExactVAECompare"]().compare(image=image, vae=vae, vae_2=vae)["ui"]
    before, *after = kept[2:]
    assert [len(found[key]) for key in ("images", "a_images", "b_images")] == [4, 2, 4]
    assert torch.equal(before, image[..., :3]) and [one.shape for one in after] == [before.shape] * 2
    script = (Path(__file__).parents[2] / "web" / "compare.js").read_text()
    assert all(word in script for word in ("shown.a_images", "shown.b_images", '"ExactVAECompare"'))


def table(report: str) -> list[list[str]]:
    """Cells of a table in Markdown, without the line below its header."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in report.splitlines() if "|" in line]
    return [row for row in rows if set(row[0]) != {"-"}]


def test_vaes_are_compared_in_numbers_and_images(models, vae):
    image = sample_image(30, 42)
    double = call("ExactVAELoader", vae_name="small.safetensors", dtype="fp64")
    found = run_node("ExactVAECompare", image=image, vae=vae, vae_3=double)
    report, beside, heat = found["result"]
    header, first, second = table(report)
    assert header == ["PSNR", "SSIM", "max error", "colour shift", "KL", "encode", "decode", "peak"]
    assert first[0] == "vae: small.safetensors, fp32 on cpu"
    assert second[0] == "vae_3: small.safetensors, fp64 on cpu"
    back = call("ExactVAEDecode", samples=call("ExactVAEEncode", pixels=image, vae=vae), vae=vae)
    assert first[1] == f"{metrics.psnr(image.movedim(-1, 1), back.movedim(-1, 1)).item():.2f} dB"
    nats = vae.encode(image.movedim(-1, 1) * 2 - 1).kl().item() / (4 * 8 * 11)
    assert f"{nats:.2f} nats" in report
    assert len({len(line) for line in report.splitlines()}) == 1  # in a fixed font its columns are in line
    cost, quality, _, other, _ = found["ui"]["text"][0].splitlines()
    assert cost == f"{first[0]}; encode {first[6]}, decode {first[7]}, peak {first[8]}"
    assert quality.startswith(f"PSNR {first[1]}, SSIM {first[2]}, max error") and other.startswith(second[0] + "; ")
    assert beside.shape == (1, 30, 3 * 42 + 2 * 8, 3) and heat.shape == (1, 30, 2 * 42 + 8, 3)
    assert torch.equal(beside[:, :, :42], image) and torch.allclose(beside[:, :, 50:92], back, atol=1e-6)


def test_both_modes_of_a_vae(vae):
    found = run_node("ExactVAECompare", image=sample_image(150, 37), vae=vae, mode="both", tile_size=64, overlap=16)
    _, exact, blended = table(found["result"][0])
    assert exact[0] + ", blended" == blended[0]
    assert exact[1] != blended[1]
    (only,) = table(call("ExactVAECompare", image=sample_image(150, 37), vae=vae, mode="blended approximate",
                         tile_size=64, overlap=16))[1:]  # fmt: skip
    assert only[:5] == blended[:5]


def test_a_vae_that_overflows_gets_a_line(vae):
    weights = random_weights("kl", small_kl())
    broken = from_weights({n: t / (0 if n == "decoder.conv_out.bias" else 1) for n, t in weights.items()}, "hot")
    found = run_node("ExactVAECompare", image=sample_image(16, 16), vae=vae, vae_2=broken)
    report, beside, heat = found["result"]
    assert "vae_2: hot, fp32 on cpu\n'hot' overflowed in float32" in found["ui"]["text"][0]
    assert table(report)[2][1] == "overflowed"
    assert report.splitlines()[-1].startswith("'hot' overflowed in float32: the latent was finite, the result is not")
    assert beside[:, :, -16:].abs().max() == 0 and heat.shape == (1, 16, 40, 3)


def test_white_is_the_error_that_is_drawn_white(vae):
    image = sample_image(16, 16)
    hot, cold = (run_node("ExactVAECompare", image=image, vae=vae, white=w)["result"][2] for w in (0.01, 1.0))
    assert hot.mean() > cold.mean()


def test_a_file_is_described_without_loading_it(models):
    info = call("ExactVAEInfo", vae_name="small.safetensors")
    assert "family:     Autoencoder-KL (2-D), 4 channels at 1/4" in info
    assert "holds:      encoder and decoder" in info and "stored as" in info
    assert call("ExactVAEInfo", vae_name="taesd").count("family") == 2  # its two halves
    assert "no" in call("ExactVAEInfo", vae_name="pixel_space")
    lacking = {n: t for n, t in load_file(models / "vae" / "small.safetensors").items() if n != "decoder.norm_out.bias"}
    save_file(lacking, models / "vae" / "lacking.safetensors")
    assert "missing:    decoder.norm_out.bias" in call("ExactVAEInfo", vae_name="lacking.safetensors")


def test_a_folder_is_listed_as_by_the_command_line(models):
    """Every file at any depth, those too that would not load, each with the reason."""
    (models / "vae" / "sub" / "page.safetensors").write_text("<!doctype html><html></html>")
    entries = NODE_CLASS_MAPPINGS["ExactVAEInfo"].INPUT_TYPES()["required"]["vae_name"][0]
    folders = [entry for entry in entries if entry.startswith("all files of ")]
    assert folders == [f"all files of {name}/" for name in ("vae", "vae/sub", "vae_approx", "checkpoints")]
    found = run_node("ExactVAEInfo", vae_name="all files of vae/")
    shown, (report,) = found["ui"]["text"][0].splitlines(), found["result"]
    assert report == format_survey(survey_files([models / "vae"]))
    assert shown[0] == report.splitlines()[-1] == "2 of 3 would load."
    assert shown[1].startswith("small.safetensors: Autoencoder-KL (2-D), 4 channels at 1/4, F32, ")
    assert shown[3].startswith("sub/page.safetensors: it is a web page (HTML), not a file of weights")
    assert "1 of 2 would load." in call("ExactVAEInfo", vae_name="all files of vae/sub/")
    assert "other.safetensors" in call("ExactVAEInfo", vae_name="all files of vae/sub/")
    assert "full.safetensors" in call("ExactVAEInfo", vae_name="all files of checkpoints/")


def test_a_file_that_was_replaced_is_described_anew(models):
    """A host keeps a result as long as IS_CHANGED says the same."""
    node = NODE_CLASS_MAPPINGS["ExactVAEInfo"]
    before = [node.IS_CHANGED(name) for name in ("small.safetensors", "all files of vae/")]
    assert before == [node.IS_CHANGED(name) for name in ("small.safetensors", "all files of vae/")]
    (models / "vae" / "small.safetensors").write_bytes(b"other")
    assert all(
        old != node.IS_CHANGED(name)
        for old, name in zip(before, ("small.safetensors", "all files of vae/"), strict=True)
    )
    assert node.IS_CHANGED("the VAE that is connected") == node.IS_CHANGED("pixel_space") == ""


def test_what_is_connected_is_described_as_it_is_loaded(models):
    vae = call("ExactVAELoader", vae_name="small.safetensors", dtype="bf16", device="cpu")
    info = text("ExactVAEInfo", vae_name="the VAE that is connected", vae=vae)
    assert "VAE:        small.safetensors" in info and "runs in:    bf16 on cpu" in info and "million" in info
    with pytest.raises(BadRequest, match="the VAE input holds no VAE"):
        call("ExactVAEInfo", vae_name="the VAE that is connected")


def saved(models, vae, prefix="vae/mine", **how):
    with host.surroundings(models, output=models / "out"):
        found = run_node("ExactVAESave", vae=vae, filename_prefix=prefix, **how)
    (file,) = found["ui"]["files"]
    path = models / "out" / file["subfolder"] / file["filename"]
    assert found["ui"]["text"] == [str(path)] and file["type"] == "output" and found["result"] == ()
    return path


def test_saved_files_count_up_and_load_to_the_same_vae(models, vae):
    first, second = saved(models, vae), saved(models, vae, layout="diffusers", dtype="fp16")
    assert [p.name for p in (first, second)] == ["mine_00001_.safetensors", "mine_00002_.safetensors"]
    assert inspect(first).layout == "ldm" and inspect(second).layout == "diffusers"
    assert inspect(second).dtypes.keys() == {"F16"}
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(load(first).decode(z), vae.decode(z))
    assert torch.allclose(load(second).decode(z), vae.decode(z), atol=0.05)


def test_nothing_is_saved_outside_of_the_output_folder(models, vae):
    with pytest.raises(BadRequest, match="lies outside the folder"):
        saved(models, vae, "../stray")
    assert not list(models.rglob("stray*"))


def test_a_graph_of_them_runs_without_comfyui(models):
    """The command line prints what was saved; so the runner must know it."""
    nodes = {
        "1": {"class_type": "VAELoader", "inputs": {"vae_name": "small.safetensors"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 19, "height": 13, "batch_size": 1, "color": 0x808080}},
        "3": {"class_type": "ExactVAECompare", "inputs": {"image": ["2", 0], "vae": ["1", 0], "mode": "both"}},
        "4": {"class_type": "ExactVAEInfo", "inputs": {"vae_name": "the VAE that is connected", "vae": ["1", 0]}},
        "5": {"class_type": "VAESave", "inputs": {"vae": ["1", 0], "filename_prefix": "vae/x"}},
    }
    core = headless.core_nodes(models, models / "out", models / "out", NODE_CLASS_MAPPINGS)
    with host.surroundings(models, output=models / "out"):
        found = headless.run(headless.parse(json.loads(json.dumps(nodes))), {**NODE_CLASS_MAPPINGS, **core})
    assert found.report.ok and set(found.outputs) >= {"3", "4", "5"}
    assert (models / "out" / "vae" / found.outputs["5"]["files"][0]["filename"]).is_file()
