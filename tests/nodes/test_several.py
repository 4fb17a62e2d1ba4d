"""LATENTs that hold several latents: of a clip and of its sound."""

import pytest
import torch
from exact_vae.nodes.several import split_latents
from exact_vae.vae_core import BadRequest, LatentMismatch, NumericalOverflow
from exact_vae.vae_core.latents import Noise, Tag
from support.node_calls import call, latent, run_node, sample_image, text

NOISE = {"seed": 7, "width": 8, "height": 8, "batch_size": 1, "strength": 1.0}


class Nested:
    """As the host's own: known by `is_nested` and `unbind`."""

    is_nested = True

    def __init__(self, *tensors):
        self.tensors = tensors

    def unbind(self):
        return self.tensors


def tensors_of(samples):
    return [one["samples"] for one in split_latents(samples)]


@pytest.fixture
def clip(vae):
    """A latent that remembers an odd size."""
    return call("ExactVAEEncode", pixels=sample_image(21, 27), vae=vae)


@pytest.fixture
def sound():
    return latent(1, 8, 5, 16, seed=3)


@pytest.fixture
def both(clip, sound):
    return call("ExactJoinLatents", samples1=clip, samples2=sound)


def test_joined_and_split(clip, sound, both):
    assert both["samples"].is_nested and set(both) == {"samples", "exact_vae"}
    image, rest = run_node("ExactSplitLatent", samples=both)
    assert torch.equal(image["samples"], clip["samples"]) and image["exact_vae"] == clip["exact_vae"]
    assert set(rest) == {"samples"} and torch.equal(rest["samples"], sound["samples"])


def test_three_are_taken_apart_by_two(both):
    third = latent(1, 2, 3, seed=9)
    image, rest = run_node("ExactSplitLatent", samples=call("ExactJoinLatents", samples1=both, samples2=third))
    _, last = run_node("ExactSplitLatent", samples=rest)
    assert len(tensors_of(rest)) == 2 and torch.equal(last["samples"], third["samples"]) and "exact_vae" in image


def test_the_image_is_found_wherever_it_lies(clip, sound, vae):
    """By the channels of the VAE; without one, the first that may be one."""
    turned = call("ExactJoinLatents", samples1=latent(1, 64, 9), samples2=clip)
    assert torch.equal(run_node("ExactSplitLatent", samples=turned)[0]["samples"], clip["samples"])
    turned = call("ExactJoinLatents", samples1=sound, samples2=clip)
    assert call("ExactVAEDecode", samples=turned, vae=vae).shape == (1, 21, 27, 3)


def test_one_latent_is_not_split(clip):
    with pytest.raises(LatentMismatch, match="holds a single latent, so there is nothing to split"):
        run_node("ExactSplitLatent", samples=clip)


def test_each_keeps_its_mask(clip, sound):
    """The other one gets a mask of ones: a sampler works on all of it."""
    mask = torch.rand(1, 1, 24, 28)
    both = call("ExactJoinLatents", samples1=clip, samples2={**sound, "noise_mask": mask})
    masks = [one["noise_mask"] for one in split_latents(both)]
    assert torch.equal(masks[0], torch.ones(1, 1, 6, 7)) and torch.equal(masks[1], mask)


def test_what_core_s_nodes_made(clip, sound, vae):
    """They put the tensors of two latents into one dict, with the tag of one of them, and perhaps one mask for both."""
    for tag in ({}, {"exact_vae": clip["exact_vae"]}):
        made = {**sound, **tag, "samples": Nested(clip["samples"], sound["samples"]), "noise_mask": torch.ones(1, 6, 7)}
        image, rest = run_node("ExactSplitLatent", samples=made)
        assert image.get("exact_vae") == tag.get("exact_vae") and "exact_vae" not in rest
        assert "noise_mask" in image and "noise_mask" not in rest
        size = (21, 27) if tag else (24, 28)
        assert call("ExactVAEDecode", samples=made, vae=vae).shape == (1, *size, 3)


def test_two_images_keep_what_each_remembers(clip, vae):
    other = call("ExactVAEEncode", pixels=sample_image(30, 18), vae=vae)
    for one in run_node("ExactSplitLatent", samples=call("ExactJoinLatents", samples1=clip, samples2=other)):
        size = Tag.from_dict(one["exact_vae"]).size
        assert call("ExactVAEDecode", samples=one, vae=vae).shape == (1, *size, 3)


@pytest.mark.parametrize("node", ["ExactVAEDecode", "ExactVAETiledDecode", "ExactVAEDecodeOntoOriginal"])
def test_decoders_decode_the_image_s_and_say_so(clip, both, vae, node):
    image = {"image": sample_image(21, 27), "mask": torch.ones(1, 21, 27)} if "Onto" in node else {}
    want = call(node, samples=clip, vae=vae, **image)
    assert torch.equal(call(node, samples=both, vae=vae, **image), want)
    assert text(node, samples=both, vae=vae, **image).endswith("; of 2 latents, number 1, the image's")


@pytest.mark.parametrize("file_type", [".latent", ".safetensors"])
def test_saved_and_loaded_whole(folders, clip, sound, file_type):
    masked = {**sound, "noise_mask": torch.rand(1, 1, 5, 16)}
    given = call("ExactJoinLatents", samples1=clip, samples2=masked)
    run_node("ExactSaveLatent", samples=given, filename_prefix="av", file_type=file_type)
    found = call("ExactLoadLatent", latent=f"av_00001_{file_type} [output]")
    before, after = split_latents(given), split_latents(found)
    assert len(after) == 2 and set(found) == set(given)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one["samples"], other["samples"]) and torch.equal(one["noise_mask"], other["noise_mask"])
    assert Tag.from_dict(after[0]["exact_vae"]) == Tag.from_dict(clip["exact_vae"]) and "exact_vae" not in after[1]


def test_all_of_it_is_inspected(both, vae):
    for vae_or_none in (None, vae):
        found = run_node("ExactLatentInspect", samples=both, vae=vae_or_none)["result"]
        lines = found[0].split("\n")
        assert lines[0] == "of 2 latents, number 1, the image's" and "image: 27x21" in lines
        assert lines[-1].startswith("beside it: (1, 8, 5, 16), float32; mean ")
        assert found[2].shape == (1, 24, 28, 3)


def test_the_image_s_is_converted_and_the_sound_stays(clip, sound, both):
    found = call("ExactConvertLatent", samples=both, to="scaled", latent_space="sd1")
    want = call("ExactConvertLatent", samples=clip, to="scaled", latent_space="sd1")
    image, rest = run_node("ExactSplitLatent", samples=found)
    assert torch.equal(image["samples"], want["samples"]) and image["exact_vae"] == want["exact_vae"]
    assert torch.equal(rest["samples"], sound["samples"])


def test_each_is_interpolated_with_its_own(clip, sound, both):
    other = call("ExactJoinLatents", samples1=latent(1, 4, 6, 7), samples2=latent(1, 8, 5, 16))
    found = call("ExactLatentInterpolate", samples1=both, samples2=other, ratio=0.25)
    for i, one in enumerate((clip, sound)):
        alone = {"samples1": one, "samples2": {"samples": tensors_of(other)[i]}, "ratio": 0.25}
        assert torch.equal(tensors_of(found)[i], call("ExactLatentInterpolate", **alone)["samples"])
    with pytest.raises(LatentMismatch, match="hold 2 and 1 latents: both need as many"):
        call("ExactLatentInterpolate", samples1=both, samples2=clip, ratio=0.5)


@pytest.mark.parametrize("seeds", ["single", "increment"])
def test_noise_for_each_comes_from_one_stream(clip, both, seeds):
    """As core draws it. Drawn from the seed again, the sound's would be the numbers of the clip's."""
    how = {"seed": 4, "width": 8, "height": 8, "batch_size": 1, "strength": 1.0, "batch_seeds": seeds}
    made, sampler = run_node("ExactLatentNoise", samples=both, **how)["result"]
    stream = torch.Generator().manual_seed(4)
    want = [torch.randn(z.shape, generator=stream) for z in tensors_of(both)]
    for found in (tensors_of(made), sampler.generate_noise(both).unbind()):
        assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    added, _ = run_node("ExactLatentNoise", samples=both, add_to_samples=True, **how)["result"]
    assert torch.equal(tensors_of(added)[0], clip["samples"] + want[0]) and set(added) == set(both)
    assert torch.equal(sampler.generate_noise(clip), Noise(4).draw(clip["samples"].shape))


def test_what_is_broken_is_named(both, vae):
    tensors_of(both)[1][0, 0, 0, 0] = float("nan")
    with pytest.raises(NumericalOverflow, match="the latent of 'samples' holds NaN"):
        run_node("ExactVAEDecode", samples=both, vae=vae)
    assert "are NaN or infinite" in text("ExactLatentInspect", samples=both)
    for strange in (Nested(), Nested("sound"), Nested(torch.ones(1, 4, 2, 2).int())):
        with pytest.raises(LatentMismatch):
            run_node("ExactVAEDecode", samples={"samples": strange}, vae=vae)


def test_one_nested_latent_is_decoded(clip, vae):
    nested = {**clip, "samples": Nested(clip["samples"])}
    assert torch.equal(call("ExactVAEDecode", samples=nested, vae=vae), call("ExactVAEDecode", samples=clip, vae=vae))


@pytest.mark.parametrize("shape", [(1, 8, 10), (2, 5), (1, 64, 16)], ids=["sound", "numbers", "packed"])
@pytest.mark.parametrize("with_vae", [False, True])
def test_what_is_no_image_is_inspected(vae, shape, with_vae):
    found = run_node("ExactLatentInspect", samples=latent(*shape), **({"vae": vae} if with_vae else {}))
    report, channels, preview = found["result"]
    assert report.startswith(f"{shape}, float32; mean ") and channels.isfinite().all() and preview.isfinite().all()
    with pytest.raises(LatentMismatch, match="has 2 to 5 dimensions"):
        run_node("ExactLatentInspect", samples=latent(1, 4, 2, 2, 2, 2))


def test_numbers_whose_squares_overflow_are_drawn():
    x = latent(1, 4, 8, 8)
    report, channels, preview = run_node("ExactLatentInspect", samples={"samples": x["samples"] * 1e30})["result"]
    assert "warning" in report or "channel" in report
    assert channels.isfinite().all() and preview.isfinite().all() and preview.std() > 0.1


@pytest.mark.parametrize("index", [5, ["a", None], [1.5, 2.5], torch.tensor([0.5])], ids=str)
def test_numbers_of_items_that_are_none(folders, index):
    broken = {**latent(2, 4, 4, 4), "batch_index": index}
    for node, inputs in (("ExactLatentNoise", NOISE), ("ExactSaveLatent", {"filename_prefix": "x"})):
        with pytest.raises(BadRequest, match=r"this latent's batch_index is .*: a whole number for each item"):
            run_node(node, samples=broken, **inputs)


def test_numbers_of_items_in_a_tensor(folders):
    x = latent(2, 4, 4, 4)
    given = [{**x, "batch_index": index} for index in (torch.tensor([3, 4]), [3, 4], None)]
    drawn = [call("ExactLatentNoise", samples=one, **NOISE)["samples"] for one in given]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_nothing_is_joined_with_nothing(clip):
    with pytest.raises(LatentMismatch):
        call("ExactJoinLatents", samples1=clip, samples2=None)
