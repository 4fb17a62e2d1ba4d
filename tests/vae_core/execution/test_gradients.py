"""Runs that record gradients: the same numbers as any other, and derivatives that finite differences confirm."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, Tiles
from support.small_networks import SMALL, cells_of, small

STEP = 1e-8  # smaller than the way to the next kink of a ReLU
QUANTIZED = ("vq", "llamagen")  # their decoders look the nearest code up, which has no slope
KINDS = [kind for kind in SMALL if ":" not in kind and kind != "effnet"]  # one of each family; that one is large


def draw_input(vae, half: str) -> torch.Tensor:
    cells, _ = cells_of(vae, 4, 4)
    channels, side = (vae.in_channels, cells * vae.spatial_ratio) if half == "encode" else (vae.latent_channels, cells)
    frames = (1,) if vae.clip_law else ()
    return torch.rand(1, channels, *frames, side, side, dtype=torch.float64) * 2 - 1


def run(vae, half: str, x: torch.Tensor, **how) -> torch.Tensor:
    return vae.encode(x, **how).mode() if half == "encode" else vae.decode(x, **how)


@pytest.mark.parametrize("half", ["encode", "decode"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_slopes(kind, half):
    torch.manual_seed(0)
    vae = small(kind)
    x = draw_input(vae, half)
    if half == "decode" and kind in QUANTIZED:
        assert torch.allclose(run(vae, half, x, grad=True), run(vae, half, x), rtol=0, atol=1e-12)
        with pytest.raises(BadRequest, match="quantises the latent, so no gradient comes back"):
            run(vae, half, x.requires_grad_(), grad=True)
        return
    y = run(vae, half, x.requires_grad_(), grad=True)
    plain = run(vae, half, x)
    assert not plain.requires_grad and (y - plain).abs().max() <= 1e-12 * plain.abs().max()
    along, weights = torch.randn_like(x), torch.randn_like(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    there, back = (run(vae, half, (x + step * along).detach()) for step in (STEP, -STEP))
    slope = ((there - back) * weights).sum() / (2 * STEP)
    assert slope.abs() > 0 and (gradient * along).sum().item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-6)


def test_weights_that_require_them_get_gradients():
    vae = small("kl").to(torch.float32)
    vae.network.requires_grad_()
    posterior = vae.encode(torch.rand(2, 3, 12, 20) * 2 - 1, grad=True)
    vae.decode(
        posterior.sample(torch.Generator().manual_seed(1)), size=posterior.size, grad=True
    ).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.network.parameters())


@pytest.mark.parametrize("frames", [[], [3]])
def test_an_image_and_its_mask_have_gradients(frames):
    vae, draw = small("asymmetric"), torch.Generator().manual_seed(0)
    r = vae.spatial_ratio
    sizes = {"z": (vae.latent_channels, 3, 4), "image": (3, 3 * r - 1, 4 * r), "mask": (1, 3 * r - 1, 4 * r)}
    given = {name: torch.rand(2, c, *frames, *size, generator=draw, dtype=torch.float64).requires_grad_()
             for name, (c, *size) in sizes.items()}  # fmt: skip
    z, beside = given["z"], {name: given[name] for name in ("image", "mask")}
    made = vae.decode(z, **beside, grad=True)
    plain = vae.decode(z, **beside)
    assert not plain.requires_grad and (made - plain).abs().max() <= 1e-12 * plain.abs().max()
    made.square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in given.values())


@pytest.mark.parametrize("kind", ["kl", "wan"])
def test_pixels_that_require_gradients_are_encoded_without(kind):
    """Several clips, which are laid out as images first."""
    vae = small(kind)
    pixels = torch.rand(2, vae.in_channels, 5, 16, 16, dtype=torch.float64)
    made = vae.encode(pixels.clone().requires_grad_()).mean
    assert not made.requires_grad and torch.equal(made, vae.encode(pixels).mean)


@pytest.mark.parametrize("how", [{"rows": 8}, {"budget": "1GiB"}, {"keep": "disk"}, {"tiles": Tiles(64, 16)}])
def test_only_whole_runs_have_them(how):
    vae = small("kl")
    with pytest.raises(BadRequest, match="whole run"):
        run(vae, "decode", draw_input(vae, "decode"), grad=True, **how)


def test_where_there_are_none():
    vae = small("kl")
    with pytest.raises(BadRequest, match="piece by piece"):
        vae.decode_rows(draw_input(vae, "decode"), grad=True)
    for where in (torch.no_grad, torch.inference_mode):
        with where(), pytest.raises(BadRequest, match="records no gradients here"):
            vae.decode(draw_input(vae, "decode"), grad=True)
