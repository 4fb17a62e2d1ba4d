"""Clips in the shapes in which ComfyUI passes them on."""

import pytest
import torch
from exact_vae.nodes import NODE_CLASS_MAPPINGS, frames, images
from exact_vae.nodes.host.host_vae import ClipTiles, HostVAE
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.families import ClipLaw, svd, tiny_video
from support.node_calls import run_node, sample_image, text
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
def kl_vae():
    return from_weights(random_weights("kl", small_kl()), "kl")


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


SEPARATE = {"frames": "separate images"}


def some_images(count=3, h=16, w=16):
    return torch.rand(count, h, w, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["wan", "svd_vae", "taehv"])
@pytest.mark.parametrize("node", ["ExactVAEEncode", "ExactVAETiledEncode"])
def test_separate_images_are_what_each_is_alone(request, family, node):
    """There and back: as many latents as images, and as many images."""
    vae, image = request.getfixturevalue(family), some_images(3, 13, 18)
    made = run(node, pixels=image, vae=vae, **SEPARATE)
    assert made["samples"].ndim == 5 and made["samples"].shape[::2] == (3, 1, alone_of(vae, image[:1]).shape[-1])
    for i in range(3):
        assert torch.allclose(made["samples"][i : i + 1], alone_of(vae, image[i : i + 1])[:, :, None], atol=1e-5)
    for decode in ("ExactVAEDecode", "ExactVAETiledDecode"):
        found = run(decode, samples=made, vae=vae)
        want = images.to_image(vae.decode(made["samples"][1:2], size=(13, 18)))
        assert found.shape == image.shape and torch.allclose(found[1:2], want, atol=1e-5)


def alone_of(vae, image):
    """The latent of one image."""
    return vae.encode(images.to_pixels(image, 3)).mode()


@pytest.mark.parametrize(
    ("count", "how", "said"),
    [
        (5, {}, "5 frames as one clip of 2 latent frames"),
        (4, {}, "4 frames as one clip of 2 latent frames"),
        (3, SEPARATE, "3 separate images"),
        (1, SEPARATE, None),
        (1, {}, None),
    ],
    ids=["5 frames", "4 frames", "3 images", "1 image", "1 frame"],
)
def test_what_several_images_were_taken_for_is_said(wan, count, how, said):
    given = {"pixels": some_images(count), "vae": wan, **how}
    mask = {"mask": torch.ones(1, 16, 16), "grow_mask_by": 0}
    for node, more in (("ExactVAEEncode", {}), ("ExactVAETiledEncode", {}), ("ExactVAEEncodeForInpaint", mask)):
        lines = text(node, **given, **more).split("; ")
        assert (said in lines) if said else not [line for line in lines if "image" in line or "frame" in line]


def test_a_vae_of_images_is_asked_nothing(kl_vae):
    image = some_images(2)
    plain, told = (run("ExactVAEEncode", pixels=image, vae=kl_vae, **how)["samples"] for how in ({}, SEPARATE))
    assert torch.equal(plain, told) and plain.ndim == 4
    assert "separate" not in text("ExactVAEEncode", pixels=image, vae=kl_vae, **SEPARATE)


def test_each_separate_image_has_its_mask(wan):
    """Samplers read (B, 1, H, W) as the masks of one clip's frames."""
    masks = torch.zeros(3, 16, 16)
    masks[1] = 1
    given = {"pixels": some_images(), "vae": wan, "mask": masks, "grow_mask_by": 0}
    apart, clip = (run("ExactVAEEncodeForInpaint", **given, **how) for how in (SEPARATE, {}))
    assert apart["samples"].shape[::2] == (3, 1, 2) and apart["noise_mask"].shape == (3, 1, 1, 16, 16)
    assert apart["noise_mask"].flatten(1).any(1).tolist() == [False, True, False]
    assert clip["samples"].shape[::2] == (1, 2, 2) and clip["noise_mask"].shape == (3, 1, 16, 16)


def test_samples_of_separate_images_are_those_of_each(wan):
    image = some_images()
    how = {"vae": wan, "seed": 5, "samples_per_image": 2, "temperature": 1.0, "pixels": image}
    found = run("ExactLatentSample", **how, **SEPARATE)
    assert found["samples"].shape[:3] == (6, wan.latent_channels, 1)
    assert len(run("ExactVAEDecode", samples=found, vae=wan)) == 6
    assert "3 separate images" in run_node("ExactLatentSample", **how, **SEPARATE)["ui"]["text"][0]


@pytest.mark.parametrize("count", [2, 4, 7])
def test_every_decoder_gives_the_frames_that_were_encoded(wan, count):
    image = some_images(count)
    made = run("ExactVAEEncode", pixels=image, vae=wan)
    assert run("ExactVAETiledDecode", samples=made, vae=wan).shape == image.shape
    onto = {"image": image, "mask": torch.ones(1, 16, 16)}
    assert run("ExactVAEDecodeOntoOriginal", samples=made, vae=wan, **onto).shape == image.shape
    sampled = {"vae": wan, "seed": 0, "samples_per_image": 1, "temperature": 0.0, "pixels": image}
    assert run("ExactVAEDecode", samples=run("ExactLatentSample", **sampled), vae=wan).shape == image.shape


class OfTheHost:
    """Core's VAE of clips that this pack does not run: what it is asked to encode is noted."""

    output_channels, latent_channels, latent_dim, not_video = 3, 16, 3, False
    downscale_ratio = (staticmethod(lambda frames: (frames + 3) // 4), 8, 8)

    def __init__(self):
        self.asked = []

    def spacial_compression_encode(self):
        return 8

    def encode(self, image):
        self.asked.append(tuple(image.shape))
        return torch.zeros(1, 16, (len(image) + 3) // 4, 2, 2)

    def encode_tiled(self, image, **tiles):
        return self.encode(image)


@pytest.mark.parametrize("tiles", [None, "tiles"])
def test_a_vae_of_the_host_gets_separate_images_one_by_one(tiles):
    thing = OfTheHost()
    vae, pixels = HostVAE(thing), torch.zeros(3, 3, 16, 16)
    options = {"tiles": ClipTiles(64, 8)} if tiles else {}
    x, said = frames.lay_out(pixels, vae, "separate images")
    assert said == "3 separate images" and vae.encode(x, **options).mode().shape == (3, 16, 1, 2, 2)
    assert thing.asked == [(1, 16, 16, 3)] * 3
    x, said = frames.lay_out(pixels, vae, "clip")
    assert said == "3 frames as one clip of 1 latent frame" and vae.encode(x, **options).mode().shape[0] == 1
    thing.not_video = True
    assert frames.lay_out(pixels, vae, "clip")[1] == "3 separate images"


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
        (Fact(6, 1, True), (1, 3, 5, 8, 8)),
    ],
    ids=["images", "SVD", "Wan", "HunyuanImage 3.0", "Mochi"],
)
def test_frames_go_to_a_vae_as_it_encodes_them(vae, shape):
    assert images.to_clip_pixels(torch.zeros(5, 3, 8, 8), vae).shape == shape


@pytest.mark.parametrize(("vae", "kept"), [(Fact(4), 5), (Fact(4, 4), 8), (Fact(1), 8)])
def test_frames_without_a_latent_frame_in_core_are_dropped_in_its_nodes(vae, kept):
    assert images.drop_extra_frames(torch.zeros(1, 3, 8, 4, 4), vae).shape[2] == kept
    assert images.drop_extra_frames(torch.zeros(8, 3, 4, 4), vae).shape[0] == 8


def test_core_s_nodes_go_by_the_law_of_a_vae_whose_steps_are_of_several_latent_frames():
    """CogVideoX: eight frames make two latent frames; of an even number, which no clip has, four come of each."""
    cogvideox = Fact(4)
    cogvideox.clip_law = ClipLaw(1, 8, next_latents=2, one_by_one=True)
    assert [images.latent_frames(n, cogvideox) for n in (0, 1, 5, 8, 9, 13, 17)] == [0, 1, 1, 1, 3, 3, 5]
    assert [images.decoded_frames(n, cogvideox) for n in (1, 2, 3, 4, 5)] == [1, 8, 9, 16, 17]
    assert images.drop_extra_frames(torch.zeros(1, 3, 13, 4, 4), cogvideox).shape[2] == 9


@pytest.fixture(scope="module")
def four_frames(wan):
    """Of an odd size: two latent frames, of which the second is of three frames and of one that was added."""
    return run("ExactVAEEncode", pixels=some_images(4, 37, 53), vae=wan)


def work_of(z):
    """What a sampler that changes little does."""
    return z + 0.1 * z.std() * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))


def after(four_frames, change, wan):
    """The frames of what core's node makes of it: it copies the dict and puts another tensor into it."""
    changed = change(four_frames["samples"])
    return tuple(run("ExactVAEDecode", samples={**four_frames, "samples": changed}, vae=wan).shape[:3])


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        pytest.param(lambda z: torch.randn_like(z), (4, 37, 53), id="a sampler"),
        pytest.param(work_of, (4, 37, 53), id="a sampler that changes little"),
        pytest.param(lambda z: z * 0.5 + 0.1, (4, 37, 53), id="LatentMultiply, LatentAdd"),
        pytest.param(lambda z: torch.cat([z, z]), (8, 37, 53), id="RepeatLatentBatch"),
        pytest.param(lambda z: z.flip(2).flip(2), (4, 37, 53), id="LatentFlip x, twice"),
    ],
)
def test_frames_are_those_encoded_while_the_latent_lies_as_it_did(four_frames, wan, change, shape):
    assert after(four_frames, change, wan) == shape


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        pytest.param(lambda z: z.flip(2), (5, 40, 56), id="LatentFlip x, of a clip: in time"),
        pytest.param(lambda z: work_of(z.flip(2)), (5, 40, 56), id="LatentFlip x, a sampler"),
        pytest.param(lambda z: work_of(z).flip(2), (5, 40, 56), id="a sampler, LatentFlip x"),
        pytest.param(lambda z: z.flip(3), (5, 40, 56), id="LatentFlip y, of a clip: its rows"),
        pytest.param(lambda z: z.flip(2).flip(3), (5, 40, 56), id="LatentFlip x and y"),
        pytest.param(lambda z: z.rot90(2, (3, 2)), (5, 40, 56), id="LatentRotate, 180 degrees"),
        pytest.param(lambda z: z.rot90(1, (3, 2)), (17, 16, 56), id="LatentRotate, 90 degrees"),
        pytest.param(lambda z: torch.cat([z, z.flip(4)]), (10, 40, 56), id="LatentBatch"),
        pytest.param(lambda z: torch.cat([z, z], 2), (13, 37, 53), id="LatentConcat, t"),
        pytest.param(lambda z: z[:, :, :1], (1, 37, 53), id="LatentCut, t"),
        pytest.param(lambda z: z[:, :, 1:], (1, 37, 53), id="TrimVideoLatent"),
        pytest.param(lambda z: z[..., 1:, :], (4, 32, 56), id="LatentCut, y"),
        pytest.param(lambda z: z[..., 1:, :].flip(2), (5, 32, 56), id="LatentCut, y, LatentFlip x"),
        pytest.param(lambda z: z.movedim(2, 1).flatten(0, 1)[:, :, None], (2, 37, 53), id="LatentCutToBatch, t"),
    ],
)
def test_frames_are_forgotten_when_the_latent_lies_otherwise(four_frames, wan, change, shape):
    """All that was decoded is given: none of it may be what was added."""
    assert after(four_frames, change, wan) == shape


@pytest.mark.parametrize("kind", ["minimax_h3", "tiny_video: TAEH3"])
def test_core_s_nodes_go_by_the_law_of_minimax_h3(kind):
    """An image is one latent frame, and 17 n + 5 frames are 5 n + 2; other clips are continued."""
    law = small(kind)
    assert [images.latent_frames(n, law) for n in (0, 1, 4, 5, 6, 21, 22, 38, 39)] == [0, 1, 2, 2, 7, 7, 7, 12, 12]
    assert images.drop_extra_frames(torch.zeros(1, 3, 20, 4, 4), law).shape[2] == 20
    for n in (1, 2, 3, 6, 7, 12):
        z = torch.zeros(1, law.latent_channels, n, 2, 2, dtype=torch.float64)
        assert law.decode(z).shape[2] == images.decoded_frames(n, law)
    assert [frames.describe_clip(n, law) for n in (1, 20)] == [
        "1 frame as one clip of 1 latent frame",
        "20 frames as one clip of 7 latent frames",
    ]
