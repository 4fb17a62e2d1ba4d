"""Clips in the shapes in which ComfyUI passes them on."""

import pytest
import torch
from exact_vae.nodes import NODE_CLASS_MAPPINGS, images
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.families import ClipLaw, svd, tiny_video
from support.node_calls import sample_image
from support.random_networks import random_weights, small_kl
from support.small_networks import small


@pytest.fixture(scope="module")
def svd_vae():
    config = svd.SVDConfig(**vars(small_kl()))
    return from_weights(random_weights("svd", config), "svd")


@pytest.fixture(scope="module")
def taehv():
    return from_weights(random_weights("tiny_video", tiny_video.FAMILY.example), "taehv")


@pytest.fixture(scope="module")
def wan():
    return small("wan", torch.float32)


def run(node: str, **inputs):
    cls = NODE_CLASS_MAPPINGS[node]
    return getattr(cls(), cls.FUNCTION)(**inputs)["result"][0]


def test_a_clip_of_svd_is_a_batch_of_latents_and_is_decoded_as_one(svd_vae):
    image = torch.cat([sample_image(16, 16), sample_image(16, 16).flip(1), sample_image(16, 16).flip(2)])
    latent = run("ExactVAEEncode", pixels=image, vae=svd_vae)["samples"]
    assert latent.ndim == 4 and len(latent) == 3
    found = run("ExactVAEDecode", samples={"samples": latent}, vae=svd_vae)
    want = svd_vae.decode(latent.transpose(0, 1)[None])[0].transpose(0, 1)
    assert torch.allclose(found.movedim(-1, 1), ((want + 1) / 2).clamp(0, 1), atol=1e-5)
    alone = run("ExactVAEDecode", samples={"samples": latent[:1]}, vae=svd_vae)
    assert not torch.allclose(found[:1], alone, atol=1e-3)


def test_an_empty_clip_of_svd_is_a_batch(svd_vae):
    cls = NODE_CLASS_MAPPINGS["ExactEmptyLatent"]
    found = getattr(cls(), cls.FUNCTION)(vae=svd_vae, width=16, height=16, batch_size=1, length=5)
    made = found["result"][0] if isinstance(found, dict) else found[0]
    assert made["samples"].shape[0] == 5 and made["samples"].ndim == 4


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 7])
def test_as_many_frames_come_back_as_were_given(wan, frames):
    """The clip is continued to a number that the VAE has latent frames for; what was added is dropped."""
    image = torch.rand(frames, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    found = run("ExactVAEEncode", pixels=image, vae=wan)
    assert run("ExactVAEDecode", samples=found, vae=wan).shape == image.shape
    longer = {**found, "samples": torch.cat([found["samples"]] * 2, 2)}
    made = wan.decode(longer["samples"])
    assert len(run("ExactVAEDecode", samples=longer, vae=wan)) == made.shape[2]


def test_other_clips_are_one_latent(taehv):
    frames = torch.rand(5, 3, 16, 16)
    assert images.to_clip_pixels(frames, taehv).shape == (1, 3, 5, 16, 16)
    z = torch.zeros(5, taehv.latent_channels, 2, 2)
    assert images.to_clip_latent(z, taehv) is z and images.clip_shape(tuple(z.shape), taehv) == tuple(z.shape)
    assert images.clip_shape((5, 4, 2, 2), Fact(1)) == (1, 4, 5, 2, 2)
    assert [images.latent_frames(n, taehv) for n in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]
    assert [images.decoded_frames(n, taehv) for n in (0, 1, 2, 3)] == [0, 1, 5, 9]


class Fact:
    """Of a VAE: frames to a latent frame, and how its clips begin."""

    def __init__(self, ratio: int | None, first: int = 1, images_are_clips: bool = False):
        self.temporal_ratio = ratio
        self.clip_law = ClipLaw(first, ratio, images_are_clips=images_are_clips) if ratio else None


@pytest.mark.parametrize(
    ("vae", "shape"),
    [
        (Fact(None), (5, 3, 8, 8)),
        (Fact(1), (5, 3, 8, 8)),
        (Fact(4), (1, 3, 5, 8, 8)),
        (Fact(4, 4, True), (5, 3, 1, 8, 8)),
    ],
    ids=["images", "SVD", "Wan", "HunyuanImage 3.0"],
)
def test_frames_go_to_a_vae_as_it_encodes_them(vae, shape):
    assert images.to_clip_pixels(torch.zeros(5, 3, 8, 8), vae).shape == shape


@pytest.mark.parametrize(("vae", "kept"), [(Fact(4), 5), (Fact(4, 4), 8), (Fact(1), 8)])
def test_frames_without_a_latent_frame_in_core_are_dropped_in_its_nodes(vae, kept):
    assert images.drop_extra_frames(torch.zeros(1, 3, 8, 4, 4), vae).shape[2] == kept
    assert images.drop_extra_frames(torch.zeros(8, 3, 4, 4), vae).shape[0] == 8
