"""What is written is named as in real files, loads here strictly, and in diffusers."""

import os
import signal
from functools import cache

import pytest
import torch
from exact_vae.vae_core import BadRequest, UnknownCheckpoint, detect, from_weights, load
from exact_vae.vae_core.checkpoints.saving import layouts_of, save, weights_as
from exact_vae.vae_core.families import FAMILIES, LAYOUTS
from exact_vae.vae_core.families import tiny as tiny_family
from exact_vae.vae_core.families.registry import build
from exact_vae.vae_core.vae import VAE
from safetensors import safe_open
from safetensors.torch import load_file
from support.diffusers_networks import SAME_NAMES
from support.headers import header, header_names
from support.random_networks import random_weights, small_kl

if os.name == "posix":
    import resource


@cache
def detected(name: str):
    try:
        return detect(header(name)["shapes"])
    except UnknownCheckpoint:
        return None


def on_meta(found) -> VAE:
    network = build(found.family, found.config)
    return VAE(network, found.family, found.config, name="x", dtype=torch.float32, device=torch.device("meta"))


HOW = {"ldm": "original", "taesd": "original", "original": "original", "module": "original", "pixel": "original",
       "diffusers": "diffusers"}  # fmt: skip


def is_written(name: str) -> bool:
    """A checkpoint's prefix is not, nor are halves alone, nor a module's names where others are the authors' choice."""
    found = detected(name)
    if not (found and found.layout in HOW and len(found.parts) == 2 and not found.prefix):
        return False
    return found.layout != "module" or found.family not in ("tiny", "mage")


def plain(name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the header, less what nothing reads."""
    own = {n: s for n, s in header(name)["shapes"].items() if n in set(detected(name).names.values())}
    if name == "cosmos-cv8x8x8.comfy":  # by whose constants programs know it, so they are written too
        return dict(header(name)["shapes"])
    if name == "flux2.ldm":  # whose quant convs lie inside the halves; ours are where ComfyUI's file has them
        return {n.removeprefix("encoder.").removeprefix("decoder.") if "quant_conv" in n else n: s
                for n, s in own.items()}  # fmt: skip
    return own


FILES = [name for name in header_names() if is_written(name)]
STATISTICS = ("vae_scale", "vae_shift")  # of a tiny VAE; only ComfyUI's files hold them
IN_PART = ("consistency", "rae")  # of which the authors' files hold a half, or all but the statistics
HALF = ("ltx_diffusion",)  # of which diffusers' file holds one
PAIRS = [
    (one, other) for one in FILES for other in FILES
    if one.rpartition(".")[0] == other.rpartition(".")[0] and detected(one).family == detected(other).family
]  # fmt: skip


def test_the_headers_are_of_every_family_in_every_layout():
    found = {(detected(other).family, HOW[detected(other).layout]) for _, other in PAIRS}
    found |= {(name, "original") for name in (*SAME_NAMES, *IN_PART)} | {(name, "diffusers") for name in HALF}
    assert found == {(family.name, layout) for family in FAMILIES for layout in layouts_of(family.name)}
    both = {detected(one).family for one, other in PAIRS if detected(one).layout != detected(other).layout}
    assert both | {*SAME_NAMES, *IN_PART, *HALF} == {
        family.name for family in FAMILIES if len(layouts_of(family.name)) == 2
    }


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_real_file_in_the_layout_of_another_has_its_names_and_shapes(one, other):
    ours = {n: tuple(t.shape) for n, t in weights_as(on_meta(detected(one)), HOW[detected(other).layout]).items()}
    theirs = plain(other)
    if detected(one).family in ("tiny", "taesdv"):
        ours, theirs = ({n: s for n, s in file.items() if n not in STATISTICS} for file in (ours, theirs))
    assert ours == theirs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("family", "config"), [("kl", small_kl()), ("tiny", tiny_family.FAMILY.example)])
def test_what_is_saved_loads_to_the_same_vae(tmp_path, family, config, layout):
    vae = from_weights(random_weights(family, config))
    save(vae, tmp_path / "x.safetensors", layout)
    again = load(tmp_path / "x.safetensors")
    assert again.config == vae.config
    ours, theirs = vae.network.state_dict(), again.network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=str)
def test_weights_are_not_rounded_to_whole_numbers(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"good")
    with pytest.raises(BadRequest, match="would be lost"):
        save(from_weights(random_weights("kl", small_kl())), path, dtype=dtype)
    assert path.read_bytes() == b"good"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_do_not_become_infinite(tmp_path, dtype):
    weights, path = random_weights("kl", small_kl()), tmp_path / "x.safetensors"
    path.write_bytes(b"good")
    vae = from_weights({**weights, "decoder.conv_in.bias": weights["decoder.conv_in.bias"] - 1e6})
    with pytest.raises(BadRequest, match=r"'decoder\.conv_in\.bias' has 1e\+06 in it, and float.* ends at"):
        save(vae, path, dtype=dtype)
    assert path.read_bytes() == b"good"
    save(vae, path, dtype=torch.bfloat16)


def test_weights_that_are_negated_views(tmp_path):
    weights = random_weights("kl", small_kl())
    vae = from_weights({name: torch._neg_view(-tensor) for name, tensor in weights.items()})
    save(vae, tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors").network.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in vae.network.state_dict().items())


def test_loads_strictly_in_diffusers(tmp_path):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    vae = from_weights(random_weights("kl", small_kl(), torch.float64))
    save(vae, tmp_path / "x.safetensors", "diffusers")
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    twin = (
        AutoencoderKL(block_out_channels=(32, 64, 64), layers_per_block=1, latent_channels=4, **kinds).double().eval()
    )
    twin.load_state_dict(load_file(tmp_path / "x.safetensors"), strict=True)
    x = torch.rand(1, 3, 16, 24, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(twin.encode(x).latent_dist.mean, vae.encode(x).mean, atol=1e-9)
        z = vae.encode(x).mode()
        assert torch.allclose(twin.decode(z).sample, vae.decode(z), atol=1e-9)


def test_dtype_is_cast_but_for_statistics(tmp_path):
    config = small_kl(z_channels=2, embed_dim=2, patch=2)
    vae = from_weights(random_weights("kl", config))
    save(vae, tmp_path / "x.safetensors", dtype=torch.float16)
    kept = load_file(tmp_path / "x.safetensors")
    assert kept["encoder.conv_in.weight"].dtype is torch.float16
    assert kept["bn.running_var"].dtype is torch.float32
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}
    assert vae.dtype is torch.float32


def test_a_tiny_vae_keeps_its_scale(tmp_path):
    weights = random_weights("tiny", tiny_family.FAMILY.example)
    weights |= {"vae_scale": torch.tensor(0.5), "vae_shift": torch.tensor(0.25)}
    vae = from_weights(weights)
    save(vae, tmp_path / "x.safetensors")
    z = torch.randn(1, vae.latent_channels, 4, 4)
    assert torch.equal(load(tmp_path / "x.safetensors").decode(z), vae.decode(z))


def test_a_layout_that_is_not_there(tmp_path):
    pixel = from_weights({"pixel_space_vae": torch.tensor(1.0)}, "pixel_space")
    with pytest.raises(BadRequest, match="which has no layout 'diffusers': choose original"):
        save(pixel, tmp_path / "x.safetensors", "diffusers")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="devices and limits of POSIX")
def test_places_that_cannot_be_written(tmp_path):
    vae = from_weights(random_weights("tiny", tiny_family.FAMILY.example))
    (tmp_path / "file").write_text("")
    for path, why in (
        (tmp_path / ("v" * 244 + ".safetensors"), "File name too long"),
        (tmp_path / "none" / "v.safetensors", "there is no folder"),
        (tmp_path / "file" / "v.safetensors", "Not a directory"),
        ("/proc/v.safetensors", "cannot be written: "),
        ("/dev/full/v.safetensors", "Not a directory"),
        (str(tmp_path / "a\0b.safetensors"), "no file can have a name with such letters"),
        (tmp_path, "it is a folder"),
        (tmp_path / "vae.ckpt", "under the name of a PyTorch file"),
        (str(tmp_path / "vae.PT"), "end it in .safetensors"),
    ):
        with pytest.raises(BadRequest, match=why):
            save(vae, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk(tmp_path):
    """A limit of the size of files is the disk that is full: writes fail in the middle."""
    vae = from_weights(random_weights("tiny", tiny_family.FAMILY.example))
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(BadRequest, match=r"x\.safetensors' cannot be written: File too large\."):
            save(vae, tmp_path / "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())


def test_a_dtype_that_files_do_not_have(tmp_path):
    vae = from_weights(random_weights("tiny", tiny_family.FAMILY.example))
    with pytest.raises(BadRequest, match="safetensors has no float8_e4m3fnuz: save in one of fp32"):
        save(vae, tmp_path / "x.safetensors", dtype=torch.float8_e4m3fnuz)
    with pytest.raises(BadRequest, match="weights cannot be saved in 'fp16': give a dtype of torch"):
        save(vae, tmp_path / "x.safetensors", dtype="fp16")
    assert not list(tmp_path.iterdir())
