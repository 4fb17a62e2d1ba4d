"""VidTok's autoencoders against diffusers' own, random weights, float64; clips in parts against at once.

diffusers runs every causal file as one of version 1.1. For 1.0 its network is changed as microsoft/VidTok's
model_3dcausal.py is different.
"""

from dataclasses import replace

import diffusers
import pytest
import torch
from diffusers.models.autoencoders import autoencoder_vidtok as theirs
from exact_vae.vae_core import BrokenCheckpoint, detect, from_weights, inspect, load, save
from exact_vae.vae_core.families import vidtok
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.reports import describe_file, describe_vae
from safetensors.torch import save_file
from support.diffusers_networks import DIFFUSERS
from support.headers import header
from support.random_networks import random_weights, shake
from support.small_networks import SMALL
from support.tensors import clip, moments, near
from torch.nn import functional as F

EXACT, FRAMES = 1e-9, 4
KINDS = {"1.1": "vidtok", "1.0": "vidtok", "": "vidtok FSQ, not causal"}


class InDouble:
    """torch, for a file that doubles frames and pixels in float32, also where all else is float64."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def make_older(known):
    """As version 1.0: zeros before the first frame, and every frame doubled."""
    before = {theirs.VidTokCausalConv1d: 2, theirs.VidTokCausalConv3d: 2, theirs.VidTokDownsample3D: 1}

    def put_zeros(module, given):
        (x,) = given
        module.is_first_chunk, module.causal_cache = (
            False,
            x.new_zeros(*x.shape[:2], before[type(module)], *x.shape[3:]),
        )

    for module in known.modules():
        if isinstance(module, theirs.VidTokUpsample3D):
            module.enable_cached, module.interpolation_mode = False, "nearest"
        if type(module) in before:
            module.register_forward_pre_hook(put_zeros)


def spread(module):
    """So that z is quantised to more than the middle of its levels."""
    if isinstance(module, torch.nn.Conv3d):
        module.weight.mul_(4)


@pytest.fixture(scope="module", params=KINDS)
def both(request):
    """(diffusers' network, ours of the same weights)"""
    torch.manual_seed(0)
    name, settings = DIFFUSERS[KINDS[request.param]]
    known = shake(getattr(diffusers, name)(**settings))
    known.get_submodule("encoder.conv_out").requires_grad_(False).apply(spread)
    found = detect({name: tuple(t.shape) for name, t in known.state_dict().items()})
    assert found.is_whole and found.config.version == ("1.1" if request.param else "")
    ours = from_weights(known.state_dict(), found=replace(found, config=replace(found.config, version=request.param)))
    if request.param == "1.0":
        make_older(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "torch", InDouble())
        yield known, ours


def encode(known, x):
    """diffusers leaves it to its `forward` to repeat the first frame."""
    return known.encode(F.pad(x, (0, 0, 0, 0, FRAMES - 1, 0), mode="replicate") if known.is_causal else x)


def clips(ours, steps):
    """A clip of so many steps of its law, and a latent."""
    frames = ours.clip_law.first + FRAMES * (steps - 1)
    return clip(3, frames, 8, 12)[:1], 4 * clip(4, steps, 2, 3)[:1]


@pytest.mark.parametrize("steps", [1, 2, 4])
@torch.no_grad()
def test_equals_diffusers(both, steps):
    known, ours = both
    assert (ours.family, ours.spatial_ratio, ours.temporal_ratio) == ("vidtok", 4, FRAMES)
    x, z = clips(ours, steps)
    want, got = encode(known, x), ours.encode(x)
    if ours.config.quantised:
        assert near(got.mode().view(want[0].shape), want[0]) < EXACT and len(want[0].unique()) > 4
    else:
        want = torch.cat([want.latent_dist.mean, want.latent_dist.logvar], 1)
        assert near(moments(got).view(want.shape), want) < EXACT
    want = known.decoder(z)[:, :, FRAMES - 1 if known.is_causal else 0 :]
    got = ours.decode(z)
    assert near(got, want if known.is_causal or steps > 1 else want[:, :, -1:]) < EXACT


@torch.no_grad()
def test_images(both):
    """Clips of one frame; of a network that is not causal, of the four frames of a step."""
    known, ours = both
    x, z = clip(3, 1, 8, 12), 4 * clip(4, 1, 2, 3)
    want = encode(known, x if known.is_causal else x.expand(-1, -1, FRAMES, -1, -1))
    want = want[0] if ours.config.quantised else want.latent_dist.mean
    assert near(ours.encode(x[:, :, 0]).mode(), want[:, :, 0]) < EXACT
    assert near(ours.decode(z[:, :, 0]), known.decoder(z)[:, :, -1]) < EXACT


@pytest.mark.parametrize("how", [{"rows": 1000}, {"rows": 3, "keep": "disk"}], ids=["whole", "disk"])
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(both, how):
    """Of version 1.0 too, of which the tests of all families know nothing."""
    known, ours = both
    x, z = clips(ours, 4)
    assert ours.plan("decode", z.shape, **how).frames == 1
    want = encode(known, x)
    assert near(ours.encode(x, **how).mode(), want[0] if ours.config.quantised else want.latent_dist.mean) < EXACT
    got = torch.cat([*ours.decode_frames(z, **how)], 1)
    assert near(got, known.decoder(z)[0, :, FRAMES - 1 if known.is_causal else 0 :]) < EXACT


def test_quantised_latents_are_decoded_as_they_are(both):
    """As programs pass them on: a second quantisation would move them."""
    _, ours = both
    z = torch.arange(-4, 4) / 4
    assert torch.equal(vidtok.quantise(torch.tensor([-9.0, 9.0])), z[[0, -1]])
    assert not torch.equal(vidtok.quantise(z), z)
    assert not ours.network.from_latent_ops()


def test_the_config_is_in_the_shapes():
    for family, config in (SMALL["vidtok"], SMALL["vidtok: FSQ, not causal"]):
        shapes = expected_shapes(family, config)
        assert vidtok.detect(shapes) == config
        alone = {name: shape for name, shape in shapes.items() if name.startswith("decoder.")}
        found = vidtok.detect(alone)
        assert (found.parts, found.temporal_ratio, found.quantised) == (("decoder",), 4, False)


PUBLISHED = {  # its header, and what tells it from the others: quantised, version, halvings of pixels and frames
    "kl-causal-488": (False, "1.1", ((True, False), (True, True), (True, True), (False, False))),
    "kl-causal-444": (False, "1.1", ((False, False), (True, True), (True, True), (False, False))),
    "kl-noncausal-41616": (False, "", ((True, False), (True, False), (True, True), (True, True), (False, False))),
    "fsq-causal-888": (True, "1.1", ((True, True), (True, True), (True, True), (False, False))),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files(name):
    found = detect(header(f"vidtok-{name}.diffusers")["shapes"])
    config = found.config
    assert found.is_whole and (config.quantised, config.version, config.encoder.changes) == PUBLISHED[name]
    if name == "kl-causal-488":
        assert config == vidtok.FAMILY.example
        assert found.title == "VidTok's autoencoder, 4 channels at 1/8: VidTok"


@pytest.mark.parametrize(
    ("file", "version"),
    [
        ("vidtok_kl_causal_488_4chn.safetensors", "1.0"),
        ("VidTok_FSQ_causal_41616_262144.safetensors", "1.0"),
        ("vidtok_kl_causal_488_4chn_v1_1.safetensors", "1.1"),
        ("vidtok_fsq_causal_888_32768_v1_1_fp16.safetensors", "1.1"),
        ("diffusion_pytorch_model.safetensors", "1.1"),
    ],
)
def test_the_version_is_in_the_name_of_the_file(tmp_path, file, version):
    save_file(random_weights(*SMALL["vidtok"]), tmp_path / file)
    assert inspect(tmp_path / file).config.version == load(tmp_path / file).config.version == version
    told = f"version:    read as {version}"
    assert told in describe_file(inspect(tmp_path / file)) and told in describe_vae(load(tmp_path / file), "fp32")


def test_what_is_saved_knows_its_version(tmp_path):
    save_file(random_weights(*SMALL["vidtok"]), tmp_path / "vidtok_kl_causal_488_4chn.safetensors")
    save(load(tmp_path / "vidtok_kl_causal_488_4chn.safetensors"), tmp_path / "mine.safetensors")
    again = load(tmp_path / "mine.safetensors")
    assert again.config.version == "1.0" and again.clip_law.images_are_clips
    save_file(random_weights(*SMALL["vidtok"]), tmp_path / "odd.safetensors", {"exact_vae.version": "2.0"})
    with pytest.raises(BrokenCheckpoint, match=r"'.*odd\.safetensors' says .* version '2\.0': there is 1\.0"):
        load(tmp_path / "odd.safetensors")
