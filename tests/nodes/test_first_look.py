"""What is shown of a long decode meanwhile, told to stand-ins of ComfyUI; the real one is in comfyui/."""

import sys
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from exact_vae.nodes import host
from exact_vae.nodes.host import host_model, previews
from exact_vae.vae_core import from_weights
from exact_vae.vae_core.execution import Part
from exact_vae.vae_core.latents import Findings, preview, published_factors
from exact_vae.vae_core.latents.spaces import SPACES
from support.random_networks import random_weights, small_kl
from support.small_networks import small


@pytest.fixture
def comfyui(monkeypatch):
    """Images that are sent to it, and the arguments of its command line."""
    sent = []
    bar = SimpleNamespace(update_absolute=lambda done, total, *look: sent.extend(look))
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
    going_on = SimpleNamespace(throw_exception_if_processing_interrupted=lambda: None)
    vars(sys.modules["comfy"]).update(utils=sys.modules["comfy.utils"], model_management=going_on)
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


def drawn(live: host.LivePreview) -> torch.Tensor:
    """(3, h, w) of what it would show, as numbers."""
    assert live.canvas is not None
    return live.canvas.int()


def in_levels(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().int()


def test_what_is_decoded_is_drawn_over_the_latent(comfyui, vae):
    """In true colours to the row that the strips have come to, and below it as the first look had it."""
    z, told = latent(1, 4, 64, 72), list[tuple[int, torch.Tensor]]()
    live = host.first_look(vae, z, "sd1")

    def watch(part: Part) -> None:
        live.take(part)
        told.append((part.row + part.pixels.shape[2], drawn(live).clone()))

    live.largest = 2**20  # so large that nothing is made smaller
    result = vae.decode(z, on_part=watch, rows=32)
    assert torch.equal(result, vae.decode(z, rows=32)) and len(told) > 2
    factors = published_factors("sd1", SPACES["sd1"])
    assert factors
    rest = torch.nn.functional.interpolate(preview(z, factors).clamp(-1, 1), result.shape[2:], mode="bilinear")[0]
    for rows, shown in told:
        assert (shown - in_levels(result[0]))[:, :rows].abs().max() <= 1
        assert (shown - in_levels(rest))[:, rows:].abs().sum() <= rest[0, :, rows:].numel()
    assert told[-1][0] == result.shape[2]


def test_it_is_no_larger_than_the_host_draws_it_and_goes_with_the_run(comfyui, vae):
    z = torch.nn.functional.interpolate(latent(1, 4, 8, 10), (64, 80), mode="bilinear")
    live = host.first_look(vae, z, "sd1")
    live.largest = 50
    vae.decode(z, on_part=live.take, progress=host.progress(live=live), rows=8)
    assert drawn(live).shape == (3, 40, 50)
    mean = torch.nn.functional.adaptive_avg_pool2d(vae.decode(z), (40, 50))[0]
    assert np.corrcoef(drawn(live).float().flatten(), mean.flatten())[0, 1] > 0.8
    gone = weakref.ref(live)
    del live
    assert gone() is None


def test_looks_are_sent_with_the_progress_and_not_often(comfyui, vae, monkeypatch):
    """The bar is moved as before; a look comes along when there is a new one and the last was long enough ago."""
    now = [0.0]
    monkeypatch.setattr(previews.time, "monotonic", lambda: now[0])
    moved = []
    bar = SimpleNamespace(update_absolute=lambda *how: moved.append(how))
    monkeypatch.setattr(sys.modules["comfy.utils"], "ProgressBar", lambda total: bar)
    live = host.LivePreview(latent(1, 4, 64, 64), None)
    tell = host.progress(live=live)
    part = Part(torch.zeros(1, 3, 8, 128), 0, 0, 0, (1, 3, 128, 128))
    for at, is_new in ((0.1, True), (0.6, False), (0.7, True), (0.9, True), (1.3, False)):
        now[0] = at
        if is_new:
            live.take(part)
        tell(int(at * 10), 100)
    now[0] = 1.5
    live.take(part)
    tell(100, 100)  # the last is not waited for
    assert [len(how) for how in moved] == [2, 3, 2, 2, 3, 2]
    now[0] = 1.8
    tell(100, 100)
    assert len(moved[-1]) == 3 and [how[:2] for how in moved] == [(n, 100) for n in (1, 6, 7, 9, 13, 100, 100)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pieces_that_core_cuts_are_drawn_where_they_belong(comfyui, vae, dtype):
    """Its tiles, cast: of the second image of two, from row 16 and column 40 on."""
    z = latent(2, 4, 64, 64)
    live = host.LivePreview(z, None)
    live.largest = 2**20
    piece = z[1:2, :, 16:32, 40:64].to(dtype)
    tell = live.follow(piece)
    assert tell
    pixels = vae.decode(piece.float(), on_part=tell)
    ratio = vae.decoded_ratio
    shown = drawn(live)
    assert shown.shape == (3, 64 * ratio, 64 * ratio) and live.at_work[0] == 1
    inside = shown[:, 16 * ratio : 32 * ratio, 40 * ratio :]
    assert (inside - in_levels(pixels[0])).abs().max() <= 1
    assert (shown != 128).sum() <= inside.numel()
    assert live.follow(piece + 1) is None and live.follow(latent(3, 4, 64, 64)) is None


def test_of_a_clip_the_frame_at_work(comfyui):
    """Each part of a clip begins with the latent's frame that it comes of; the last of its frames is shown."""
    vae = small("wan", torch.float32)
    z = latent(1, vae.latent_channels, 3, 40, 40)
    live, seen = host.LivePreview(z, None), []
    live.largest = 2**20
    begin = live._begin
    live._begin = lambda item, frame, scale: seen.append((item, frame)) or begin(item, frame, scale)
    result = vae.decode(z, on_part=live.take, rows=64)
    assert seen == [(0, 0), (0, 1), (0, 2)]
    assert (drawn(live) - in_levels(result[0, :, -1])).abs().max() <= 1


def test_a_watched_model_is_left_as_it_was(comfyui, vae):
    model = host.HostModel(vae)
    with (
        pytest.raises(ZeroDivisionError),
        host_model.watched(SimpleNamespace(first_stage_model=model), latent(1, 4, 64, 64)),
    ):
        assert isinstance(model.live, host.LivePreview)
        raise ZeroDivisionError
    assert model.live is None


def test_a_preview_that_fails_costs_no_decode(comfyui, vae, monkeypatch, caplog):
    live = host.first_look(vae, latent(1, 4, 64, 64), "sd1")
    assert live

    def fail(*given):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(previews, "shrink", fail)
    decoded = vae.decode(latent(1, 4, 64, 64), rows=64, on_part=live.take)
    assert torch.equal(decoded, vae.decode(latent(1, 4, 64, 64), rows=64))
    assert [record.message for record in caplog.records if record.name == "exact_vae"] == [
        "The preview of this decode is given up; the decode goes on."
    ]
