"""Attention of a few queries at a time, as on a device whose attention makes all scores."""

import pytest
import torch
from exact_vae.vae_core.ops import attention
from exact_vae.vae_core.ops.attention import attend, makes_scores
from support.fake_cuda import fake_cuda
from support.small_networks import run_half, small
from torch.nn import functional as F

LEAST = 300  # scores at a time


@pytest.fixture
def sizes(monkeypatch):
    """Of the matrix of scores at each call of torch's attention, on a device that makes it."""
    seen = []
    backend = F.scaled_dot_product_attention

    def see(q, k, v):
        seen.append(q.numel() // q.shape[-1] * k.shape[-2])
        return backend(q, k, v)

    monkeypatch.setattr(F, "scaled_dot_product_attention", see)
    monkeypatch.setattr(attention, "SCORES", LEAST)
    monkeypatch.setattr(attention, "makes_scores", lambda *what: True)
    return seen


@pytest.mark.parametrize("images", [1, 3])
def test_a_few_queries_at_a_time_give_the_same(images, sizes):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(images, 1, n, 8, generator=generator, dtype=torch.float64) for n in (37, 29, 29))
    want = torch.softmax(q @ k.mT / 8**0.5, -1) @ v
    assert (attend(q, k, v) - want).abs().max() < 1e-14
    assert len(sizes) > 1 and max(sizes) <= LEAST


def test_one_query_is_the_least(sizes):
    q = k = v = torch.randn(1, 1, LEAST + 1, 2, dtype=torch.float64)
    assert torch.allclose(attend(q, k, v), torch.softmax(q @ k.mT / 2**0.5, -1) @ v)
    assert sizes == [LEAST + 1] * (LEAST + 1)


@pytest.mark.parametrize("kind", ["kl", "wan", "svd", "hunyuan_video", "hunyuan_video_15"])
@torch.no_grad()
def test_of_every_kind_of_attention(kind, monkeypatch, sizes):
    vae = small(kind)
    frames = (vae.clip_law.latents(1 + 2 * (vae.temporal_ratio or 1)),) if vae.clip_law else ()
    x = torch.randn(vae.latent_channels, *frames, 6, 5, dtype=torch.float64)
    monkeypatch.setattr(attention, "makes_scores", lambda *what: False)
    want = run_half(vae, "decode", x)
    whole = max(sizes)
    sizes.clear()
    monkeypatch.setattr(attention, "makes_scores", lambda *what: True)
    for numbers in (0, 500):
        assert (run_half(vae, "decode", x, numbers) - want).abs().max() < 1e-12 * want.abs().max()
    assert max(sizes) <= LEAST < whole


def test_who_makes_scores(monkeypatch):
    """Torch is asked on the device; without one, plans are those of a device whose kernel makes none."""
    f32 = torch.float32
    assert [makes_scores(torch.device(kind), f32) for kind in ("cpu", "meta", "mps")] == [False, True, True]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not makes_scores(torch.device("cuda"), f32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *shape, **how: torch.zeros(shape))
    for choice, wanted in ((0, True), (1, False), (2, False)):
        monkeypatch.setattr(torch, "_fused_sdp_choice", lambda q, k, v, choice=choice: choice)
        assert makes_scores(torch.device("cuda"), f32) is wanted


def test_numbers_of_a_pixel_lie_side_by_side(monkeypatch):
    """Those of what AMD's convolutions make do not, and for such torch has no kernel that makes no scores."""
    seen: list[int] = []
    with fake_cuda():
        image = torch.empty(2, 8, 4, 4, device="cuda")
        q, k, v = (image.flatten(2).transpose(1, 2)[:, None] for _ in range(3))
        assert q.stride(-1) != 1

        def note(*given: torch.Tensor) -> torch.Tensor:
            seen.extend(x.stride(-1) for x in given)
            return torch.empty_like(given[0])

        with monkeypatch.context() as patch:  # undone before the device's own is: else that would stay
            patch.setattr(F, "scaled_dot_product_attention", note)
            assert attend(q, k, v).shape == q.shape
    assert seen == [1, 1, 1]
