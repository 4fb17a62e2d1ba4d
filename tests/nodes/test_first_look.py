"""The first look at a long decode, told to stand-ins of ComfyUI; the real one is in comfyui/."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from exact_vae.nodes import host
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.latents import Findings, preview, published_factors
from exact_vae.vae_core.latents.spaces import SPACES
from support.random_networks import random_weights, small_kl


@pytest.fixture
def comfyui(monkeypatch):
    """Images that are sent to it, and the arguments of its command line."""
    sent = []
    bar = SimpleNamespace(update_absolute=lambda done, total, look: sent.append(look))
    args = SimpleNamespace(preview_method="auto", preview_size=512)
    parts = {
        "comfy.utils": {"ProgressBar": lambda total: bar},
        "comfy.cli_args": {"args": args, "LatentPreviewMethod": SimpleNamespace(NoPreviews="none")},
        "comfy.sd": {},
        "folder_paths": {},
        "comfy": {},
    }
    for name, contents in parts.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["comfy"].utils = sys.modules["comfy.utils"]  # type: ignore[attr-defined]
    return SimpleNamespace(sent=sent, args=args)


@pytest.fixture(scope="module")
def vae():
    return from_weights(random_weights("kl", small_kl()))


def latent(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_known_space_is_shown_by_its_published_factors(comfyui, vae):
    z = latent(2, 4, 48, 64)
    host.first_look(vae, z, "sd1")
    ((kind, image, largest),) = comfyui.sent
    assert (kind, image.size, largest) == ("JPEG", (64, 48), 512)
    factors = published_factors("sd1", SPACES["sd1"])
    assert factors
    want = ((preview(z[:1], factors)[0].clamp(-1, 1) + 1) * 127.5).movedim(0, -1)
    found = torch.from_numpy(np.array(image))
    assert (found - want).abs().max() <= 0.51


def test_of_a_clip_its_first_frame(comfyui, vae):
    host.first_look(vae, latent(1, 4, 3, 40, 40), "sd1")
    assert comfyui.sent[0][1].size == (40, 40)


def test_nothing_is_shown_to_who_wants_none_nor_of_what_is_soon_there(comfyui, vae):
    host.first_look(vae, latent(1, 4, 63, 65), "sd1")
    comfyui.args.preview_method = "none"
    host.first_look(vae, latent(1, 4, 64, 64), "sd1")
    assert not comfyui.sent


def test_other_factors_are_fitted_where_that_is_cheap_and_then_known(comfyui, vae, monkeypatch):
    monkeypatch.setattr(vae, "findings", Findings())
    small, large = latent(1, 4, 64, 64), latent(1, 4, 128, 128)
    host.first_look(vae, small)
    host.first_look(vae, large, may_fit=False)
    assert not comfyui.sent
    host.first_look(vae, large)
    monkeypatch.setattr(type(vae), "encode", None)  # from here on it is not run
    host.first_look(vae, small, may_fit=False)
    again = from_weights(random_weights("kl", small_kl()))
    again.findings = vae.findings
    host.first_look(again, large)
    assert [image.size for _, image, _ in comfyui.sent] == [(128, 128), (64, 64), (128, 128)]


def test_a_vae_that_this_pack_does_not_run_is_not_run_for_it(comfyui):
    strange = SimpleNamespace(name="this VAE")
    host.first_look(strange, latent(1, 4, 128, 128))
    assert not comfyui.sent
    host.first_look(strange, latent(1, 4, 128, 128), "sdxl")
    host.first_look(strange, latent(1, 4, 128, 128), "sd3")  # whose latents have other channels: not this one
    assert len(comfyui.sent) == 1


def test_without_comfyui_nothing_is_run_or_sent(vae, monkeypatch):
    looked: list[object] = []
    module = sys.modules[host.first_look.__module__]
    monkeypatch.setattr(module, "_wanted", lambda: True)
    monkeypatch.setattr(module, "fit", looked.append)
    monkeypatch.setattr(module, "_send", looked.append)
    host.first_look(vae, latent(1, 4, 128, 128), "sd1")
    host.first_look(vae, latent(1, 4, 128, 128))
    assert looked == []
