"""The nodes that work on latents, without ComfyUI."""

from types import SimpleNamespace

import pytest
import torch
from exact_vae import NODE_CLASS_MAPPINGS, headless
from exact_vae.nodes import geometry
from exact_vae.nodes.host import HostVAE
from exact_vae.vae_core import BadRequest, LatentMismatch, from_weights
from exact_vae.vae_core.families import ClipLaw
from exact_vae.vae_core.latents.noise import Noise
from exact_vae.vae_core.latents.spaces import SPACES
from support.node_calls import TAG, call, latent, run_node, sample_image, text
from support.random_networks import random_weights, small_kl

SIZE = {"width": 30, "height": 18, "batch_size": 2}


def noise(**how):
    return call("ExactLatentNoise", **{"seed": 3, **SIZE, "strength": 1.0} | how)


def test_noise_takes_the_shape_of_a_vae_or_a_latent(vae):
    assert noise(vae=vae)["samples"].shape == (2, 4, 5, 8)
    assert noise(channels=16, ratio=8)["samples"].shape == (2, 16, 3, 4)
    assert noise(samples={"samples": torch.zeros(1, 16, 5, 3, 3)})["samples"].shape == (1, 16, 5, 3, 3)
    assert torch.equal(noise(vae=vae, strength=2.0)["samples"], 2 * noise(vae=vae)["samples"])
    assert torch.equal(noise(vae=vae)["samples"][1], noise(vae=vae, seed=4, batch_size=1)["samples"][0])
    torch.manual_seed(3)
    assert torch.equal(noise(vae=vae, batch_seeds="single")["samples"], torch.randn(2, 4, 5, 8))


def test_noise_remembers_the_size(vae):
    assert call("ExactVAEDecode", samples=noise(vae=vae), vae=vae).shape == (2, 18, 30, 3)
    assert "exact_vae" not in noise(channels=4)


def test_noise_is_its_recipe(vae):
    how = {"source": "nvidia", "batch_seeds": "same", "spectrum": "pink", "variation_seed": 5,
           "variation_strength": 0.2}  # fmt: skip
    assert torch.equal(noise(vae=vae, **how)["samples"], Noise(3, **how).draw((2, 4, 5, 8)))


def test_strength_0_is_an_empty_latent(vae):
    empty = noise(vae=vae, strength=0.0)
    assert empty["samples"].abs().max() == 0 and empty["downscale_ratio_spacial"] == 4


def test_the_node_says_the_size_it_took(vae):
    """Whatever width and height say, if samples is connected."""
    sizes = {"width": 60, "height": 44, "batch_size": 2}
    assert text("ExactLatentNoise", seed=1, strength=1.0, vae=vae, **sizes) == (
        "2 latents, 4 channels, 15 x 11, for 60 x 44 pixels"
    )
    how = {"seed": 1, "strength": 1.0, **sizes}
    assert text("ExactLatentNoise", **how, channels=16) == "2 latents, 16 channels, 8 x 6"
    assert text("ExactLatentNoise", **how, samples=latent(1, 16, 3, 5, 7)) == (
        "1 latent, 16 channels, 7 x 5, 3 latent frames"
    )


def test_noise_for_samplers(vae):
    """What a NOISE socket carries: drawn in the shape of the latent that is sampled, of variance 1."""
    _, found = run_node("ExactLatentNoise", seed=3, **SIZE, strength=0.5, vae=vae)["result"]
    assert found.seed == 3
    given = {"samples": torch.zeros(3, 16, 2, 2)}
    assert torch.equal(found.generate_noise(given), Noise(3).draw((3, 16, 2, 2)))
    taken = {"samples": torch.zeros(2, 16, 2, 2), "batch_index": [2, 0]}
    assert torch.equal(found.generate_noise(taken), Noise(3).draw((3, 16, 2, 2))[[2, 0]])
    assert found.generate_noise({"samples": torch.zeros(1, 4, 2, 2).half()}).dtype is torch.float16


def test_noise_is_added():
    given = latent(2, 4, 8, 8, noise_mask=torch.ones(1), exact_vae=TAG)
    kept = given["samples"].clone()
    found = noise(samples=given, strength=0.5, add_to_samples=True)
    assert torch.allclose(found["samples"], kept + 0.5 * Noise(3).draw((2, 4, 8, 8)))
    assert set(found) == set(given) and found["exact_vae"]["size"] == (60, 61)
    alone = noise(samples=given)
    assert torch.equal(alone["samples"], Noise(3).draw((2, 4, 8, 8)))
    assert set(alone) == {"samples", "exact_vae"}
    assert torch.equal(given["samples"], kept)


def test_an_empty_latent_has_the_shape_of_its_vae_s(vae):
    empty = call("ExactEmptyLatent", vae=vae, **SIZE)
    assert empty["samples"].shape == (2, 4, 5, 8) and not empty["samples"].any()
    assert empty["downscale_ratio_spacial"] == 4 and empty["exact_vae"]["size"] == (18, 30)
    with pytest.raises(BadRequest, match="the VAE input holds no VAE"):
        call("ExactEmptyLatent", vae=None, **SIZE)


def test_frames_of_an_empty_latent():
    law = ClipLaw(first=1, step=4)
    clips = SimpleNamespace(clip_law=law, temporal_ratio=4, family="wan", latent_space="wan21", fingerprint="0" * 16)
    made = geometry.LatentGeometry(clips, 16, 8)
    shapes = {n: made.shape(1, 64, 64, n)[2] for n in (1, 4, 5, 8, 9, 81)}
    assert shapes == {1: 1, 4: 1, 5: 2, 8: 2, 9: 3, 81: 21}
    empty = made.make_empty(1, 60, 64, 9)
    assert empty["samples"].shape == (1, 16, 3, 8, 8) and empty["exact_vae"]["space"] == "wan21"


def test_frames_by_the_host_s_own_rule():
    thing = SimpleNamespace(output_channels=3, latent_channels=128, spacial_compression_encode=lambda: 32,
                            latent_dim=3, downscale_ratio=(lambda n: (n + 7) // 8, 32, 32))  # fmt: skip
    assert geometry.LatentGeometry(HostVAE(thing), 128, 32).shape(1, 64, 64, 17) == (1, 128, 3, 2, 2)
    thing.latent_dim = 2
    assert geometry.LatentGeometry(HostVAE(thing), 128, 32).shape(1, 64, 64, 17) == (1, 128, 2, 2)


def test_interpolation():
    a, b = latent(2, 4, 8, 8), latent(2, 4, 8, 8, seed=2)
    assert torch.allclose(call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=1.0)["samples"], a["samples"])
    assert torch.allclose(call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=0.0)["samples"], b["samples"])
    half = call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=0.25, method="lerp")["samples"]
    assert torch.allclose(half, 0.25 * a["samples"] + 0.75 * b["samples"])


def test_a_walk_is_a_batch():
    more = {"noise_mask": torch.ones(1), "batch_index": [0, 1], "exact_vae": TAG, "other": 1}
    a, b = latent(2, 4, 8, 8, **more), latent(2, 4, 8, 8, seed=2, exact_vae=TAG)
    found = call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=1.0, steps=4)
    assert found["samples"].shape == (8, 4, 8, 8)
    assert torch.allclose(found["samples"][[0, 3, 4, 7]], torch.stack([a["samples"], b["samples"]], 1).flatten(0, 1))
    assert set(found) == {"samples", "exact_vae", "other"}  # a mask of two items is none of eight
    assert set(call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=0.5)) == set(a)


def test_what_two_latents_remember_differently_is_forgotten():
    a = latent(1, 4, 8, 8, exact_vae=TAG)
    for other in ({**TAG, "size": [64, 64]}, None):
        b = latent(1, 4, 8, 8, seed=2, exact_vae=other)
        assert "exact_vae" not in call("ExactLatentInterpolate", samples1=a, samples2=b, ratio=0.5)
    scaled = latent(1, 4, 8, 8, exact_vae={**TAG, "convention": "scaled"})
    with pytest.raises(LatentMismatch, match="one of these latents is raw, the other scaled"):
        call("ExactLatentInterpolate", samples1=latent(1, 4, 8, 8), samples2=scaled, ratio=0.5)


def test_samples_of_a_posterior(vae):
    """Sample i is that of VAE Encode with seed + i; at temperature 0 all are the mode."""
    batch = torch.cat([sample_image(), sample_image().flip(1)])
    how = {"vae": vae, "pixels": batch, "seed": 5, "samples_per_image": 3}
    found = call("ExactLatentSample", temperature=1.0, **how)
    assert found["samples"].shape == (6, 4, 5, 7) and found["exact_vae"]["size"] == (20, 28)
    for i in range(3):
        want = call("ExactVAEEncode", pixels=batch, vae=vae, posterior="sample", seed=5 + i)["samples"]
        assert torch.equal(found["samples"][i::3], want)
    mode = call("ExactVAEEncode", pixels=batch, vae=vae)["samples"]
    assert torch.equal(call("ExactLatentSample", temperature=0.0, **how)["samples"][0::3], mode)
    assert "3 samples of each image; standard deviation " in text("ExactLatentSample", temperature=1.0, **how)


def test_a_vae_without_a_posterior_says_so(models):
    tiny = call("ExactVAELoader", vae_name="taesd")
    how = {"vae": tiny, "pixels": sample_image(16, 16), "seed": 5, "samples_per_image": 2, "temperature": 1.0}
    assert "this VAE gives a point for an image" in text("ExactLatentSample", **how)
    found = call("ExactLatentSample", **how)["samples"]
    assert torch.equal(found[0], found[1])


def test_samples_of_the_prior(vae):
    how = {"vae": vae, "seed": 5, "samples_per_image": 3, "temperature": 2.0, "width": 30, "height": 18}
    found = call("ExactLatentSample", **how)
    assert torch.equal(found["samples"], 2 * Noise(5).draw((3, 4, 5, 8)))
    assert call("ExactVAEDecode", samples=found, vae=vae).shape == (3, 18, 30, 3)
    assert "3 samples of the prior" in text("ExactLatentSample", **how)
    spread = call("ExactLatentSample", **how, latent_space="sd1")["samples"]
    assert torch.allclose(spread, found["samples"] / 0.18215)
    with pytest.raises(LatentMismatch, match=r"latents of SD 3\.x have 16 channels"):
        call("ExactLatentSample", **how, latent_space="sd3")


def convert(samples, to, **how):
    return call("ExactConvertLatent", samples=samples, to=to, **how)


def test_conversion_there_and_back():
    given = latent(2, 4, 8, 8, exact_vae={**TAG, "space": "sd1"}, noise_mask=torch.ones(1))
    scaled = convert(given, "scaled")
    assert torch.allclose(scaled["samples"], given["samples"] * 0.18215)
    assert scaled["exact_vae"]["convention"] == "scaled" and "noise_mask" in scaled
    back = convert(scaled, "raw")
    assert torch.allclose(back["samples"], given["samples"], atol=1e-6)
    facts = {name: value for name, value in back["exact_vae"].items() if name not in ("items", "marks")}
    assert {**facts, "latent": [8, 8], "size": [60, 61]} == {**TAG, "space": "sd1", "convention": "raw"}
    assert torch.allclose(convert(given, "raw", origin="scaled")["samples"], given["samples"] / 0.18215)


def test_whose_latent_it_is_must_be_known():
    with pytest.raises(BadRequest, match=r"models have latents with 4 channels: .* sd1 \(SD 1.x.*, sdxl \(SDXL"):
        convert(latent(1, 4, 8, 8), "scaled")
    with pytest.raises(BadRequest, match="no latent space with 7 channels is known"):
        convert(latent(1, 7, 8, 8), "scaled")
    wide = latent(1, 64, 2, 2)
    scaled, normal = (convert(wide, to, latent_space="qwen-image-2.1")["samples"] for to in ("scaled", "normalised"))
    assert torch.equal(scaled, normal) and not torch.equal(scaled, wide["samples"])
    mochi = convert(latent(1, 12, 2, 8, 8), "scaled")  # of 12 channels there is only one
    assert mochi["exact_vae"]["space"] == "mochi" and mochi["exact_vae"]["ratio"] == SPACES["mochi"].ratio


def test_scaled_latents_are_not_decoded(vae):
    sizes = {"samples": latent(1, 4, 5, 7), "latent_space": "sd1"}
    scaled = convert(sizes["samples"], "scaled", latent_space="sd1")
    scaled["exact_vae"]["ratio"] = 4  # as the small VAE's
    with pytest.raises(LatentMismatch, match=r"this latent is scaled, but '.*' takes raw ones: put"):
        call("ExactVAEDecode", samples=scaled, vae=vae)
    raw = convert(scaled, "raw")
    raw["exact_vae"]["ratio"] = 4
    assert call("ExactVAEDecode", samples=raw, vae=vae).shape == (1, 20, 28, 3)


def inspect(samples, **how):
    return run_node("ExactLatentInspect", samples=samples, **how)["result"]


def test_inspection(vae):
    encoded = call("ExactVAEEncode", pixels=sample_image(), vae=vae)
    report, channels, preview = inspect(encoded, vae=vae, scale=4)
    assert report.startswith("shape: (1, 4, 5, 7), float32\nof: a VAE of the family 'kl', at 1/4, raw")
    assert "image: 28x20" in report and report == text("ExactLatentInspect", samples=encoded, vae=vae)
    assert channels.shape[0] == 1 and channels.shape[-1] == 3
    assert preview.shape == (1, 20, 28, 3) and preview.min() >= 0 and preview.max() <= 1
    clip = inspect(latent(2, 16, 3, 4, 5), scale=2)
    assert clip[2].shape == (6, 8, 10, 3) and clip[1].shape[0] == 6


def test_inspection_without_a_vae_is_by_published_factors():
    """Or in false colours; of a latent that is not raw, as of the raw one."""
    given = latent(1, 4, 8, 8, exact_vae={**TAG, "space": "sd1"})
    false = inspect({"samples": given["samples"]})[2]
    assert not torch.allclose(inspect(given)[2], false)
    assert torch.allclose(inspect(convert(given, "scaled"))[2], inspect(given)[2], atol=1e-5)


def test_inspection_of_a_broken_latent(vae):
    broken = latent(1, 4, 8, 8)
    broken["samples"][0, 0, 0, 0] = float("nan")
    report, *images = inspect(broken, vae=vae)
    assert "1 of its 256 numbers are NaN or infinite" in report
    assert all(torch.isfinite(one).all() for one in images)


def test_inspection_names_another_vae(vae, tmp_path):
    other = from_weights({n: t * 1.01 for n, t in random_weights("kl", small_kl()).items()})
    encoded = call("ExactVAEEncode", pixels=sample_image(64, 64), vae=other)
    assert "another VAE made it" in inspect(encoded, vae=vae)[0]
    assert "another VAE made it" not in inspect(encoded, vae=other)[0]
    with pytest.raises(LatentMismatch, match="this latent has 16 channels, but the preview is for 4"):
        inspect(latent(1, 16, 8, 8), vae=vae)


def test_inputs_are_not_changed(vae):
    given = latent(1, 4, 8, 8, exact_vae={**TAG, "space": "sd1"}, noise_mask=torch.ones(1, 1, 8, 8))
    kept = {key: value.clone() if isinstance(value, torch.Tensor) else dict(value) for key, value in given.items()}
    noise(samples=given, add_to_samples=True)
    call("ExactLatentInterpolate", samples1=given, samples2=given, ratio=0.5)
    convert(given, "scaled")
    inspect(given)
    assert set(given) == set(kept) and given["exact_vae"] == kept["exact_vae"]
    assert all(torch.equal(given[key], kept[key]) for key in ("samples", "noise_mask"))


def test_a_graph_of_them_runs_headless(folders, vae):
    """Empty latent, noise, conversion, saving; then loading and decoding what was saved."""
    nodes = {
        "1": ("ExactVAELoader", {"vae_name": "small.safetensors"}),
        "2": ("ExactEmptyLatent", {"vae": ["1", 0], "width": 30, "height": 18, "batch_size": 1}),
        "3": ("ExactLatentNoise", {"seed": 1, **SIZE, "strength": 1.0, "samples": ["2", 0], "add_to_samples": True}),
        "4": ("ExactLatentInterpolate", {"samples1": ["3", 0], "samples2": ["3", 0], "ratio": 0.5, "steps": 2}),
        "5": ("ExactSaveLatent", {"samples": ["4", 0], "filename_prefix": "latents/x"}),
        "6": ("ExactLatentInspect", {"samples": ["4", 0], "vae": ["1", 0]}),
    }
    core = headless.core_nodes(folders / "in", folders / "out", folders / "temp", NODE_CLASS_MAPPINGS)

    def run(nodes):
        graph = {i: {"class_type": kind, "inputs": inputs} for i, (kind, inputs) in nodes.items()}
        return headless.run(headless.parse(graph), {**NODE_CLASS_MAPPINGS, **core})

    shown = run(nodes).outputs
    assert shown["5"]["latents"][0]["filename"] == "x_00001_.latent"
    assert "shape: (2, 4, 5, 8)" in shown["6"]["text"][0]
    again = {
        "1": nodes["1"],
        "2": ("ExactLoadLatent", {"latent": "latents/x_00001_.latent [output]"}),
        "3": ("VAEDecode", {"samples": ["2", 0], "vae": ["1", 0]}),
        "4": ("SaveImage", {"images": ["3", 0], "filename_prefix": "y"}),
    }
    assert len(run(again).outputs["4"]["images"]) == 2
    from PIL import Image

    assert Image.open(folders / "out" / "y_00001_.png").size == (30, 18)
