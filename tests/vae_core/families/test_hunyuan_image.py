"""HunyuanImage 2.1 against diffusers' own, random weights, float64, in every layout."""

import random

import pytest
import torch
from diffusers import AutoencoderKLHunyuanImage
from exact_vae.vae_core import detect, from_weights, inspect, load
from exact_vae.vae_core.families.hunyuan_image import Coder, HunyuanImageConfig
from exact_vae.vae_core.families.registry import expected_shapes
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights, shake
from support.tensors import random_images

EXACT = 1e-9


def theirs(seed: int) -> AutoencoderKLHunyuanImage:
    pick = random.Random(seed)
    widths = [32]
    for _ in range(pick.choice([1, 2, 3])):
        widths.append(widths[-1] * pick.choice([1, 2]))
    return shake(
        AutoencoderKLHunyuanImage(
            in_channels=pick.choice([1, 3]),
            out_channels=pick.choice([1, 3]),
            latent_channels=pick.choice([2, 4, 16]),
            block_out_channels=tuple(widths),
            layers_per_block=pick.choice([1, 2]),
            spatial_compression_ratio=2 ** (len(widths) - 1),
            sample_size=64,
        ),
        seed,
    )  # type: ignore[return-value]


ORIGINAL = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    ".to_": ".",
    ".proj.": ".proj_out.",
}


def original(weights: dict[str, torch.Tensor], blocks: int) -> dict[str, torch.Tensor]:
    """diffusers' names -> Tencent's, by counting: `blocks` residual blocks and a resampling to each level."""
    renamed = {}
    for name, tensor in weights.items():
        half, *rest = name.split(".")
        if rest[0] in ("down_blocks", "up_blocks"):
            row = blocks + (half == "decoder") + 1
            level, place = divmod(int(rest[1]), row)
            side = rest[0].removesuffix("_blocks")
            what = ["block", str(place)] if place < row - 1 else [f"{side}sample"]
            rest = [side, str(level), *what, *rest[2:]]
        name = ".".join([half, *rest])
        for new, old in ORIGINAL.items():
            name = name.replace(new, old)
        renamed[name] = tensor.contiguous()
    return renamed


@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_equals_diffusers(tmp_path, seed):
    known = theirs(seed)
    known.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    assert ours.family == "hunyuan_image"
    assert ours.spatial_ratio == known.config.spatial_compression_ratio
    x = random_images(ours.in_channels, ours.spatial_ratio, seed)
    want, got = known.encode(x).latent_dist, ours.encode(x)
    assert (got.mean - want.mean).abs().max() < EXACT
    assert (got.logvar - want.logvar).abs().max() < EXACT
    z = want.mean + 0.1
    assert (ours.decode(z) - known.decode(z).sample).abs().max() < EXACT
    assert (ours.decode(z, rows=3) - ours.decode(z)).abs().max() < 1e-12 * ours.decode(z).abs().max()


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_layouts_are_names_only(tmp_path, seed):
    """Under Tencent's names, with and without the prefix, and over a single frame: the same numbers."""
    known = theirs(seed)
    weights = {name: t.contiguous() for name, t in known.state_dict().items()}
    ldm = original(weights, known.config.layers_per_block)
    one_frame = {f"vae.{n}": t.unsqueeze(2) if t.ndim == 4 else t for n, t in ldm.items()}
    torch.save({"state_dict": one_frame}, tmp_path / "first.ckpt")
    save_file(ldm, tmp_path / "ldm.safetensors")
    ours = from_weights(weights)
    found = inspect(tmp_path / "first.ckpt")
    assert (found.layout, found.prefix, found.is_whole) == ("ldm", "vae.", True)
    x = random_images(ours.in_channels, ours.spatial_ratio, seed)
    z = ours.encode(x).mode()
    for other in (load(tmp_path / "first.ckpt"), load(tmp_path / "ldm.safetensors")):
        assert other.config == ours.config
        assert (other.encode(x).mode() - z).abs().max() < 1e-12  # a file's memory map is aligned otherwise: rounding
        assert (other.decode(z) - ours.decode(z)).abs().max() < 1e-12


SMALL = HunyuanImageConfig(
    z_channels=8,
    encoder=Coder((32, 64, 64), (1, 1, 1), (False,) * 3, stem=32),
    decoder=Coder((64, 32, 32), (2, 2, 2), (False,) * 3),
)
CONFIGS = {
    "plain": SMALL,
    "no attention": HunyuanImageConfig(
        z_channels=4,
        encoder=Coder((32, 64), (1, 2), (False,) * 2, mid_attention=False, stem=32),
        decoder=Coder((64, 64), (2, 1), (False,) * 2, mid_attention=False),
    ),
    "encoder only": HunyuanImageConfig(8, SMALL.encoder, None),
    "decoder only": HunyuanImageConfig(8, None, SMALL.decoder, out_channels=4),
}


@pytest.mark.parametrize("name", ["plain", "encoder only", "decoder only"])
def test_round_trip_of_the_config(name):
    found = detect(expected_shapes("hunyuan_image", CONFIGS[name]))
    assert (found.family, found.config, found.is_whole) == ("hunyuan_image", CONFIGS[name], True)


@torch.no_grad()
def test_without_attention():
    vae = from_weights(random_weights("hunyuan_image", CONFIGS["no attention"]))
    assert vae.config == CONFIGS["no attention"]
    assert vae.decode(vae.encode(torch.zeros(1, 3, 5, 7)).mode(), size=(5, 7)).shape == (1, 3, 5, 7)


def test_the_refiner_and_its_kin_are_others():
    for name in ("hunyuanimage21-refiner.diffusers", "hunyuanimage3.ldm", "hunyuanvideo15.ldm"):
        assert detect(header(name)["shapes"]).family != "hunyuan_image"


def test_the_title_says_whose_latents():
    assert detect(header("hunyuanimage21.ldm")["shapes"]).title.endswith("64 channels at 1/32: HunyuanImage 2.1")
