"""Tiny autoencoders: the author's own weights and outputs, and diffusers' AutoencoderTiny in float64."""

import pytest
import torch
from diffusers import AutoencoderTiny
from exact_vae.vae_core import BadRequest, BrokenCheckpoint, UnknownCheckpoint, detect, from_weights, load
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.families.tiny import Coder, TinyConfig
from exact_vae.vae_core.latents.spaces import SPACES, find_tiny_space
from safetensors.torch import load_file, save_file
from support.headers import header
from support.random_networks import random_weights
from torch import nn
from torch.nn import functional as F

PLAIN = TinyConfig(4, Coder((64,) * 4, (1, 3, 3, 3)), Coder((64,) * 4, (3, 3, 3, 1)))
SANA = TinyConfig(32, Coder((64,) * 4, (1, 3, 3, 3), stem=32), Coder((256, 128, 64, 64, 64, 64), (3, 3, 3, 3, 3, 1)))
TAEQI = TinyConfig(
    64, Coder((64, 64, 128, 256), (1, 3, 3, 3)), Coder((256, 128, 64, 64), (3, 3, 3, 1)), 4, 4, shuffle=2
)
TAEF2 = TinyConfig(32, Coder((64,) * 4, (1, 3, 3, 3), pool=True), Coder((64,) * 4, (3, 3, 3, 1), pool=True))


@torch.no_grad()
def test_taef2_equals_the_author(taef2, shared):
    """Real weights on a photograph: latent and image as computed by the author's code in fp32 on a CPU."""
    known = load_file(shared / "weights" / "taef2_reference.safetensors")
    vae = load(*taef2)
    assert (vae.dtype, vae.latent_channels, vae.spatial_ratio) == (torch.float32, 128, 16)
    pixels = known["image_u8"].permute(2, 0, 1)[None].float() / 255 * 2 - 1
    latent = vae.encode(pixels).mode()
    assert latent.shape == (1, 128, 16, 20)
    assert (F.pixel_shuffle(latent, 2) - known["latent"]).abs().max() < 1e-4
    decoded = (vae.decode(F.pixel_unshuffle(known["latent"], 2)) + 1) / 2
    assert (decoded - known["decoded"]).abs().max() < 1e-4


@pytest.mark.parametrize("channels", [4, 16])
@torch.no_grad()
def test_equals_diffusers(tmp_path, channels):
    """Encoding in float64; decoding too, but for the range: theirs works in [0, 1] inside as well."""
    theirs = AutoencoderTiny(latent_channels=channels).double().eval()
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, dtype=torch.float64)
    x = torch.rand(2, 3, 24, 40, dtype=torch.float64) * 2 - 1
    z = theirs.encode(x).latents
    got = ours.encode(x)
    assert (got.mode() - z).abs().max() < 1e-12
    assert (got.std.abs().max(), got.var.abs().max(), got.kl().abs().max()) == (0, 0, 0)
    assert torch.equal(got.sample(torch.Generator().manual_seed(0)), got.mode())
    assert (ours.decode(5 * z) - theirs.decode(5 * z).sample).abs().max() < 1e-12


@pytest.mark.parametrize(
    "config", [PLAIN, SANA, TAEF2, TAEQI, TinyConfig(16, None, PLAIN.decoder), TinyConfig(4, PLAIN.encoder, None)]
)
def test_round_trip_of_the_config(config):
    found = detect(expected_shapes("tiny", config))
    assert (found.config, found.is_whole) == (config, True)


@pytest.mark.parametrize(("config", "channels", "ratio"), [(PLAIN, 4, 8), (SANA, 32, 32), (TAEF2, 128, 16)])
@torch.no_grad()
def test_shapes(config, channels, ratio):
    vae = from_weights(random_weights("tiny", config))
    latent = vae.encode(torch.zeros(1, 3, 2 * ratio, 3 * ratio)).mode()
    assert latent.shape == (1, channels, 2, 3)
    assert vae.decode(latent).shape == (1, 3, 2 * ratio, 3 * ratio)


@torch.no_grad()
def test_raw_latents_by_the_scale_in_the_file():
    """vae_scale and vae_shift lead from the network's scaled latents to raw ones: raw = scaled / scale + shift."""
    weights = random_weights("tiny", PLAIN)
    plain = from_weights(weights)
    scaled = from_weights({**weights, "vae_scale": torch.tensor(1.5305), "vae_shift": torch.tensor(0.0609)})
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    raw = scaled.encode(x).mode()
    assert torch.allclose(raw, plain.encode(x).mode() / 1.5305 + 0.0609, atol=1e-6)
    assert torch.allclose(scaled.decode(raw), plain.decode(plain.encode(x).mode()), atol=1e-5)


@torch.no_grad()
def test_raw_latents_by_the_name_of_a_space(tmp_path):
    weights = random_weights("tiny", PLAIN)
    save_file(weights, tmp_path / "tiny.safetensors")
    plain, sdxl = load(tmp_path / "tiny.safetensors"), load(tmp_path / "tiny.safetensors", latent_space="sdxl")
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(sdxl.encode(x).mode() * SPACES["sdxl"].scale, plain.encode(x).mode(), atol=1e-6)
    with pytest.raises(BadRequest, match="has no use for the latent space 'flux1'"):
        load(tmp_path / "tiny.safetensors", latent_space="flux1")
    with pytest.raises(BadRequest, match="there is no latent space 'sd9'"):
        load(tmp_path / "tiny.safetensors", latent_space="sd9")


@pytest.mark.parametrize("loaded", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_space_keeps_its_digits_until_it_is_used(loaded, tmp_path):
    """Cast after it was loaded, it converts latents as one that was loaded so: to the last digit of float64."""
    save_file(random_weights("tiny", PLAIN), tmp_path / "tiny.safetensors")
    vae = load(tmp_path / "tiny.safetensors", latent_space="sdxl", dtype=loaded).to(torch.float64)
    assert vae.network.to_raw(torch.ones((), dtype=torch.float64)).item() == 1 / SPACES["sdxl"].scale
    assert vae.network.to_raw(torch.ones(())).dtype is torch.float32
    assert vae.encode(torch.zeros(1, 3, 8, 8).double()).mode().dtype is torch.float64


class AuthorsBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        act = nn.ReLU()
        a, b, c = (nn.Conv2d(c, c, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(a, act, b, act, c)

    def forward(self, x):
        return (self.conv(x) + x).relu()


def authors_qwen_image_21() -> tuple[nn.Sequential, nn.Sequential]:
    """As madebyollin/taesd (MIT) writes it, of torch's own modules, at an eighth of its width."""

    def conv(a, b, **more):
        return nn.Conv2d(a, b, 3, padding=1, **more)

    down, wide = {"stride": 2, "bias": False}, (8, 16, 32)
    blocks = [[AuthorsBlock(c) for _ in range(3)] for c in (*wide, *wide[::-1])]
    encoder = nn.Sequential(
        nn.PixelUnshuffle(2), conv(16, 8), nn.ReLU(), AuthorsBlock(8), conv(8, 8, **down), *blocks[0],
        conv(8, 16, **down), *blocks[1], conv(16, 32, **down), *blocks[2], conv(32, 64))  # fmt: skip
    decoder = nn.Sequential(
        Clamp(), conv(64, 32), nn.ReLU(), *blocks[3], nn.Upsample(scale_factor=2), conv(32, 16, bias=False), *blocks[4],
        nn.Upsample(scale_factor=2), conv(16, 8, bias=False), *blocks[5], nn.Upsample(scale_factor=2),
        conv(8, 8, bias=False), AuthorsBlock(8), conv(8, 16), nn.PixelShuffle(2))  # fmt: skip
    return encoder.double(), decoder.double()


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


@pytest.mark.parametrize("layout", ["halves", "taesd", "diffusers", "diffusers, its shuffle not counted"])
@torch.no_grad()
def test_qwen_image_21(tmp_path, layout):
    """Images with straight alpha; normalised latents, of a mean and a std for each channel."""
    encoder, decoder = authors_qwen_image_21()
    files = save_as(layout, encoder.state_dict(), decoder.state_dict(), tmp_path)
    ours = load(*files, latent_space="qwen-image-2.1", dtype=torch.float64)
    assert (ours.latent_channels, ours.spatial_ratio, ours.in_channels, ours.out_channels) == (64, 16, 4, 4)
    x = torch.rand(1, 4, 32, 48, dtype=torch.float64) * 2 - 1
    space = SPACES["qwen-image-2.1"]
    mean, std = (torch.tensor(t, dtype=torch.float64)[:, None, None] for t in (space.mean, space.std))
    normalised = encoder(x / 2 + 0.5)
    assert (ours.encode(x).mode() - (normalised * std + mean)).abs().max() < 1e-12
    assert (ours.decode(normalised * std + mean) - (decoder(normalised) * 2 - 1)).abs().max() < 1e-12


def save_as(layout, encoder, decoder, folder):
    if layout == "halves":
        for half, weights in (("encoder", encoder), ("decoder", decoder)):
            torch.save(weights, folder / f"{half}.pth")
        return [folder / "encoder.pth", folder / "decoder.pth"]
    if layout == "taesd":
        weights = {**{f"taesd_encoder.{n}": t for n, t in encoder.items()},
                   **{f"taesd_decoder.{n}": t for n, t in decoder.items()}}  # fmt: skip
    else:
        behind = "not counted" in layout
        weights = {**{f"encoder.layers.{less(n, behind)}": t for n, t in encoder.items()},
                   **{f"decoder.layers.{less(n, 1)}": t for n, t in decoder.items()}}  # fmt: skip
    save_file(weights, folder / "one.safetensors")
    return [folder / "one.safetensors"]


def less(name, by):
    number, _, rest = name.partition(".")
    return f"{int(number) - by}.{rest}"


@pytest.mark.parametrize("made", [2, 5, 64])
def test_a_decoder_of_no_known_image_is_refused(made):
    shapes = dict(expected_shapes("tiny", PLAIN))
    last = max(int(n.split(".")[1]) for n in shapes if n.startswith("decoder."))
    shapes |= {f"decoder.{last}.weight": (made, 64, 3, 3), f"decoder.{last}.bias": (made,)}
    with pytest.raises(UnknownCheckpoint):
        detect(shapes)


def test_two_of_the_same_half(taef2):
    with pytest.raises(BrokenCheckpoint, match="are both decoders: give one VAE, or an encoder and a decoder"):
        load(taef2[1], taef2[1])


def test_a_half_alone(taef2):
    vae = load(taef2[1])
    assert vae.decode(torch.zeros(1, 128, 2, 2)).shape == (1, 3, 32, 32)
    with pytest.raises(BadRequest, match="holds only the decoder: load it together with the file of its encoder"):
        vae.encode(torch.zeros(1, 3, 32, 32))


@torch.no_grad()
def test_bare_halves_of_diffusers(tmp_path):
    theirs = AutoencoderTiny().double().eval()
    for half in ("encoder", "decoder"):
        save_file(getattr(theirs, half).state_dict(), tmp_path / f"{half}.safetensors")
    ours = load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64) * 2 - 1
    z = theirs.encode(x).latents
    assert (ours.encode(x).mode() - z).abs().max() < 1e-12
    assert (ours.decode(z) - theirs.decode(z).sample).abs().max() < 1e-12


@torch.no_grad()
def test_raw_latents_by_the_author_s_file_name(tmp_path):
    """One rule for Python, the command line and the loader node, wherever the file lies."""
    weights = random_weights("tiny", PLAIN)
    save_file(weights, tmp_path / "mine.safetensors")
    save_file(weights, tmp_path / "taesdxl.safetensors")
    mine, known = load(tmp_path / "mine.safetensors"), load(tmp_path / "taesdxl.safetensors")
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(known.encode(x).mode() * SPACES["sdxl"].scale, mine.encode(x).mode(), atol=1e-6)


def test_authors_file_names():
    names = (
        "taesd_encoder.pth",
        "taesdxl_decoder.safetensors",
        "TAESD3.safetensors",
        "taef1_decoder.pth",
        "taesana.pth",
    )
    assert [find_tiny_space(n, "tiny") for n in names] == ["sd1", "sdxl", "sd3", "flux1", "sana"]
    more = {"taef2_encoder.pth": "flux2", "taeqi2_1_decoder.pth": "qwen-image-2.1", "taesdxl_decoder_fp16.pth": "sdxl"}
    assert {n: find_tiny_space(n, "tiny") for n in more} == more
    assert [find_tiny_space(n, "tiny") for n in ("mine.pth", "taesd_mine.pth", "fp16.pth")] == [None] * 3
    clips = {"taew2_1-bf16.safetensors": "wan21", "lighttaew2_2.pth": "wan22", "taeltx2_3_wide.pth": "ltx-video"}
    clips |= {
        "taem1.pth": "mochi",
        "taeltx2_3_bf16.safetensors": "ltx-video",
        "taehv1_5_super_fp16.pth": "hunyuan-video-15",
    }
    assert {n: find_tiny_space(n, "tiny_video") for n in clips} == clips
    assert find_tiny_space("taesdv_fp16.safetensors", "taesdv") == "svd"
    assert [find_tiny_space("taehv.pth", family) for family in ("tiny_video", "tiny")] == ["hunyuan-video", None]


def test_what_is_too_many_is_named():
    """One strange tensor within a half does not make it a network of another kind."""
    shapes = dict(header("taesd.module")["shapes"])
    found = detect({**shapes, "decoder.3.conv.more.weight": (3,)})
    assert (found.family, found.missing, found.unexpected) == ("tiny", (), ("decoder.3.conv.more.weight",))
