"""Core's VAEs that somebody has changed where they are: run here with the same change, or by the host's own methods."""

import pytest
import torch
from exact_vae.nodes.host.changes import Change, adopt_border
from exact_vae.vae_core import detect, from_weights
from torch import nn


@pytest.fixture
def core():
    """A network as the host has them: torch's own modules, named as in files of diffusers."""
    from diffusers import AutoencoderKL

    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    torch.manual_seed(0)
    return AutoencoderKL(3, 3, down, up, (32, 64), latent_channels=4).double().eval()


def found_in(core):
    return detect({name: tuple(t.shape) for name, t in core.state_dict().items()})


def test_a_vae_as_it_was_loaded(core):
    found = found_in(core)
    assert adopt_border(core, found).config == found.config


@pytest.mark.parametrize("border", ["reflect", "circular"])
@torch.no_grad()
def test_a_border_is_ours_too(core, border):
    for conv in core.modules():
        if isinstance(conv, nn.Conv2d):
            conv.padding_mode = border
    adopted = adopt_border(core, found_in(core))
    ours = from_weights(core.state_dict(), found=adopted, border=adopted.config.border)
    z = torch.randn(1, 4, 6, 5, dtype=torch.float64)
    assert (ours.decode(z) - core.decode(z).sample).abs().max() < 1e-12


def replicate(core):
    core.decoder.conv_in.padding_mode = "replicate"


def mix(core):
    core.decoder.conv_in.padding_mode = "circular"


def stride(core):
    core.encoder.down_blocks[0].downsamplers[0].conv.stride = (1, 1)


def dilate(core):
    core.encoder.conv_in.dilation = (2, 2)


def regroup(core):
    core.decoder.conv_norm_out.num_groups = 16


def epsilon(core):
    core.encoder.mid_block.resnets[0].norm1.eps = 1e-2


def hook(core):
    core.decoder.up_blocks[0].register_forward_hook(lambda module, given, made: made * 2)


def early_hook(core):
    core.decoder.register_forward_pre_hook(lambda module, given: given)


def forward(core):
    core.decoder.forward = lambda z, *more: z


def decode(core):
    core.decode = lambda z: z


def patch(core):
    core.decoder.conv_in.weight_function = [lambda weight: weight * 2]


@pytest.mark.parametrize(
    "change", [replicate, mix, stride, dilate, regroup, epsilon, hook, early_hook, forward, decode, patch]
)
def test_any_other_change_is_left_to_the_host(core, change):
    change(core)
    found = adopt_border(core, found_in(core))
    assert isinstance(found, Change) and found.what
