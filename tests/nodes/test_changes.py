"""Core's VAEs that somebody has changed where they are: run here with the same change, or by the host's own methods."""

from types import FunctionType, SimpleNamespace

import pytest
import torch
from exact_vae.nodes.host.changes import Change, adopt_border, find_patch
from exact_vae.nodes.host.settings import read_settings
from exact_vae.vae_core import Detection, detect, from_weights
from support.core_vae import CoreVAE
from torch import nn


def kl():
    """A network as the host has them: torch's own modules, named as in files of diffusers."""
    from diffusers import AutoencoderKL

    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    torch.manual_seed(0)
    return AutoencoderKL(3, 3, down, up, (32, 64), latent_channels=4).double().eval()


def wan():
    """One of clips, with modules of its own."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    return AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True]).eval()


@pytest.fixture
def core():
    return kl()


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


@torch.no_grad()
def run(model, clip):
    """What both halves make of the same numbers; None if they cannot."""
    generator = torch.Generator().manual_seed(1)
    dtype = next(model.parameters()).dtype
    x = torch.randn(1, 3, *(5,) * clip, 8, 8, generator=generator, dtype=dtype)
    z = torch.randn(1, 4, *(2,) * clip, 3, 2, generator=generator, dtype=dtype)
    try:
        return model.encode(x).latent_dist.mode(), model.decode(z).sample
    except Exception:  # of whatever was set to nonsense
        return None


def other(value):
    """Another value than this, of its kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return 2 * value + 1
    return tuple(map(other, value)) if isinstance(value, tuple | list) else "reflect"


def list_attributes(model):
    """One module for each attribute of each kind of module: (the module's name, the attribute's, another value)."""
    seen = {}
    for name, settings in read_settings(model).items():
        for one in settings.values:
            value = getattr(model.get_submodule(name), one)
            changed = torch.tanh if isinstance(value, FunctionType) else other(value)
            seen.setdefault((settings.kind, one), (name, one, changed))
    for name, module in model.named_modules():
        if name and not list(module.children()) and not list(module.parameters()):
            parent, _, child = name.rpartition(".")
            seen.setdefault((type(module), "itself"), (parent, child, nn.Softsign()))
    return list(seen.values())


@pytest.mark.parametrize("make", [kl, wan])
def test_no_attribute_of_a_module_changes_a_result_in_silence(make):
    """The same change here, or none, or it is left to the host: for each attribute of each kind of module."""
    model, clip = make(), make is wan
    found, original, want = found_in(model), read_settings(model), run(model, clip)
    assert isinstance(adopt_border(model, found, original), Detection)
    tried = felt = 0
    for name, one, value in list_attributes(model):
        module = model.get_submodule(name)
        before = getattr(module, one)
        setattr(module, one, value)
        got = run(model, clip)
        tried += 1
        if got is None or not all(map(torch.equal, got, want)):
            felt += 1
            adopted = adopt_border(model, found, original)
            assert isinstance(adopted, Change) and adopted.what, f"'{name}'.{one} = {value} is not seen"
        setattr(module, one, before)
    assert isinstance(adopt_border(model, found, original), Detection)
    assert tried > 60 and felt > 20


@pytest.mark.parametrize("kind", ["patches", "object_patches", "weight_wrapper_patches", "hook_patches"])
def test_patches_that_wait_are_left_to_the_host(kind):
    patcher = SimpleNamespace(**{kind: {"decoder.conv_in.weight": [1]}})
    assert find_patch(CoreVAE(patcher=patcher)).what == "patches of its weights or modules are waiting"


class Heir(CoreVAE):
    pass


class HeirOfItsOwn(CoreVAE):
    def decode(self, samples): ...


def test_methods_around_the_model():
    assert find_patch(CoreVAE()) is None and find_patch(Heir()) is None
    assert find_patch(HeirOfItsOwn()).what == "its decode was replaced"
    assert find_patch(CoreVAE(encode=print)).what == "its encode was replaced"
    assert find_patch(CoreVAE(process_output=torch.sigmoid)).what == "its process_output was replaced"


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


def run_by_another(core):
    """As nodes for seamless textures do: each convolution gets a bound method."""
    conv = core.decoder.conv_in
    conv._conv_forward = type(conv)._conv_forward.__get__(conv)


def on_one_axis(core):
    """As those for panoramas do: each convolution pads columns and rows by itself."""
    for conv in core.modules():
        if isinstance(conv, nn.Conv2d):
            conv.padding_modeX, conv.padding_modeY = "circular", "constant"
            conv._conv_forward = pad_columns.__get__(conv)


def pad_columns(self, x, weight, bias):
    x = nn.functional.pad(x, (1, 1, 0, 0), mode=self.padding_modeX)
    return nn.functional.conv2d(x, weight, bias, self.stride, (1, 0))


def another_class(core):
    class Blurred(nn.Conv2d):
        pass

    Blurred.forward = nn.SiLU.forward
    core.decoder.conv_in.__class__ = Blurred


def patch(core):
    core.decoder.conv_in.weight_function = [lambda weight: weight * 2]


INNER = [replicate, mix, stride, dilate, regroup, epsilon, hook, early_hook, patch]
METHODS = [forward, decode, run_by_another, on_one_axis, another_class]


@pytest.mark.parametrize("change", [*INNER, *METHODS])
def test_any_other_change_is_left_to_the_host(core, change):
    change(core)
    found = adopt_border(core, found_in(core))
    assert isinstance(found, Change) and found.what
