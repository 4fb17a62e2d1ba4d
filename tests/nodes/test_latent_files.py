"""The nodes that save and load latents, without ComfyUI."""

import json

import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS
from exact_vae.nodes import host
from exact_vae.vae_core import BadRequest
from safetensors.torch import load_file, save_file
from support.node_calls import TAG, call, latent, run_node, sample_image


@pytest.mark.parametrize("file_type", [".latent", ".safetensors"])
def test_saved_and_loaded(folders, vae, file_type):
    given = call("ExactVAEEncode", pixels=sample_image(), vae=vae)
    given = {**given, "noise_mask": torch.rand(1, 1, 20, 28), "batch_index": [7]}
    how = {"samples": given, "filename_prefix": "deep/er/x", "file_type": file_type, "prompt": {"1": 2}}
    (shown,) = run_node("ExactSaveLatent", **how)["ui"]["latents"]
    assert shown == {"filename": f"x_00001_{file_type}", "subfolder": "deep/er", "type": "output"}
    (names, _) = NODE_CLASS_MAPPINGS["ExactLoadLatent"].INPUT_TYPES()["required"]["latent"]
    assert names == [f"deep/er/x_00001_{file_type} [output]"]
    found = call("ExactLoadLatent", latent=names[0])
    assert torch.equal(found["samples"], given["samples"]) and torch.equal(found["noise_mask"], given["noise_mask"])
    assert found["batch_index"] == [7]
    assert json.dumps(found["exact_vae"]) == json.dumps(given["exact_vae"]) and len(found["exact_vae"]["vae"]) == 16
    image = call("ExactVAEDecode", samples=found, vae=vae)
    assert torch.equal(image, call("ExactVAEDecode", samples=given, vae=vae))
    assert run_node("ExactSaveLatent", **how)["ui"]["latents"][0]["filename"] == f"x_00002_{file_type}"


def test_without_a_file_the_menu_and_the_error_say_so(folders):
    cls = NODE_CLASS_MAPPINGS["ExactLoadLatent"]
    ((shown,), _) = cls.INPUT_TYPES()["required"]["latent"]
    assert shown == "no latent is there yet"
    assert "save one with Save Latent (Exact)" in cls.VALIDATE_INPUTS(shown)


def test_half_precision_is_saved_as_it_is(folders):
    call_it = {"samples": {"samples": torch.ones(1, 4, 2, 2).half()}, "filename_prefix": "h"}
    run_node("ExactSaveLatent", **call_it)
    assert load_file(folders / "out" / "h_00001_.latent")["latent_tensor"].dtype is torch.float16


def test_core_s_files_are_loaded(folders):
    (folders / "in" / "sub").mkdir(parents=True)
    one = torch.ones(1, 4, 2, 2)
    save_file({"latent_tensor": one, "latent_format_version_0": torch.zeros(0)}, folders / "in" / "core.latent")
    save_file({"latent_tensor": one}, folders / "in" / "sub" / "old.latent")
    assert host.list_files((".latent",)) == ["core.latent", "sub/old.latent"]
    assert torch.equal(call("ExactLoadLatent", latent="core.latent")["samples"], one)
    old = call("ExactLoadLatent", latent="sub/old.latent")
    assert set(old) == {"samples"} and old["samples"][0, 0, 0, 0].item() == pytest.approx(1 / 0.18215)


def test_a_note_that_does_not_fit_is_left_out(folders):
    (folders / "in").mkdir()
    for name, tag in (("channels", {**TAG, "channels": 16}), ("text", "{"), ("nothing", None)):
        metadata = {"exact_vae": json.dumps(tag) if tag != "{" else tag, "batch_index": "[1, 2]"}
        save_file({"latent": torch.ones(1, 4, 8, 8)}, folders / "in" / f"{name}.safetensors", metadata=metadata)
        assert set(call("ExactLoadLatent", latent=f"{name}.safetensors")) == {"samples"}
    save_file({"latent": torch.ones(1, 4, 9, 8)}, folders / "in" / "resized.safetensors",
              metadata={"exact_vae": json.dumps(TAG)})  # fmt: skip
    assert "size" not in call("ExactLoadLatent", latent="resized.safetensors")["exact_vae"]


def test_names_that_lead_nowhere(folders):
    node = NODE_CLASS_MAPPINGS["ExactLoadLatent"]
    assert "there is no file 'x.latent' in the input folder" in node.VALIDATE_INPUTS("x.latent")
    assert "lies outside the folder" in node.VALIDATE_INPUTS("../x.latent [output]")
    assert node.VALIDATE_INPUTS(None) is True
    with pytest.raises(BadRequest, match="lies outside the folder"):
        run_node("ExactSaveLatent", samples=latent(1, 4, 2, 2), filename_prefix="../../x")


def test_the_menu_sees_new_files(folders):
    assert host.list_files((".latent",)) == []
    run_node("ExactSaveLatent", samples=latent(1, 4, 2, 2), filename_prefix="a/x")
    run_node("ExactSaveLatent", samples=latent(1, 4, 2, 2), filename_prefix="a/x")
    assert host.list_files((".latent",)) == ["a/x_00001_.latent [output]", "a/x_00002_.latent [output]"]
