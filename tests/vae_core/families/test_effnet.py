"""Stage C against the authors' two networks: the backbone as torchvision has it, and the previewer."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, detect, from_weights, inspect, load
from exact_vae.vae_core.families.effnet import EffNetConfig
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.reports.description import describe_file
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights
from support.slow import mark_slow
from torch import nn
from torch.nn import functional as F

EXACT = 1e-9
FULL = EffNetConfig(16, encoder=True, decoder=64)


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out, eps=1e-3), *([nn.SiLU()] if act else []))


class Squeeze(nn.Module):
    def __init__(self, c: int, squeezed: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, squeezed, 1), nn.Conv2d(squeezed, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Block(nn.Module):
    def __init__(self, *parts: nn.Module, adds: bool):
        super().__init__()
        self.block, self.adds = nn.Sequential(*parts), adds

    def forward(self, x):
        return x + self.block(x) if self.adds else self.block(x)


def block(kind: str, c_in: int, c: int, expansion: int, stride: int) -> Block:
    wide, adds = expansion * c_in, stride == 1 and c_in == c
    if kind == "fused" and expansion == 1:
        return Block(conv_norm(c_in, c, 3, stride), adds=adds)
    if kind == "fused":
        return Block(conv_norm(c_in, wide, 3, stride), conv_norm(wide, c, 1, act=False), adds=adds)
    return Block(conv_norm(c_in, wide, 1), conv_norm(wide, wide, 3, stride, wide), Squeeze(wide, c_in // 4),
                 conv_norm(wide, c, 1, act=False), adds=adds)  # fmt: skip


def plain() -> nn.Module:
    """EfficientNetV2-S up to its features, of plain modules: Tan & Le 2021, table 4."""
    rows = [("fused", 1, 1, 24, 2), ("fused", 4, 2, 48, 4), ("fused", 4, 2, 64, 4), ("mb", 4, 2, 128, 6),
            ("mb", 6, 1, 160, 9), ("mb", 6, 2, 256, 15)]  # fmt: skip
    stages, c_in = [], 24
    for kind, expansion, stride, c, layers in rows:
        widths = [c_in, *[c] * (layers - 1)]
        stages.append(nn.Sequential(*(block(kind, w, c, expansion, 1 if i else stride) for i, w in enumerate(widths))))
        c_in = c
    return nn.Sequential(conv_norm(3, 24, 3, 2), *stages, conv_norm(256, 1280, 1))


def torchvisions() -> nn.Module:
    try:
        from torchvision.models import efficientnet_v2_s  # type: ignore[import-not-found]
    except (ImportError, RuntimeError) as e:
        pytest.skip(f"needs a torchvision that fits this torch ({e})")
    return efficientnet_v2_s().features


def previewer() -> nn.Module:
    def gelu_norm(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
        return [conv, nn.GELU(), nn.BatchNorm2d(conv.out_channels)]

    w = 64
    return nn.Sequential(
        *gelu_norm(nn.Conv2d(16, w, 1)),
        *gelu_norm(nn.Conv2d(w, w, 3, padding=1)),
        *gelu_norm(nn.ConvTranspose2d(w, w // 2, 2, stride=2)),
        *gelu_norm(nn.Conv2d(w // 2, w // 2, 3, padding=1)),
        *gelu_norm(nn.ConvTranspose2d(w // 2, w // 4, 2, stride=2)),
        *gelu_norm(nn.Conv2d(w // 4, w // 4, 3, padding=1)),
        *gelu_norm(nn.ConvTranspose2d(w // 4, w // 4, 2, stride=2)),
        *gelu_norm(nn.Conv2d(w // 4, w // 4, 3, padding=1)),
        nn.Conv2d(w // 4, 3, 1),
    )


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """So large that an image is still seen after all layers, and no larger: they would amplify roundings."""
    made = random_weights("effnet", FULL, torch.float64)
    return {name: 1.2 * t if t.ndim == 4 else t for name, t in made.items()}


def half(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def filled(module: nn.Module, weights: dict[str, torch.Tensor]) -> nn.Module:
    lost, surplus = module.double().eval().load_state_dict(weights, strict=False)
    assert not surplus and all(name.endswith("num_batches_tracked") for name in lost)
    return module


@pytest.mark.parametrize("backbone", [plain, torchvisions])
@torch.no_grad()
def test_encodes_as_the_authors(weights, backbone):
    """Which normalise pixels in [0, 1] before, and the latent after."""
    reference = filled(backbone(), half(weights, "encoder.backbone."))
    mapper = nn.Sequential(nn.Conv2d(1280, 16, 1, bias=False), nn.BatchNorm2d(16, affine=False))
    filled(mapper, half(weights, "encoder.mapper."))
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    mean, std = (torch.tensor(n, dtype=x.dtype).view(3, 1, 1) for n in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    want = mapper(reference((x - mean) / std))
    got = from_weights(weights).encode(2 * x - 1).mode()
    assert got.shape == (2, 16, 2, 3) and got.std((2, 3)).min() > 0.01  # the image is seen
    assert (got - want).abs().max() < EXACT * want.abs().max()


@torch.no_grad()
def test_previews_as_the_authors(weights):
    """In pixels of [0, 1]."""
    reference = filled(previewer(), half(weights, "decoder.blocks."))
    z = torch.randn(2, 16, 3, 5, dtype=torch.float64)
    got = from_weights(weights).decode(z)
    assert got.shape == (2, 3, 24, 40)
    assert ((got + 1) / 2 - reference(z)).abs().max() < EXACT


@torch.no_grad()
def test_the_file_s_own_mean_and_deviation(weights):
    """Some files hold them; without, they are ImageNet's."""
    own = {"encoder.mean": torch.tensor([0.1, 0.2, 0.3]), "encoder.std": torch.tensor([0.5, 0.6, 0.7])}
    usual = {"encoder.mean": torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64),
             "encoder.std": torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)}  # fmt: skip
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    a, b, c = (from_weights({**weights, **more}).encode(x).mode() for more in ({}, usual, own))
    assert torch.allclose(a, b, rtol=0, atol=1e-12) and (a - c).abs().max() > 1e-3


@pytest.mark.parametrize("rows", mark_slow([1, 16], [1]))
@torch.no_grad()
def test_bands(weights, rows):
    vae = from_weights(weights)
    x = torch.rand(1, 3, 100, 64, dtype=torch.float64) * 2 - 1
    whole, bands = vae.encode(x).mode(), vae.encode(x, rows=rows).mode()
    assert (bands - whole).abs().max() < 1e-12 * whole.abs().max()
    image = vae.decode(whole)
    assert (vae.decode(whole, rows=rows) - image).abs().max() < 1e-12 * image.abs().max()


@torch.no_grad()
def test_a_preview_is_a_quarter_of_what_was_encoded(weights):
    """Cropped so, too: however it is run."""
    vae = from_weights({name: tensor.float() for name, tensor in weights.items()})
    assert (vae.spatial_ratio, vae.decoded_ratio) == (32, 8)
    posterior = vae.encode(torch.zeros(1, 3, 100, 65))
    assert posterior.mode().shape == (1, 16, 4, 3)
    image = vae.decode(posterior.mode(), size=posterior.size)
    assert image.shape == (1, 3, 25, 17)
    rows = torch.cat(list(vae.decode_rows(posterior.mode(), size=posterior.size)), 1)
    assert torch.allclose(rows[None], image, atol=1e-5)


@torch.no_grad()
def test_halves_in_files_of_their_own(tmp_path, weights):
    """As they are published, under bare names; and in one file under the names of both."""
    parts = {"encoder": half(weights, "encoder."), "previewer": half(weights, "decoder.")}
    for name, tensors in parts.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    save_file({f"{n}.{k}": t for n, part in parts.items() for k, t in part.items()}, tmp_path / "both.safetensors")
    two, one = (
        load(tmp_path / "encoder.safetensors", tmp_path / "previewer.safetensors"),
        load(tmp_path / "both.safetensors"),
    )
    z = two.encode(torch.ones(1, 3, 32, 32)).mode()
    assert torch.equal(one.encode(torch.ones(1, 3, 32, 32)).mode(), z) and torch.equal(one.decode(z), two.decode(z))
    with pytest.raises(BadRequest, match="holds only the encoder"):
        load(tmp_path / "encoder.safetensors").decode(z)


@pytest.mark.parametrize("config", [FULL, EffNetConfig(16, True, None, statistics=True), EffNetConfig(4, False, 32)])
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("effnet", config))
    assert (found.config, found.is_whole) == (config, True)


def test_title():
    title = detect(header("stable-cascade-stage-c.effnet-encoder")["shapes"]).title
    assert title == "EfficientNetV2 encoder and previewer, 16 channels at 1/32: Stable Cascade (stage C)"


def test_an_inspection_says_how_large_a_preview_is(tmp_path, weights):
    save_file({n: t.contiguous() for n, t in weights.items()}, tmp_path / "c.safetensors")
    assert "decoded to 8 pixels for one of the latent" in describe_file(inspect(tmp_path / "c.safetensors"))
