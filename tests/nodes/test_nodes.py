"""The nodes without ComfyUI: called as a graph calls them."""

import shutil

import pytest
import torch
from exact_vae.nodes import NODE_CLASS_MAPPINGS, host
from exact_vae.nodes.host import socket
from exact_vae.vae_core import BadPixels, BadRequest, LatentMismatch, UnsupportedCheckpoint, load
from exact_vae.vae_core.checkpoints import built_in
from exact_vae.vae_core.families import tiny_video
from safetensors.torch import save_file
from support.node_calls import call, sample_image, text
from support.random_networks import random_weights, small_kl


def test_what_can_be_chosen(models):
    (names, _) = NODE_CLASS_MAPPINGS["ExactVAELoader"].INPUT_TYPES()["required"]["vae_name"]
    assert sorted(names) == sorted(
        ["small.safetensors", "sub/other.safetensors", "taesd", "mine", "alone_decoder.safetensors", "pixel_space",
         built_in.NAME, "checkpoints/full.safetensors"]
    )  # fmt: skip


def test_the_built_in_vae_is_the_default_where_there_is_no_other(tmp_path):
    with host.surroundings(tmp_path):
        (names, _) = NODE_CLASS_MAPPINGS["ExactVAELoader"].INPUT_TYPES()["required"]["vae_name"]
        vae = call("ExactVAELoader", vae_name=names[0])
    assert names == [built_in.NAME, "pixel_space"]
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(vae.decode(z), load(built_in.VAE_FILE).decode(z))


@pytest.mark.parametrize("name", ["small.safetensors", "sub/other.safetensors", "checkpoints/full.safetensors"])
def test_loads_what_can_be_chosen(models, kl_file, name):
    z = torch.randn(1, 4, 3, 3)
    assert torch.equal(call("ExactVAELoader", vae_name=name).decode(z), load(kl_file).decode(z))


def test_what_several_images_are_is_kept_for_nodes_without_a_say(models):
    made = [call("ExactVAELoader", vae_name="small.safetensors", frames=one) for one in ("clip", "separate images")]
    assert [vae.separate_images for vae in made] == [False, True]


def test_tiny_halves_are_loaded_together_in_their_models_space(models):
    """By the author's name for SD 1, raw latents are 1 / 0.18215 of the network's own."""
    known, unknown = (call("ExactVAELoader", vae_name=name) for name in ("taesd", "mine"))
    x = torch.rand(1, 3, 16, 16)
    assert torch.allclose(known.encode(x).mode() * 0.18215, unknown.encode(x).mode(), atol=1e-6)
    assert call("ExactVAELoader", vae_name="alone_decoder.safetensors").config.parts == ("decoder",)


def test_a_tiny_vae_is_told_whose_latents_it_reads(models):
    z = torch.randn(1, 4, 3, 3)
    known, told = (call("ExactVAELoader", vae_name=name, **{"latent_space": space})
                   for name, space in (("taesd", "automatic"), ("mine", "sd1")))  # fmt: skip
    assert torch.equal(known.decode(z), told.decode(z)) and told.latent_space == "sd1"
    assert not torch.allclose(call("ExactVAELoader", vae_name="mine").decode(z), told.decode(z), atol=1e-3)
    for name, space in (("mine", "flux1"), ("small.safetensors", "sd1"), ("pixel_space", "sd1")):
        with pytest.raises(BadRequest, match=f"has no use for the latent space '{space}'"):
            call("ExactVAELoader", vae_name=name, latent_space=space)


def test_a_vae_that_is_not_run_here_is_named(models):
    """That of KVAE 2.0 at 1/8."""
    weights = {"encoder.down.0.downsample.temporal_conv.0.conv.weight": torch.zeros(32, 32, 2, 1, 1)}
    assert socket._detect_weights(weights) is None  # nodes call core's methods
    save_file(weights, models / "vae" / "other.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match=r"'.*other\.safetensors': this is the VAE of KVAE 3-D 2\.0"):
        call("ExactVAELoader", vae_name="other.safetensors")


def test_all_spaces_of_tiny_vaes_can_be_told():
    """A space is there if a tiny VAE is published for it, and no other."""
    (told, options) = NODE_CLASS_MAPPINGS["ExactVAELoader"].INPUT_TYPES()["optional"]["latent_space"]
    assert set(told) == {"automatic", "sd1", "sdxl", "sd3", "flux1", "flux2", "sana", "qwen-image-2.1", "wan21",
                         "wan22", "hunyuan-video", "hunyuan-video-15", "ltx-video", "mochi", "svd"}  # fmt: skip
    assert options["default"] == told[0]


def test_light_vaes_of_clips_are_read_as_such_if_asked(models):
    config = tiny_video.FAMILY.example
    save_file(random_weights("tiny_video", config), models / "vae_approx" / "clips.safetensors")
    z = torch.randn(1, config.z_channels, 2, 3, 3)
    plain, light = (call("ExactVAELoader", vae_name="clips.safetensors", light=light) for light in (False, True))
    assert torch.equal(light.decode(z), load(models / "vae_approx" / "clips.safetensors", light=True).decode(z))
    assert torch.equal(plain.decode(z), load(models / "vae_approx" / "clips.safetensors").decode(z))
    assert not torch.allclose(light.decode(z), plain.decode(z), atol=1e-2)
    for name in ("small.safetensors", "taesd", "pixel_space"):
        with pytest.raises(BadRequest, match="cannot be read as LightX2V's tiny VAE of clips"):
            call("ExactVAELoader", vae_name=name, light=True)


@pytest.mark.parametrize(
    "name", ["none.safetensors", "../vae/small.safetensors", "checkpoints/../vae/small.safetensors", "notes.txt"]
)
def test_a_name_that_is_not_listed(models, name):
    with pytest.raises(BadRequest, match="there is no"):
        call("ExactVAELoader", vae_name=name)


@pytest.mark.parametrize("size", [(20, 28), (21, 27), (3, 2)])
def test_an_image_of_any_size_comes_back_in_its_size(vae, size):
    latent = call("ExactVAEEncode", pixels=sample_image(*size), vae=vae)
    assert latent["samples"].shape == (1, 4, -(-size[0] // 4), -(-size[1] // 4))
    for node in ("ExactVAEDecode", "ExactVAETiledDecode"):
        image = call(node, samples=latent, vae=vae)
        assert image.shape == (1, *size, 3)
        assert image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize("keep", ["automatic", "device", "system memory", "disk"])
@pytest.mark.parametrize("tile_size", [64, 96])
def test_exact_tiles_do_not_change_the_image(vae, tile_size, keep):
    image, how = sample_image(150, 37), {"tile_size": tile_size, "keep": keep}
    latent, tiled = (
        call("ExactVAEEncode", pixels=image, vae=vae),
        call("ExactVAETiledEncode", pixels=image, vae=vae, **how),
    )
    assert torch.allclose(tiled["samples"], latent["samples"], atol=1e-5) and tiled["exact_vae"] == latent["exact_vae"]
    whole = call("ExactVAEDecode", samples=latent, vae=vae)
    assert torch.allclose(call("ExactVAETiledDecode", samples=latent, vae=vae, **how), whole, atol=1e-5)
    blended = call("ExactVAETiledDecode", samples=latent, vae=vae, tile_size=64, overlap=32, mode="blended approximate")
    assert blended.shape == whole.shape and (blended - whole).abs().max() > 1e-2


def test_a_tiled_encode_samples_as_the_plain_one_does(vae):
    how = {"pixels": sample_image(), "vae": vae, "posterior": "sample", "seed": 3}
    plain, tiled = call("ExactVAEEncode", **how), call("ExactVAETiledEncode", **how)
    assert torch.equal(plain["samples"], tiled["samples"])


def test_nodes_show_how_they_ran(vae):
    image = sample_image(150, 37)
    latent = call("ExactVAEEncode", pixels=image, vae=vae)
    for part, given in (("Encode", {"pixels": image}), ("Decode", {"samples": latent})):
        assert text(f"ExactVAE{part}", vae=vae, **given).startswith("exact, in one piece, up to ")
        tiled = {"vae": vae, "tile_size": 64, **given}
        assert text(f"ExactVAETiled{part}", **tiled).startswith("exact, in 3 strips, up to ")
        assert text(f"ExactVAETiled{part}", keep="disk", **tiled).endswith(" of disk")
        assert text(f"ExactVAETiled{part}", mode="blended approximate", overlap=16, **tiled).startswith(
            "approximate, in 3 blended tiles, up to "
        )
        at_once = text(f"ExactVAETiled{part}", vae=vae, **given)  # in strips of 512 rows and more: all
        assert at_once.startswith("exact, in one piece, up to ")


def test_tiles_that_cannot_be(vae):
    how = {"samples": {"samples": torch.ones(1, 4, 20, 20)}, "vae": vae, "tile_size": 64, "overlap": 64}
    with pytest.raises(BadRequest, match="tiles of 64 pixels cannot overlap by 64: choose an overlap"):
        call("ExactVAETiledDecode", mode="blended approximate", **how)
    assert call("ExactVAETiledDecode", **how).shape == (1, 80, 80, 3)  # which exact does not ask for


def test_nodes_equal_the_library(vae):
    image = sample_image(21, 27)
    latent = call("ExactVAEEncode", pixels=image, vae=vae)
    posterior = vae.encode(image.movedim(-1, 1) * 2 - 1)
    assert torch.equal(latent["samples"], posterior.mode())
    want = ((vae.decode(posterior.mode(), size=(21, 27)) + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert torch.equal(call("ExactVAEDecode", samples=latent, vae=vae), want)


def test_the_size_is_forgotten_when_the_latent_is_resized(vae):
    latent = call("ExactVAEEncode", pixels=sample_image(21, 27), vae=vae)
    larger = {**latent, "samples": latent["samples"].repeat_interleave(2, -1).repeat_interleave(2, -2)}
    assert call("ExactVAEDecode", samples=larger, vae=vae).shape == (1, 48, 56, 3)


def test_a_sample_is_made_by_its_seed(vae):
    def latent(**how):
        return call("ExactVAEEncode", pixels=sample_image(), vae=vae, **how)["samples"]

    assert torch.equal(latent(posterior="sample", seed=1), latent(posterior="sample", seed=1))
    assert not torch.equal(latent(posterior="sample", seed=1), latent(posterior="sample", seed=2))
    assert torch.equal(latent(seed=1), latent(seed=2))
    want = vae.encode(sample_image().movedim(-1, 1) * 2 - 1).sample(torch.Generator().manual_seed(1))
    assert torch.equal(latent(posterior="sample", seed=1), want)


def test_grey_and_alpha(vae):
    rgb = sample_image()
    rgba = torch.cat([rgb, torch.rand(1, 20, 28, 1)], -1)
    grey = rgb[..., :1]
    one = call("ExactVAEEncode", pixels=rgb, vae=vae)["samples"]
    assert torch.equal(call("ExactVAEEncode", pixels=rgba, vae=vae)["samples"], one)
    want = call("ExactVAEEncode", pixels=grey.repeat(1, 1, 1, 3), vae=vae)["samples"]
    assert torch.equal(call("ExactVAEEncode", pixels=grey, vae=vae)["samples"], want)


def test_a_clip_s_frames_follow_one_another(vae):
    latent = torch.randn(2, 4, 3, 2, 2)
    image = call("ExactVAEDecode", samples={"samples": latent}, vae=vae)
    assert image.shape == (6, 8, 8, 3)
    single = call("ExactVAEDecode", samples={"samples": latent[1:, :, 2]}, vae=vae)
    assert torch.allclose(image[5], single[0], atol=1e-5)


def test_bad_input_gets_a_sentence(vae):
    with pytest.raises(LatentMismatch, match="this latent has 16 channels"):
        call("ExactVAEDecode", samples={"samples": torch.zeros(1, 16, 2, 2)}, vae=vae)
    with pytest.raises(LatentMismatch, match="this LATENT holds list instead of the latent of an image"):
        call("ExactVAEDecode", samples={"samples": []}, vae=vae)
    tag = {"family": "kl", "channels": 4, "ratio": 8, "latent": [2, 2], "size": [16, 16]}
    with pytest.raises(LatentMismatch, match=r"made by a VAE of the family 'kl' at 1/8 \(SD 1.x.* works at 1/4"):
        call("ExactVAEDecode", samples={"samples": torch.zeros(1, 4, 2, 2), "exact_vae": tag}, vae=vae)
    with pytest.raises(BadPixels, match="the images of 'pixels' hold NaN or infinity"):
        call("ExactVAEEncode", pixels=torch.full((1, 8, 8, 3), float("nan")), vae=vae)
    with pytest.raises(BadPixels, match="the images of 'pixels' reach 255"):
        call("ExactVAEEncode", pixels=torch.full((1, 8, 8, 3), 255.0), vae=vae)
    with pytest.raises(BadPixels, match=r"this IMAGE has the shape \(8, 8, 3\)"):
        call("ExactVAEEncode", pixels=torch.zeros(8, 8, 3), vae=vae)
    with pytest.raises(BadRequest, match="the VAE input holds no VAE"):
        call("ExactVAEDecode", samples={"samples": torch.zeros(1, 4, 2, 2)}, vae=None)


def test_progress_is_told(models, vae):
    calls = []
    with host.surroundings(models, lambda done, total: calls.append((done, total))):
        call("ExactVAEDecode", samples={"samples": torch.ones(1, 4, 2, 2)}, vae=vae)
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1] > 10


@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16", "fp16", "fp64"])
def test_dtypes(models, dtype):
    vae = call("ExactVAELoader", vae_name="small.safetensors", dtype=dtype, device="cpu")
    want = {"bf16": torch.bfloat16, "fp64": torch.float64}.get(dtype, torch.float32)
    assert vae.dtype is want
    latent = call("ExactVAEEncode", pixels=sample_image(), vae=vae)
    assert latent["samples"].dtype is torch.float32
    assert call("ExactVAEDecode", samples=latent, vae=vae).dtype is torch.float32


def test_the_menu_lists_the_devices_that_are_there(monkeypatch):
    def offered() -> list[str]:
        return NODE_CLASS_MAPPINGS["ExactVAELoader"].INPUT_TYPES()["optional"]["device"][0]

    for kind in (torch.cuda, torch.xpu):
        monkeypatch.setattr(kind, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert offered() == ["auto", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert offered() == ["auto", "cpu", "cuda:0", "cuda:1", "mps"]


def test_a_device_of_somebody_else_s_machine(models, monkeypatch):
    """A workflow that names it runs on what is there, and the node says so; what is no device is refused."""
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    shown = text("ExactVAELoader", vae_name="small.safetensors", device="xpu:3")
    assert shown.startswith("4 channels at 1/4, fp32 on c") and shown.endswith("; this machine has no xpu:3")
    assert "no cpu" not in text("ExactVAELoader", vae_name="small.safetensors", device="cpu")
    allowed = NODE_CLASS_MAPPINGS["ExactVAELoader"].VALIDATE_INPUTS
    assert all(allowed(device=name) is True for name in ("auto", "cpu", "cuda:1", "cuda", "xpu:0", "mps", None))
    for wrong in ("gpu", "cuda:", "cuda:1; x", ""):
        assert allowed(device=wrong).startswith(f"there is no device '{wrong}': choose auto, cpu")
    with pytest.raises(BadRequest, match="the device 'gpu' cannot be used"):
        call("ExactVAELoader", vae_name="small.safetensors", device="gpu")


def test_taef2_on_a_photograph(taef2, photo, tmp_path):
    folder = tmp_path / "real" / "vae_approx"
    folder.mkdir(parents=True)
    for half in taef2:
        shutil.copy(half, folder)
    with host.surroundings(tmp_path / "real"):
        vae = call("ExactVAELoader", vae_name="taef2")
    image = call("ExactVAEDecode", samples=call("ExactVAEEncode", pixels=photo[:, :251, :301], vae=vae), vae=vae)
    mse = (image - photo[:, :251, :301]).square().mean()
    assert 10 * torch.log10(1 / mse) > 30  # dB; measured: 32.4


def test_a_vae_without_its_quant_convs_is_its_own_config(models):
    save_file(
        random_weights("kl", small_kl(quant_conv=False, post_quant_conv=False)), models / "vae" / "bare.safetensors"
    )
    assert call("ExactVAELoader", vae_name="bare.safetensors").config == small_kl(
        quant_conv=False, post_quant_conv=False
    )
