"""What is written is named as in real files, loads here strictly, and in diffusers."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, detect, from_weights, load
from exact_vae.vae_core.detection import build
from exact_vae.vae_core.families import tiny as tiny_family
from exact_vae.vae_core.saving import LAYOUTS, layouts_of, save, weights_as
from exact_vae.vae_core.vae import VAE
from safetensors import safe_open
from safetensors.torch import load_file
from samples import header, header_names, random_weights, small_kl


def detected(name: str):
    try:
        return detect(header(name)["shapes"])
    except Exception:
        return None


def on_meta(found) -> VAE:
    network = build(found.family, found.config)
    return VAE(network, found.family, found.config, name="x", dtype=torch.float32, device=torch.device("meta"))


NAMED = {  # the layouts of these headers are written; a checkpoint's prefix is not
    "original": ("ldm", "taesd", "original"),
    "diffusers": ("diffusers",),
}
WRITTEN = [
    (name, layout)
    for name in header_names()
    if (found := detected(name)) and not found.prefix and found.is_whole and len(found.parts) == 2
    for layout, theirs in NAMED.items()
    if found.layout in theirs and layout in layouts_of(found.family)
]


def test_the_headers_are_of_every_family_that_is_written():
    families = {detected(name).family for name, _ in WRITTEN}
    assert families == {"kl", "asymmetric", "vq", "hunyuan_image", "tiny", "dc_ae", "wan", "paella", "effnet"}


@pytest.mark.parametrize(("name", "layout"), WRITTEN)
def test_names_and_shapes_are_those_of_real_files(name, layout):
    own, found = header(name)["shapes"], detected(name)
    ours = {n: tuple(t.shape) for n, t in weights_as(on_meta(found), layout).items()}
    counters = {n for n in own if n.endswith("num_batches_tracked")}
    theirs = {n: s for n, s in own.items() if n not in counters}
    if name == "flux2.ldm":  # whose quant convs lie inside the halves; ours are where ComfyUI's file has them
        theirs = {n.removeprefix("encoder.").removeprefix("decoder.") if "quant_conv" in n else n: s
                  for n, s in theirs.items()}  # fmt: skip
    if found.family == "hunyuan_image":  # its first file holds convolutions over one frame
        theirs = {n: s[:2] + s[3:] if len(s) == 5 else s for n, s in theirs.items()}
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
    with pytest.raises(BadRequest, match="which has no layout 'original': it cannot be saved"):
        save(pixel, tmp_path / "x.safetensors")
    dc_ae = on_meta(detected("dc-ae-f32c32.diffusers"))
    with pytest.raises(BadRequest, match="which has no layout 'original': choose diffusers"):
        weights_as(dc_ae, "original")
    assert not list(tmp_path.iterdir())
