"""VAE Doctor as a node, and what the other nodes then say."""

import json

import pytest
import torch
from exact_vae.nodes import host, vae_doctor
from exact_vae.vae_core import BadRequest, verdicts
from support import lying_devices
from support.node_calls import call, run_node, sample_image, text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(verdicts.VARIABLE, str(tmp_path / "cache"))
    lying_devices.examine_briefly(monkeypatch)


def test_what_it_shows_and_gives(vae):
    found = run_node("ExactVAEDoctor", vae=vae, width=64)
    report, facts, errors = found["result"]
    (shown,) = found["ui"]["text"]
    verdict, _, encode, decode = shown.splitlines()[:4]
    assert verdict.startswith("fp32 ") and "right on" in verdict and report.startswith(verdict)
    assert encode.startswith("fp32 encode: right (") and decode.startswith("fp32 decode: right (")
    assert shown.splitlines()[-1] == report.splitlines()[-1] and "the verdict is kept" in shown
    assert {t["width"] for t in json.loads(facts)["trials"]} == {64}
    assert errors.ndim == 4 and errors.shape[-1] == 3 and errors.dtype is torch.float32


def test_under_inference_mode_as_the_host_runs_nodes(vae):
    with torch.inference_mode():
        assert "right on" in text("ExactVAEDoctor", vae=vae, width=64)


def test_the_nodes_say_when_they_go_around(models, monkeypatch):
    half = call("ExactVAELoader", vae_name="small.safetensors", dtype="bf16")
    lying_devices.replace_conv2d(monkeypatch, torch.float32, lying_devices.add_error)
    whole = call("ExactVAELoader", vae_name="small.safetensors", dtype="fp32")
    assert "fp32 encode is wrong" in text("ExactVAEDoctor", vae=whole, width=64)
    image = sample_image(24, 32)
    said = text("ExactVAEEncode", pixels=image, vae=whole)
    assert "; the Doctor found fp32 encode wrong on " in said and said.endswith("so it runs in fp64")
    exact = call("ExactVAELoader", vae_name="small.safetensors", dtype="fp64")
    latents = [call("ExactVAEEncode", pixels=image, vae=one)["samples"] for one in (whole, exact)]
    assert torch.equal(*latents)
    assert "Doctor" not in text("ExactVAEEncode", pixels=image, vae=half)  # of which nothing is known
    forgotten = text("ExactVAEDoctor", vae=whole, width=64, keep_verdict=False)
    assert "No verdict is kept" in forgotten
    again = call("ExactVAELoader", vae_name="small.safetensors", dtype="fp32")
    assert "Doctor" not in text("ExactVAEEncode", pixels=image, vae=again)


def test_tiles_go_around_too(models, monkeypatch):
    lying_devices.replace_conv2d(monkeypatch, torch.float32, lying_devices.add_error)
    whole = call("ExactVAELoader", vae_name="small.safetensors", dtype="fp32")
    run_node("ExactVAEDoctor", vae=whole, width=64)
    said = text("ExactVAETiledEncode", pixels=sample_image(96, 96), vae=whole, mode="blended approximate",
                tile_size=64, overlap=16)  # fmt: skip
    assert said.startswith("approximate, in 4 blended tiles") and said.endswith("so it runs in fp64")


def test_a_vae_that_the_host_runs_is_none_of_its_patients(monkeypatch):
    monkeypatch.setattr(host, "look", lambda thing: object())
    with pytest.raises(BadRequest, match="ComfyUI runs this VAE by its own code"):
        vae_doctor.make_ready(object(), 64)


def test_it_has_memory_made_free_for_the_larger_chart(monkeypatch, vae):
    asked = []
    monkeypatch.setattr(host, "from_socket", lambda *all: asked.append(all))
    vae_doctor.make_ready(vae, 608)
    (thing, half, shape), = asked  # fmt: skip
    assert thing is vae and half.verb == "decode" and shape == (1, 4, 114, 152)
