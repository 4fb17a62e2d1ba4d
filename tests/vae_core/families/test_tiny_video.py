"""Tiny autoencoders of clips against a plain walk through their layers, frame by frame, random weights, float64."""

import dataclasses

import pytest
import torch
from exact_vae.vae_core import BadRequest, ClipLaw, detect, from_weights, load
from exact_vae.vae_core.checkpoints.loading import read_as_light
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.families.tiny_video import Coder, Level, TinyVideoConfig
from exact_vae.vae_core.latents.spaces import SPACES
from exact_vae.vae_core.ops import splits_in_time
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights
from support.slow import mark_slow
from support.tensors import near
from torch.nn import functional as F

EXACT = 1e-12


def coder(widths: tuple[int, ...], in_time: str, **more) -> Coder:
    """in_time: of each level, 't' if it halves or doubles the number of frames, '3' if it does so by three"""
    steps = {"-": 1, "t": 2, "3": 3}
    return Coder(tuple(Level(w, 2, steps[t]) for w, t in zip(widths, in_time, strict=True)), 8, **more)


KINDS = {
    "taehv": TinyVideoConfig(4, coder((8, 8, 8), "tt-"), coder((16, 8, 8), "-tt")),
    "patches": TinyVideoConfig(6, coder((8, 8, 8), "tt-"), coder((16, 8, 8), "-tt"), patch=2),
    "taeltx": TinyVideoConfig(6, coder((8, 8, 8), "ttt"), coder((16, 8, 8), "ttt"), patch=4),
    "super": TinyVideoConfig(6, coder((8, 8, 8), "tt-"), coder((16, 12, 8), "-tt", superior=True), patch=2),
    "taeh3": TinyVideoConfig(24, coder((8, 8, 8), "tt-"), coder((16, 8, 8), "-tt"), patch=2),
    "taem1": TinyVideoConfig(6, coder((8, 8, 8), "3t-"), coder((16, 8, 8), "-t3")),
    "wide": TinyVideoConfig(6, coder((8, 8, 8), "tt-"), coder((16, 12, 8), "-tt", group=4), patch=2),
}
FRAMES = {kind: (1, 2, 4, 9) for kind in KINDS}
FRAMES |= {"taeltx": (1, 17), "taeh3": (5, 22, 39), "taem1": (1, 6, 13)}


def weights_of(kind: str) -> dict[str, torch.Tensor]:
    """Somewhat larger than they come, so that nothing fades."""
    return {n: 1.5 * t for n, t in random_weights("tiny_video", KINDS[kind], torch.float64).items()}


def batched(frames: list[torch.Tensor], n: int) -> list[list[torch.Tensor]]:
    return [frames[i : i + n] for i in range(0, len(frames), n)]


class Walk:
    """One half, layer by layer on a list of frames (1, C, H, W), as the author's README and code describe it."""

    def __init__(self, weights: dict[str, torch.Tensor], half: str, act=F.relu):
        self.weights = {n.removeprefix(f"{half}."): t for n, t in weights.items() if n.startswith(f"{half}.")}
        self.half, self.act = half, act
        self.superior = "0.weight" in self.weights and half == "decoder"
        self.layers = sorted({int(n.split(".")[0]) for n in self.weights})

    def conv(self, name: str, x: torch.Tensor, **how) -> torch.Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(x, weight, self.weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **how)

    def block(self, i: int, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        y = torch.cat([x, before], 1)
        if self.superior:
            y = self.act(self.conv(f"{i}.conv.1", self.conv(f"{i}.conv.0", y, groups=y.shape[1])))
            return x + self.conv(f"{i}.conv.3", y)
        if f"{i}.conv.6.weight" in self.weights:
            return self.act(x + self.wide(i, y))
        y = self.act(self.conv(f"{i}.conv.2", self.act(self.conv(f"{i}.conv.0", y))))
        return self.act(x + self.conv(f"{i}.conv.4", y))

    def wide(self, i: int, y: torch.Tensor) -> torch.Tensor:
        for n in (0, 2, 4, 6):
            seen = self.weights[f"{i}.conv.{n}.weight"].shape[1]
            y = self.conv(f"{i}.conv.{n}", self.act(y) if n else y, groups=y.shape[1] // seen)
        return y

    def in_time(self, i: int, frames: list[torch.Tensor]) -> list[torch.Tensor]:
        c_out, c_in = self.weights[f"{i}.conv.weight"].shape[:2]
        if self.half == "encoder":
            n = c_in // frames[0].shape[1]
            return [self.conv(f"{i}.conv", torch.cat(group, 1)) for group in batched(frames, n)]
        doubled = frames if self.superior else [F.interpolate(x, scale_factor=2, mode="nearest") for x in frames]
        return [part for x in doubled for part in self.conv(f"{i}.conv", x).chunk(c_out // c_in, 1)]

    def __call__(self, frames: list[torch.Tensor]) -> list[torch.Tensor]:
        if self.half == "decoder" and not self.superior:
            frames = [3 * torch.tanh(x / 3) for x in frames]
        for i in self.layers:
            if f"{i}.conv.weight" in self.weights:
                frames = self.in_time(i, frames)
            elif f"{i}.weight" not in self.weights:
                befores = [torch.zeros_like(frames[0]), *frames]
                frames = [self.block(i, x, before) for x, before in zip(frames, befores, strict=False)]
            else:
                frames = [self.changed(i, x) for x in frames]
        return frames

    def changed(self, i: int, x: torch.Tensor) -> torch.Tensor:
        """A convolution, and what follows it."""
        first, last = i == self.layers[0], i == self.layers[-1]
        down = self.half == "encoder" and f"{i}.bias" not in self.weights
        if last and self.half == "decoder" and not self.superior:
            x = self.act(x)
        x = self.conv(f"{i}", x, stride=2 if down else 1)
        if self.superior and not first and not last:
            return F.pixel_shuffle(self.act(x), 2)
        return self.act(x) if first and not self.superior else x


def walked_encode(kind: str, weights: dict, x: torch.Tensor, act=F.relu) -> torch.Tensor:
    """x: (1, C, T, H, W) in [0, 1]"""
    config, frames = KINDS[kind], list(x.transpose(1, 2)[0][:, None])
    frames += frames[-1:] * (-len(frames) % (17 if kind == "taeh3" else config.temporal_ratio))
    chunks = [frames]
    if kind == "taeh3":
        chunks = [[torch.zeros_like(frames[0])] * 3 + list(chunk) for chunk in batched(frames, 17)]
    run = Walk(weights, "encoder", act)
    z = [y for chunk in chunks for y in run([F.pixel_unshuffle(f, config.patch) for f in chunk])]
    return torch.stack(z[: len(z) - 3 * (kind == "taeh3")], 2)


def walked_decode(kind: str, weights: dict, z: torch.Tensor, act=F.relu) -> torch.Tensor:
    config = KINDS[kind]
    frames, skipped = Walk(weights, "decoder", act)(list(z.transpose(1, 2)[0][:, None])), config.temporal_ratio - 1
    chunk = 20 if kind == "taeh3" else len(frames)
    kept = [f for i, f in enumerate(frames) if i % chunk >= skipped]
    return torch.stack([F.pixel_shuffle(f, config.patch) for f in kept], 2)


def clip(frames: int, ratio: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(2, 3, frames, 3 * ratio, 2 * ratio, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "frames"), [(kind, t) for kind in KINDS for t in FRAMES[kind]])
@torch.no_grad()
def test_equals_a_walk_through_the_layers(kind, frames):
    weights = weights_of(kind)
    ours = from_weights(weights)
    assert (ours.family, ours.config) == ("tiny_video", KINDS[kind])
    x = clip(frames, ours.spatial_ratio)
    z = torch.cat([walked_encode(kind, weights, one[None]) for one in x])
    assert near(ours.encode(2 * x - 1).mode(), z) < EXACT
    pixels = torch.cat([walked_decode(kind, weights, one[None]) for one in 3 * z])
    assert near((ours.decode(3 * z) + 1) / 2, pixels) < EXACT


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_images_are_clips_of_one_frame(kind):
    """Of a clip too short to encode its frame is repeated; one is decoded from the first latent frame. TAEH3 could not
    encode one frame as a clip, but it encodes the first of a clip by itself."""
    weights = weights_of(kind)
    ours = from_weights(weights)
    x = clip(1, ours.spatial_ratio)
    z = ours.encode(2 * x[:, :, 0] - 1).mode()
    assert z.shape == (2, ours.latent_channels, 3, 2)
    want = torch.cat([walked_encode(kind, weights, one[None])[:, :, 0] for one in x])
    assert near(z, want) < EXACT
    assert near(ours.encode(2 * x - 1).mode()[:, :, 0], want) < EXACT
    pixels = torch.cat([walked_decode(kind, weights, one[None, :, None]) for one in z])
    assert near((ours.decode(z) + 1) / 2, pixels[:, :, 0]) < EXACT
    for rows in (8, 40):
        assert near(ours.encode(2 * x[:, :, 0] - 1, rows=rows).mode(), z) < EXACT
        assert near(ours.decode(z, rows=rows), ours.decode(z)) < EXACT


HOW = [{}, {"rows": 1000}, {"rows": 8}, {"rows": 5, "keep": "disk"}, {"rows": 3, "keep": "device"}]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_parts_and_bands_are_the_clip_at_once(kind):
    from exact_vae.vae_core.execution import whole

    ours = from_weights(weights_of(kind))
    x, t = 2 * clip({"taeh3": 39, "taeltx": 17, "taem1": 13}.get(kind, 12), ours.spatial_ratio) - 1, ours.temporal_ratio
    z = ours.encode(x).mode() * 3
    for doing, y in (("encode", x), ("decode", z)):
        ops = ours.network.encode_ops() if doing == "encode" else ours.network.decode_ops()
        filled = torch.cat([y, *[y[:, :, -1:]] * (-y.shape[2] % t)], 2) if doing == "encode" and kind != "taeh3" else y
        want = torch.stack([whole.run(ops, one) for one in filled.transpose(1, 2)]).transpose(1, 2)
        assert splits_in_time(ops)
        for how in HOW:
            assert not how or ours.plan(doing, y.shape, **how).frames == 1
            got = getattr(ours, doing)(y, **how)
            assert near(got.mode() if doing == "encode" else got, want) < EXACT


@pytest.mark.parametrize("n", mark_slow([1, 2, 3], [1, 3]))
@pytest.mark.parametrize("kind", ["taehv", "taeh3"])
@torch.no_grad()
def test_parts_of_any_length_are_the_clip_at_once(kind, n):
    """Where a chunk of TAEH3 begins does not depend on the parts a clip is cut into."""
    from exact_vae.vae_core.execution import whole
    from exact_vae.vae_core.execution.bands.state import Past
    from exact_vae.vae_core.execution.bands.stores import OnDevice

    network = from_weights(weights_of(kind)).network
    first, step = network.clip_law.first, network.clip_law.step
    x, z = (torch.randn(t, c, 16, 16, dtype=torch.float64) for t, c in ((first + 4 * step, 3), (12, 24)))
    z = z[:, : KINDS[kind].z_channels]
    for ops, y, begin, more in ((network.encode_ops(), x, first, step), (network.decode_ops(), z, 1, 1)):
        past, begin = Past(OnDevice()), begin + more * (n - 1)
        parts = [whole.run(ops, part, past=past) for part in (y[:begin], *y[begin:].split(more * n))]
        assert near(torch.cat(parts), whole.run(ops, y)) < EXACT


@torch.no_grad()
def test_rows_of_an_image_come_and_go():
    ours = from_weights(weights_of("patches"))

    class Pixels:
        shape = (3, 40, 32)

        def read(self):
            return iter(x.split(7, 1))

    x = 2 * clip(1, 16)[0, :, 0, :40] - 1
    z = ours.encode_rows(Pixels(), rows=16).mode()
    assert near(z, ours.encode(x[None]).mode()) < EXACT
    assert near(torch.cat(list(ours.decode_rows(z, rows=16)), 1)[None], ours.decode(z)) < EXACT


@torch.no_grad()
def test_a_plan_counts_what_the_last_of_many_frames_takes():
    """Ten times the frames take no more, but for the clip, its latent and its pixels."""
    ours = from_weights(weights_of("taehv"))
    peaks = []
    for t in (4, 40):
        peaks.append(ours.plan("decode", (1, 4, t, 16, 16)).peak - 8 * (2 * 4 * t * 16**2 + 3 * (4 * t - 3) * 128**2))
    assert peaks[0] == peaks[1]


@torch.no_grad()
def test_light_networks_have_the_same_shapes():
    """LightX2V's: leaky ReLUs, and pixels in [-1, 1]. Only who loads the file knows."""
    weights = weights_of("patches")
    ours = read_as_light(from_weights(weights))
    x = 2 * clip(4, 16) - 1

    def leaky(y):
        return F.leaky_relu(y, 0.2)

    z = torch.cat([walked_encode("patches", weights, one[None], leaky) for one in x])
    assert near(ours.encode(x).mode(), z) < EXACT
    assert near(ours.decode(z), torch.cat([walked_decode("patches", weights, one[None], leaky) for one in z])) < EXACT


@torch.no_grad()
def test_options_of_loading(tmp_path):
    """Raw latents by the name of a space, or of the author's file; a light network only if asked for."""
    config = TinyVideoConfig(16, KINDS["taehv"].encoder, KINDS["taehv"].decoder)
    weights, scale = random_weights("tiny_video", config), SPACES["hunyuan-video"].scale
    for name in ("mine", "taehv"):
        save_file(weights, tmp_path / f"{name}.safetensors")
    plain, known = load(tmp_path / "mine.safetensors"), load(tmp_path / "taehv.safetensors")
    told = load(tmp_path / "mine.safetensors", latent_space="hunyuan-video")
    x = clip(5, 8).float() * 2 - 1
    z = plain.encode(x).mode()
    assert torch.allclose(known.encode(x).mode() * scale, z, atol=1e-6)
    assert torch.equal(told.encode(x).mode(), known.encode(x).mode())
    assert torch.allclose(known.decode(known.encode(x).mode()), plain.decode(z), atol=1e-5)
    light = load(tmp_path / "mine.safetensors", light=True)
    assert (light.config.light, known.config.light) == (True, False)
    assert not torch.allclose(light.encode(x).mode(), z, atol=1e-3)
    with pytest.raises(BadRequest, match="has no use for the latent space 'flux1'"):
        load(tmp_path / "mine.safetensors", latent_space="flux1")
    with pytest.raises(BadRequest, match="cannot be read as LightX2V's tiny VAE of clips: it is Autoencoder-KL"):
        load(light=True)


@torch.no_grad()
def test_raw_latents_of_wan(tmp_path):
    """A mean and a std for each channel, on clips and on images."""
    weights = random_weights("tiny_video", TinyVideoConfig(16, KINDS["taehv"].encoder, KINDS["taehv"].decoder))
    save_file(weights, tmp_path / "taew2_1.safetensors")
    known, plain, space = load(tmp_path / "taew2_1.safetensors"), from_weights(weights), SPACES["wan21"]
    assert known.latent_space == "wan21"
    mean, std = (torch.tensor(t).view(-1, 1, 1) for t in (space.mean, space.std))
    x = clip(5, 8).float()
    assert torch.allclose(known.encode(x[:, :, 0]).mode(), plain.encode(x[:, :, 0]).mode() * std + mean, atol=1e-5)
    assert torch.allclose(known.encode(x).mode(), plain.encode(x).mode() * std[:, None] + mean[:, None], atol=1e-5)
    assert torch.allclose(known.decode(known.encode(x).mode()), plain.decode(plain.encode(x).mode()), atol=1e-5)


@pytest.mark.parametrize("config", [*KINDS.values(), TinyVideoConfig(4, None, KINDS["taehv"].decoder),
                                    TinyVideoConfig(4, KINDS["taehv"].encoder, None)])  # fmt: skip
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("tiny_video", config))
    assert (found.config, found.is_whole) == (config, True)


PUBLISHED = [("taehv", 16, 8, 4), ("taeh3", 24, 16, 4), ("taehv1_5", 32, 16, 4), ("taehv1_5_super", 32, 16, 4),
             ("taew2_2", 48, 16, 4), ("taeltx_2", 128, 32, 8), ("taeltx2_3_wide", 128, 32, 8), ("taem1", 12, 8, 6)
             ]  # fmt: skip


@pytest.mark.parametrize(("name", "channels", "ratio", "frames"), PUBLISHED)
def test_published_files(name, channels, ratio, frames):
    found = detect(header(f"{name}.original")["shapes"])
    assert found.is_whole and found.family == "tiny_video" and found.config.patch == ratio // 8
    assert (found.latent_channels, found.spatial_ratio, found.temporal_ratio) == (channels, ratio, frames)
    assert found.config.decoder.superior == name.endswith("super")
    assert found.config.decoder.group == (64 if name.endswith("wide") else 0)


def test_raw_latents_of_mochi(tmp_path):
    """By the author's name: from what Mochi's diffusion model sees, (raw - mean) / std, to raw."""
    weights = random_weights("tiny_video", dataclasses.replace(KINDS["taem1"], z_channels=12))
    save_file(weights, tmp_path / "taem1_fp16.safetensors")
    ours, space = load(tmp_path / "taem1_fp16.safetensors"), SPACES["mochi"]
    assert (ours.latent_space, ours.network.clip_law) == ("mochi", ClipLaw(6, 6))
    mean, std = (torch.tensor(t).view(-1, 1, 1) for t in (space.mean, space.std))
    x = clip(1, 8).float()[:, :, 0] * 2 - 1
    assert torch.allclose(ours.encode(x).mode(), from_weights(weights).encode(x).mode() * std + mean, atol=1e-5)


@pytest.mark.parametrize("kind", ["taehv", "taeh3"])
@torch.no_grad()
def test_no_image_sees_another(kind):
    ours = from_weights(weights_of(kind))
    x = torch.cat([2 * clip(t, 16)[:, :, 0] - 1 for t in (1, 2)])
    z = ours.encode(x).mode()
    assert near(z[1:2], ours.encode(x[1:2]).mode()) < EXACT
    assert near(ours.decode(z)[1:2], ours.decode(z[1:2])) < EXACT
