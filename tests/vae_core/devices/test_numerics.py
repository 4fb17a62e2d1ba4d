"""The same bits whatever torch is set to."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial

import pytest
import torch
from exact_vae.vae_core import (
    SPACES,
    VAE,
    Noise,
    Tag,
    convert,
    fit,
    from_weights,
    load,
    preview,
    read_latent,
    save,
    write_latent,
)
from exact_vae.vae_core.checkpoints import in_space
from exact_vae.vae_core.devices.numerics import pin_numerics, without_grad
from exact_vae.vae_core.execution import Tiles
from exact_vae.vae_core.images import (
    channel_grid,
    colour_shift,
    composite,
    convert_channels,
    heat_map,
    masks,
    match_colours,
    psnr,
    ssim,
)
from exact_vae.vae_core.latents import false_colours, interpolate, published_factors, spectra
from exact_vae.vae_core.reports import describe_latent
from safetensors.torch import save_file
from support.random_networks import random_weights
from support.small_networks import SMALL
from support.torch_settings import settings

F32 = torch.float32
# Networks with the ops that others do not have: attention, sums over pixels, codebooks, clips, a second image.
KINDS = ("kl", "dc_ae", "vq: MoVQ", "paella", "wan", "hunyuan_video", "tiny_video")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(F32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def matmul_precision(word: str) -> Iterator[None]:
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


STATES: dict[str, Callable] = {
    "autocast to bf16": partial(torch.autocast, "cpu", torch.bfloat16),
    "autocast to fp16": partial(torch.autocast, "cpu", torch.float16),
    "default dtype fp64": partial(default_dtype, torch.float64),
    "default dtype bf16": partial(default_dtype, torch.bfloat16),
    "default device": partial(default_device, "meta"),
    "device": partial(torch.device, "meta"),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "matmul in bf16": partial(matmul_precision, "medium"),
}


@lru_cache
def weights(kind: str) -> dict[str, torch.Tensor]:
    return random_weights(*SMALL[kind], F32)


def fresh(kind: str) -> VAE:
    return from_weights(weights(kind), kind)


network = lru_cache(fresh)


@lru_cache
def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class Rows:
    """An image that is read row by row."""

    def __init__(self, x: torch.Tensor):
        self.x, self.shape = x, tuple(x.shape)

    def read(self) -> Iterator[torch.Tensor]:
        return iter(self.x.split(5, 1))


def pixels(vae: VAE) -> torch.Tensor:
    frames = (5,) if vae.clip_law else ()
    return random(1, vae.in_channels, *frames, 2 * vae.spatial_ratio + 3, 2 * vae.spatial_ratio) * 2 - 1


def latent(vae: VAE) -> torch.Tensor:
    return random(1, vae.latent_channels, *((2,) if vae.clip_law else ()), 3, 2) - 0.5


def encoded(kind: str, **how) -> torch.Tensor:
    vae = network(kind)
    posterior = vae.encode(pixels(vae), **how)
    drawn = posterior.sample(torch.Generator().manual_seed(1))
    return torch.cat([one.flatten() for one in (posterior.mode(), drawn, posterior.std, posterior.var, posterior.kl())])


def decoded(kind: str, **how) -> torch.Tensor:
    return network(kind).decode(latent(network(kind)), **how)


def fitted(*parts: str) -> torch.Tensor:
    """Fitted on images that are encoded, or decoded if there is nothing else."""
    vae = from_weights({name: t for name, t in weights("kl").items() if name.startswith(parts)})
    return preview(latent(vae), fit(vae))


def stored(path) -> torch.Tensor:
    """A file of random weights, what is loaded of it, that as it is saved, in fp32 and in bf16."""
    save_file(weights("kl"), path / "a.safetensors")
    vae = load(path / "a.safetensors")
    save(vae, path / "b.safetensors", dtype=torch.bfloat16)
    half = load(path / "b.safetensors", dtype=torch.bfloat16)
    again = from_weights(dict(half.network.state_dict()), dtype=F32)
    return torch.cat([p.float().flatten() for one in (vae, half, again) for p in one.network.parameters()])


def told_its_space(path) -> torch.Tensor:
    return in_space(fresh("tiny"), "sd1").decode(random(1, 4, 2, 2))


def in_a_file(path) -> torch.Tensor:
    write_latent(path / "a.latent", random(1, 4, 3, 2), Tag.of(random(1, 4, 3, 2), "kl", 8, (20, 16)))
    return read_latent(path / "a.latent")[0]


# What the public functions compute, by name; those that are given a folder write files there.
COMPUTED: dict[str, Callable[..., torch.Tensor | str]] = {
    **{f"encode {kind}": partial(encoded, kind) for kind in KINDS},
    **{f"decode {kind}": partial(decoded, kind) for kind in KINDS},
    "encode in bands": partial(encoded, "kl", rows=4),
    "decode in bands": partial(decoded, "kl", rows=4),
    "encode in tiles": partial(encoded, "kl", tiles=Tiles(4, 2)),
    "decode in tiles": partial(decoded, "kl", tiles=Tiles(4, 2)),
    "encode rows": lambda: network("kl").encode_rows(Rows(pixels(network("kl"))[0]), rows=4).mode(),
    "decode rows": lambda: torch.cat(list(network("kl").decode_rows(latent(network("kl")), rows=4)), -2),
    "decode beside an image": lambda: network("asymmetric").decode(
        random(1, 4, 4, 3), image=random(1, 3, 8, 6), mask=random(1, 1, 8, 6)
    ),
    "fit and preview": partial(fitted, ""),
    "fit to a decoder": partial(fitted, "decoder", "post_quant_conv"),
    "load and save": stored,
    "load into a latent space": told_its_space,
    "fingerprint": lambda: fresh("kl").fingerprint,
    "a latent's file": in_a_file,
    "published factors": lambda: preview(random(1, 4, 3, 2), published_factors("sd1", SPACES["sd1"])),  # type: ignore[arg-type]
    "false colours": lambda: false_colours(random(2, 4, 3, 2)),
    "convert": lambda: convert(random(1, 16, 3, 2), SPACES["wan21"], "raw", "normalised"),
    **{f"{one} noise": lambda one=one: Noise(3, spectrum=one).draw((2, 4, 9, 8)) for one in spectra.SPECTRA},
    "noise of a GPU": lambda: Noise(3, "nvidia", variation_strength=0.3).draw((2, 4, 3, 2)),
    "interpolate": lambda: interpolate(random(1, 4, 3, 2), Noise(2).draw((1, 4, 3, 2)), 0.3),
    "psnr": lambda: psnr(random(2, 3, 16, 12), random(2, 3, 16, 12) ** 2),
    "ssim": lambda: ssim(random(2, 3, 16, 12), random(2, 3, 16, 12) ** 2),
    "colour shift": lambda: colour_shift(random(2, 3, 16, 12), random(2, 3, 16, 12) ** 2),
    "heat map": lambda: heat_map(random(2, 3, 16, 12), random(2, 3, 16, 12) ** 2),
    "channel grid": lambda: channel_grid(random(2, 4, 6, 5)),
    "composite": lambda: composite(random(1, 3, 8, 6), random(1, 3, 8, 6) ** 2, random(1, 1, 8, 6)),
    "match colours": lambda: match_colours(random(1, 3, 80, 60), random(1, 3, 80, 60) ** 2, random(1, 1, 80, 60) > 0.5),
    "channels": lambda: convert_channels(random(1, 4, 8, 6), 3, "composite", "#ff8000")[0],
    "masks": lambda: masks.feather(masks.grow(masks.resize(random(1, 8, 6), (12, 9)), 2), 2),
    "statistics": lambda: describe_latent(random(1, 4, 32, 32)),
    "plan": lambda: str(network("kl").plan("decode", (1, 4, 33, 17), budget="9MiB")),
    "peak": lambda: str(network("kl").peak_bytes("encode", (1, 3, 33, 17))),
}


def compute(name: str, folder) -> torch.Tensor | str:
    function = COMPUTED[name]
    return function(folder) if function in (stored, told_its_space, in_a_file) else function()


def equal(a: torch.Tensor | str, b: torch.Tensor | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return bool((a.dtype, a.device) == (b.dtype, b.device) and torch.equal(a, b))


@pytest.mark.parametrize("name", COMPUTED)
def test_no_state_of_the_process_changes_a_result(name, tmp_path):
    want = compute(name, tmp_path)
    wrong = {}
    for state, enter in STATES.items():
        with enter():
            before = settings()
            made = compute(name, tmp_path)
            assert settings() == before, state
        if not equal(made, want):
            wrong[state] = made
    assert not wrong


def test_a_vae_that_is_loaded_in_inference_mode_is_like_any_other(tmp_path):
    """Its weights can be cast, laid out anew, and trained."""
    save_file(weights("wan"), tmp_path / "a.safetensors")
    want = decoded("wan")
    with torch.inference_mode():
        vae = load(tmp_path / "a.safetensors")
        given = from_weights({name: t.clone() for name, t in weights("wan").items()})  # as a program has loaded them
        vae.to(dtype=torch.float64).to(dtype=F32)
    assert torch.equal(vae.decode(latent(vae)), want) and torch.equal(given.decode(latent(vae)), want)
    assert not any(p.is_inference() for p in vae.network.parameters())


def test_items_made_without_gradients_are_not_held():
    """Nor is the last one while the next is made; what the caller does between them is the caller's affair."""
    made: list[weakref.ref[torch.Tensor]] = []

    @without_grad
    def count(n: int):
        for _ in range(n):
            assert not torch.is_grad_enabled() and all(one() is None for one in made)
            item = [torch.zeros(3)]
            made.append(weakref.ref(item[0]))
            yield item.pop()

    for item in count(3):
        assert torch.is_grad_enabled() and made[-1]() is item
        del item
    assert len(made) == 3


def test_intels_gpus_compute_fp32_as_fp32(monkeypatch):
    """Whatever a program has set, which is so again afterwards."""
    state = [True]
    monkeypatch.setattr(torch._C, "_get_onednn_allow_tf32", lambda: state[0], raising=False)
    monkeypatch.setattr(torch._C, "_set_onednn_allow_tf32", lambda on: state.__setitem__(0, on), raising=False)
    with pin_numerics():
        assert state == [False]
    assert state == [True]
