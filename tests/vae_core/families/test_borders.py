"""Borders that are mirrored or wrapped around: torch's own padding modes in diffusers' networks, whole and in bands."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, from_weights, load
from exact_vae.vae_core.checkpoints import save
from exact_vae.vae_core.ops import Window
from support.random_networks import random_weights
from support.small_networks import SMALL
from torch import nn

BORDERS = ("reflect", "circular", "circular x", "circular y")
KINDS = ("kl", "kl: FLUX.2", "asymmetric", "vq", "vq: MoVQ", "hunyuan_image", "dc_ae", "dc_ae: shuffled", "tiny",
         "tiny: TAEF2", "tiny: TAEQI2.1")  # fmt: skip


def diffusers_kl(border: str) -> tuple:
    from diffusers import AutoencoderKL

    down, up = ["DownEncoderBlock2D"] * 2, ["UpDecoderBlock2D"] * 2
    torch.manual_seed(0)
    theirs = AutoencoderKL(3, 3, down, up, (32, 64), latent_channels=4).double().eval()
    ours = from_weights(theirs.state_dict(), border=border)
    for conv in theirs.modules():
        if isinstance(conv, nn.Conv2d):
            set_border(conv, border)
    return theirs, ours


def set_border(conv: nn.Conv2d, border: str) -> None:
    """One axis as nodes for seamless textures do it: the convolution pads the columns, then the rows, by itself."""
    if border in ("reflect", "circular"):
        conv.padding_mode = border
        return
    modes, (high, wide) = ("circular", "constant"), conv.padding
    conv.columns, conv.lines = modes if border == "circular x" else reversed(modes)

    def convolve(self, x, weight, bias):
        x = nn.functional.pad(x, (wide, wide, 0, 0), mode=self.columns)
        x = nn.functional.pad(x, (0, 0, high, high), mode=self.lines)
        return nn.functional.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)

    conv._conv_forward = convolve.__get__(conv)


@pytest.mark.parametrize("border", BORDERS)
@torch.no_grad()
def test_equals_diffusers_with_that_padding_mode(border):
    theirs, ours = diffusers_kl(border)
    x = torch.rand(1, 3, 32, 48, dtype=torch.float64) * 2 - 1
    z = theirs.encode(x).latent_dist.mode()
    assert (ours.encode(x).mode() - z).abs().max() < 1e-12
    assert (ours.decode(z) - theirs.decode(z).sample).abs().max() < 1e-12
    zeros = from_weights(theirs.state_dict())
    assert (zeros.decode(z) - theirs.decode(z).sample).abs().max() > 0.01


@pytest.mark.parametrize(
    ("kind", "border"),
    [(kind, border) for border in BORDERS for kind in (KINDS if " " not in border else ("kl", "dc_ae", "tiny"))],
)
@torch.no_grad()
def test_bands_equal_the_whole(kind, border):
    family, config = SMALL[kind]
    weights = {name: t.double() for name, t in random_weights(family, config).items()}
    vae = from_weights(weights, border=border)
    image = torch.rand(1, vae.in_channels, 8 * vae.spatial_ratio, 6 * vae.spatial_ratio)
    for part, x in (("encode", image), ("decode", torch.randn(1, vae.latent_channels, 8, 6))):
        whole, bands = (run(vae, part, x.double(), rows=rows) for rows in (None, 8))
        assert (bands - whole).abs().max() < 1e-12 * whole.abs().max().clamp(min=1)


def run(vae, part, x, **how):
    made = getattr(vae, part)(x, **how)
    return made.mode() if part == "encode" else made


@pytest.mark.parametrize(("border", "moved"), [("circular", (2, 3)), ("circular x", (0, 3)), ("circular y", (2, 0))])
@torch.no_grad()
def test_a_texture_has_no_seam(border, moved):
    """Decoding a latent that is rolled gives the rolled image, to the last digits: there is no border any more."""
    weights = {name: t.double() for name, t in random_weights(*SMALL["tiny"]).items()}
    vae = from_weights(weights, border=border)
    z, ratio = torch.randn(1, 4, 6, 5, dtype=torch.float64), vae.spatial_ratio
    image = vae.decode(z)
    rolled = vae.decode(z.roll(moved, (-2, -1)), rows=8)
    assert (rolled - image.roll([ratio * n for n in moved], (-2, -1))).abs().max() < 1e-12
    assert (vae.decode(z, rows=ratio) - image).abs().max() < 1e-12
    other = vae.decode(z.roll((1, 1), (-2, -1)))
    assert border == "circular" or (other - image.roll((ratio, ratio), (-2, -1))).abs().max() > 0.01


@pytest.mark.parametrize("border", BORDERS)
@torch.no_grad()
def test_only_rows_that_wrap_are_held(border):
    """A panorama (circular x) is decoded in bands like any other; an image that joins top and bottom is held."""
    vae = from_weights(random_weights(*SMALL["tiny"]), border=border)
    wraps = [window.wraps for window in vae.network.modules() if isinstance(window, Window)]
    assert any(wraps) == (border in ("circular", "circular y"))


@torch.no_grad()
def test_a_border_is_saved_with_its_vae(tmp_path):
    vae = from_weights(random_weights(*SMALL["kl"]), border="circular")
    save(vae, tmp_path / "circular.safetensors")
    z = torch.randn(1, 4, 3, 3)
    again, zeros = load(tmp_path / "circular.safetensors"), load(tmp_path / "circular.safetensors", border="zeros")
    assert again.fingerprint == vae.fingerprint != zeros.fingerprint
    assert torch.equal(again.decode(z), vae.decode(z)) and not torch.equal(zeros.decode(z), vae.decode(z))


def test_what_cannot_be():
    with pytest.raises(
        BadRequest, match="there is no border 'wrap': choose zeros, reflect, circular, circular x, circular y"
    ):
        from_weights(random_weights(*SMALL["kl"]), border="wrap")
    for kind in ("wan", "paella", "svd", "kvae"):
        with pytest.raises(
            BadRequest, match="cannot have the border 'circular': those of clips, Paella's and KVAE's keep"
        ):
            from_weights(random_weights(*SMALL[kind]), border="circular")
    mirrored = from_weights(random_weights(*SMALL["kl"]), border="reflect")
    with pytest.raises(BadRequest, match="too few to be mirrored at their borders"):
        mirrored.decode(torch.zeros(1, 4, 1, 1))
