"""The Gaussian: against torch.distributions and by sampling."""

import math

import pytest
import torch
from exact_vae.vae_core import BadRequest, Posterior
from exact_vae.vae_core.ops import Affine
from support.small_networks import small
from torch.distributions import Normal, kl_divergence


@pytest.fixture
def moments():
    return torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_a_normal_distribution(moments):
    posterior = Posterior.of_moments(moments)
    mean, logvar = moments.chunk(2, 1)
    normal = Normal(mean, (logvar / 2).exp())
    assert torch.equal(posterior.mean, mean)
    assert torch.allclose(posterior.std, normal.stddev)
    assert torch.allclose(posterior.var, normal.variance)
    want = kl_divergence(normal, Normal(torch.zeros_like(mean), 1.0)).sum((1, 2, 3))
    assert torch.allclose(posterior.kl(), want, rtol=1e-12)


def test_samples_have_its_mean_and_std():
    moments = torch.tensor([0.7, -1.0]).reshape(1, 2, 1, 1).expand(40_000, 2, 1, 1)
    samples = Posterior.of_moments(moments).sample(torch.Generator().manual_seed(0))
    assert samples.mean() == pytest.approx(0.7, abs=0.01)
    assert samples.std() == pytest.approx(torch.tensor(-0.5).exp().item(), rel=0.02)


def test_a_seed_makes_a_sample(moments):
    posterior = Posterior.of_moments(moments)
    a, b, c = (posterior.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    noise = torch.randn(moments[:, :4].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(a, posterior.mean + posterior.std * noise)


def test_what_is_given_is_the_caller_s_own(moments):
    """Scaled in place, as training loops do, it leaves the posterior as it was; views of the mean too."""
    for to_latent in ((), (lambda z: z.flatten(2).unflatten(2, z.shape[2:]),)):
        posterior = Posterior.of_moments(moments, to_latent)
        mean, logvar = posterior.mean.clone(), posterior.logvar.clone()
        for given in (
            posterior.mode(),
            *posterior.latent_moments(),
            posterior.sample(torch.Generator().manual_seed(1)),
        ):
            given.mul_(0.18215)
        assert torch.equal(posterior.mean, mean) and torch.equal(posterior.logvar, logvar)


@pytest.mark.parametrize("given", [{"generator": 5}, {"temperature": "1"}, {"temperature": -1}], ids=str)
def test_what_no_sample_is_drawn_with(moments, given):
    with pytest.raises(BadRequest):
        Posterior.of_moments(moments).sample(**given)


def test_logvar_is_kept_in_range():
    posterior = Posterior.of_moments(torch.tensor([0.0, -100.0, 0.0, 100.0]).reshape(2, 2, 1, 1))
    assert posterior.logvar.flatten().tolist() == [-30, 20]
    assert torch.isfinite(posterior.kl()).all()


def test_a_point_has_no_variance():
    z = torch.randn(2, 4, 3, 3)
    posterior = Posterior.of_point(z, size=(24, 23))
    assert torch.equal(posterior.sample(torch.Generator().manual_seed(0)), z)
    assert (posterior.std.max(), posterior.kl().tolist(), posterior.size) == (0, [0, 0], (24, 23))


@pytest.mark.parametrize("scale", [0.7, -3.0])
def test_moments_in_fp32_are_exact(scale):
    """However small the variance is, and however far from 0 the mean: in float64 nothing more would be gained."""
    generator = torch.Generator().manual_seed(0)
    mean = 1000 * torch.randn(1, 4, 8, 8, generator=generator)
    logvar = -30 * torch.rand(1, 4, 8, 8, generator=generator)
    posterior = Posterior(mean, logvar, (torch.nn.PixelUnshuffle(2), Affine(scale, -0.3)))
    found, spread = posterior.latent_moments()
    assert torch.equal(found, posterior.mode()) and spread.dtype == torch.float32
    want = torch.nn.functional.pixel_unshuffle(logvar, 2) + 2 * math.log(abs(scale))
    assert torch.allclose(spread, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "pixels", "mean"),
    [
        ("ltx_diffusion", (2, 3, 9, 16, 16), (2, 4, 2, 2, 2)),
        ("ltx_diffusion", (2, 3, 16, 16), (2, 4, 1, 2, 2)),
        ("kl", (2, 3, 3, 16, 16), (6, 4, 8, 8)),
    ],
)
def test_the_mean_is_laid_out_as_the_network_made_it(kind, pixels, mean):
    posterior = small(kind).encode(torch.zeros(pixels, dtype=torch.float64))
    assert posterior.mean.shape == mean
    assert posterior.mode().ndim == len(pixels) and len(posterior.mode()) == pixels[0]
