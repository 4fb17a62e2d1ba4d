"""Each family, small, in each of its layouts: read again, to the same bits; and by diffusers, strictly."""

import diffusers
import pytest
import torch
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from exact_vae.vae_core import VAE, from_weights, inspect, load
from exact_vae.vae_core.checkpoints.saving import layouts_of, save, weights_as
from exact_vae.vae_core.families import FAMILIES
from safetensors.torch import load_file
from support.diffusers_networks import DIFFUSERS, SAME_NAMES
from support.random_networks import random_weights
from support.small_networks import SMALL, cells_of


def find_class(name: str) -> type:
    return PaellaVQModel if name == "PaellaVQModel" else getattr(diffusers, name)


def make_theirs(kind: str) -> torch.nn.Module:
    """diffusers' network; of an RAE the encoder is transformers'."""
    if kind == "rae":
        pytest.importorskip("transformers")
    make, config = THEIRS[kind]
    return make(**config)


THEIRS = {kind: (find_class(name), config) for kind, (name, config) in DIFFUSERS.items()}
OURS = {name: SMALL[name][1] for name in (family.name for family in FAMILIES) if name not in THEIRS}


def test_every_family_is_here():
    assert {kind.split()[0] for kind in (*THEIRS, *OURS)} == {family.name for family in FAMILIES}
    assert {kind.split()[0] for kind in THEIRS} == {f.name for f in FAMILIES if "diffusers" in layouts_of(f.name)}
    assert all(layouts_of(family.name)[0] == "original" for family in FAMILIES)


def shaken(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every number another, so that no two tensors can be taken for one another."""
    generator = torch.Generator().manual_seed(0)
    moves = {n: 0.1 * torch.randn(t.shape, generator=generator) for n, t in weights.items() if t.is_floating_point()}
    return {n: (t + moves[n]).abs() if n.endswith("_var") else t + moves.get(n, 0) for n, t in weights.items()}


def small(kind: str) -> VAE:
    torch.manual_seed(0)
    if kind in OURS:
        return from_weights(random_weights(kind, OURS[kind]))
    return from_weights(shaken(make_theirs(kind).state_dict()))


def latent(vae: VAE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    frames = (3,) if vae.temporal_ratio else ()
    return torch.randn(1, vae.latent_channels, *frames, *cells_of(vae, 4, 4), generator=generator)


def in_layouts(kinds) -> list[tuple[str, str]]:
    return [(kind, layout) for kind in kinds for layout in layouts_of(kind.split()[0])]


@pytest.mark.parametrize(("kind", "layout"), in_layouts([*THEIRS, *OURS]))
@torch.no_grad()
def test_what_is_saved_decodes_to_the_same_bits(tmp_path, kind, layout):
    vae = small(kind)
    assert vae.family == kind.split()[0]
    save(vae, tmp_path / "x.safetensors", layout)
    found = inspect(tmp_path / "x.safetensors")
    assert (found.family, found.prefix, found.is_whole) == (vae.family, "", True)
    assert (found.layout == "diffusers") == (layout == "diffusers" or vae.family in SAME_NAMES)
    again = load(tmp_path / "x.safetensors")
    for other in {*layouts_of(vae.family)} - ({"original"} if vae.family == "svd" else set()):
        ours, theirs = weights_as(vae, other), weights_as(again, other)
        if vae.family == "svd" and layout == "original":  # which has no quant conv: another encoder, see below
            ours, theirs = ({n: t for n, t in w.items() if n.startswith("decoder.")} for w in (ours, theirs))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    z = latent(vae)
    assert torch.equal(again.decode(z), vae.decode(z))


@pytest.mark.parametrize("kind", THEIRS)
def test_diffusers_reads_strictly_what_is_saved(tmp_path, kind):
    torch.manual_seed(0)
    known = make_theirs(kind)
    vae = small(kind)
    weights = shaken(known.state_dict())
    save(vae, tmp_path / "original.safetensors")
    save(load(tmp_path / "original.safetensors"), tmp_path / "x.safetensors", "diffusers")  # there and back
    known.load_state_dict(load_file(tmp_path / "x.safetensors"), strict=True)
    folded = ("quant_conv.", "encoder.conv_out.") if kind == "svd" else ()
    for name, t in known.state_dict().items():
        if t.is_floating_point() and not name.startswith(folded or "\0"):
            assert torch.equal(t, weights[name]), name


@torch.no_grad()
def test_the_quant_conv_of_svd_is_folded_into_the_convolution_before_it(tmp_path):
    vae = small("svd")
    save(vae, tmp_path / "x.safetensors", "original")
    again = load(tmp_path / "x.safetensors")
    assert vae.config.quant_conv and not again.config.quant_conv
    x = torch.rand(1, 3, 3, 8, 8) * 2 - 1
    assert torch.allclose(again.encode(x).mean, vae.encode(x).mean, atol=1e-5)


@pytest.mark.parametrize("layout", ["original", "diffusers"])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", ["kl", "dc_ae", "wan", "tiny", "hunyuan_video_15"])
def test_halves_alone(tmp_path, kind, half, layout):
    whole = small(kind)
    side = {"encoder": ("encoder.", "quant_conv.", "conv1."), "decoder": ("decoder.", "post_quant_conv.", "conv2.")}
    one = from_weights({n: t for n, t in whole.network.state_dict().items() if n.startswith(side[half])})
    assert one.parts == (half,)
    save(one, tmp_path / "x.safetensors", layout)
    again = load(tmp_path / "x.safetensors")
    assert again.config.parts == (half,)
    ours, theirs = weights_as(one, "diffusers"), weights_as(again, "diffusers")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
