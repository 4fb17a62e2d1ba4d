"""RAE against diffusers, in float64; its encoders against transformers' too, where that is installed."""

import json
import math
from dataclasses import replace

import pytest
import torch
from diffusers.models.autoencoders import autoencoder_rae as theirs
from exact_vae.vae_core import (
    BadPixels,
    LatentMismatch,
    UnknownCheckpoint,
    detect,
    from_weights,
    load,
    save,
)
from exact_vae.vae_core.doctor.cases import make_cases
from exact_vae.vae_core.families import rae
from exact_vae.vae_core.families.blocks.rae import count_heads
from exact_vae.vae_core.families.blocks.vit import make_positions
from exact_vae.vae_core.families.names.rae import to_diffusers
from exact_vae.vae_core.families.registry import expected_shapes
from exact_vae.vae_core.latents.previews import fit
from exact_vae.vae_core.reports import describe_vae
from safetensors.torch import save_file
from support.headers import header
from support.rae_weights import (
    GRID,
    IMAGENET,
    KINDS,
    SIDE,
    Z,
    in_transformers_4,
    near,
    weights_of,
)
from support.small_networks import SMALL, small
from torch.nn import functional as F


@pytest.fixture
def image():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def torch_layer(w: dict[str, torch.Tensor], at: str, heads: int, eps: float, tanh: bool) -> torch.nn.Module:
    """A layer of theirs as torch's own; what scales the result of a half is folded into the last product of it."""
    c, hidden = w[f"{at}.norm1.bias"].numel(), w[f"{at}.mlp.fc1.bias"].numel()

    def act(x):
        return F.gelu(x, approximate="tanh" if tanh else "none")

    layer = torch.nn.TransformerEncoderLayer(c, heads, hidden, 0.0, act, eps, batch_first=True, norm_first=True)
    one = torch.ones(c, dtype=torch.float64)
    gates = [w.get(f"{at}.layer_scale{i}.lambda1", one) for i in (1, 2)]
    made = {f"{new}.{t}": w[f"{at}.{old}.{t}"] for new, old in (("norm1", "norm1"), ("norm2", "norm2"),
            ("linear1", "mlp.fc1")) for t in ("weight", "bias")}  # fmt: skip
    for new, old, gate in (("self_attn.out_proj", "attention.o_proj", gates[0]), ("linear2", "mlp.fc2", gates[1])):
        made |= {f"{new}.weight": gate[:, None] * w[f"{at}.{old}.weight"], f"{new}.bias": gate * w[f"{at}.{old}.bias"]}
    for t in ("weight", "bias"):
        made[f"self_attn.in_proj_{t}"] = torch.cat([w[f"{at}.attention.{n}_proj.{t}"] for n in "qkv"])
    layer.double().load_state_dict(made, strict=True)
    return layer.eval()


def encode_by_torch(w: dict[str, torch.Tensor], kind: str, x: torch.Tensor) -> torch.Tensor:
    """transformers' encoders, of images in [0, 1], and diffusers' law of the latent."""
    eps, patch = (1e-12 if kind == "mae" else 1e-6), (14 if kind == "dinov2" else 16)
    if kind == "dinov2":
        x = F.interpolate(x, (28, 28), mode="bicubic")
    x = (x - w["encoder_mean"]) / w["encoder_std"]
    tokens = F.conv2d(x, *(w[f"encoder.embeddings.patch_embeddings.projection.{t}"] for t in ("weight", "bias")), patch)
    tokens = tokens.flatten(2).transpose(1, 2)
    table = w.get("encoder.embeddings.position_embeddings", w.get("encoder.embeddings.position_embedding.weight"))
    table = table[0] if table.ndim == 3 else table
    first, places = (table[:0], table) if kind == "siglip2" else (table[:1], table[1:])
    square = places.T.reshape(1, Z, 3, 3)
    square = square.float() if kind == "dinov2" else square
    tokens = tokens + F.interpolate(square, (2, 2), mode="bicubic", antialias=kind == "dinov2").double()[0].flatten(1).T
    if kind != "siglip2":
        extra = [w["encoder.embeddings.cls_token"][0] + first]
        extra += [w["encoder.embeddings.register_tokens"][0]] if kind == "dinov2" else []
        tokens = torch.cat([torch.cat(extra).expand(len(x), -1, -1), tokens], 1)
    tokens = torch_layer(w, "encoder.layers.0", 2, eps, kind == "siglip2")(tokens)
    z = F.layer_norm(tokens, (Z,), eps=eps)[:, -4:].transpose(1, 2).reshape(-1, Z, 2, 2)
    return (z - w["_latents_mean"]) / (w["_latents_std"] + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_encoder_by_layers_of_torch(kind, image):
    weights = weights_of(kind)
    vae = from_weights(weights)
    assert near(vae.encode(2 * image - 1).mode(), encode_by_torch(weights, kind, image))
    assert not near(vae.encode(1 - 2 * image).mode(), vae.encode(2 * image - 1).mode(), 1e-2)


@pytest.mark.parametrize("grid", [2, 6])
@torch.no_grad()
def test_the_decoder_is_diffusers(grid):
    """Its positions are made, in a square of 16 units whatever the grid."""
    weights = weights_of("mae")
    for name in ("_latents_mean", "_latents_std"):
        weights[name] = weights[name][:, :1, :1].repeat(1, grid, grid)
    vae, n = from_weights(weights), grid**2
    known = theirs.RAEDecoder(Z, 128, 1, 2, 32, num_patches=n, patch_size=16, image_size=16 * grid).double().eval()
    own = vae.network.decoder.state_dict()
    names = to_diffusers([f"decoder.{name}" for name in own], vae.config)
    known.load_state_dict({names[f"decoder.{n}"].removeprefix("decoder."): t for n, t in own.items()}, strict=True)
    z = torch.randn(2, Z, grid, grid, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = z * (weights["_latents_std"] + 1e-5) + weights["_latents_mean"]
    made = known.unpatchify(known(features.flatten(2).transpose(1, 2)).logits)
    want = made * weights["encoder_std"] + weights["encoder_mean"]
    assert near((vae.decode(z) + 1) / 2, want)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_both_halves_are_those_of_diffusers_and_transformers(kind, image, monkeypatch):
    """Names too: of transformers as it is installed."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers.SiglipVisionModel, "vision_model"):  # 5 has no module between, which diffusers names
        monkeypatch.setattr(transformers.SiglipVisionModel, "vision_model", property(lambda model: model), False)
    sizes = {"encoder_patch_size": 14, "encoder_input_size": 28} if kind == "dinov2" else {}
    known = theirs.AutoencoderRAE(
        **{"encoder_type": kind, "encoder_hidden_size": Z, "encoder_num_hidden_layers": 1, "encoder_patch_size": 16,
           "encoder_input_size": SIDE, "decoder_hidden_size": 128, "decoder_num_hidden_layers": 1,
           "decoder_num_attention_heads": 2, "decoder_intermediate_size": 32} | sizes,
        latents_mean=torch.randn(Z, 2, 2), latents_std=torch.rand(Z, 2, 2) + 0.5,
    ).double().eval()  # fmt: skip
    for name, p in known.named_parameters():
        p.copy_(torch.randn_like(p) * (0.1 if p.ndim < 3 else 0.3) + (name.endswith(("norm1.weight", "lambda1"))))
    vae = from_weights(known.state_dict())
    assert (vae.family, vae.config.encoder.kind) == ("rae", kind)
    z = known.encode(image).latent
    assert near(vae.encode(2 * image - 1).mode(), z)
    assert near((vae.decode(z) + 1) / 2, known.decode(z).sample)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_bands_and_rows(kind, image):
    """The whole image is seen at once, so however it comes the same is done."""
    vae, x = from_weights(weights_of(kind)), 2 * image - 1
    z = vae.encode(x).mode()
    pixels = vae.decode(z)
    for rows in (1, 5, 16):
        assert near(vae.encode(x, rows=rows).mode(), z, 1e-12) and near(vae.decode(z, rows=rows), pixels, 1e-12)
    assert near(torch.cat(list(vae.decode_rows(z[:1], rows=8)), 1)[None], pixels[:1], 1e-12)
    assert vae.plan("encode", x.shape).rows == vae.plan("decode", z.shape).rows == 0


def test_other_sizes_are_refused_in_a_sentence():
    vae = small("rae")
    with pytest.raises(BadPixels, match=r"this image is 48x32: 'rae' knows images of 32x32 alone, so crop or resize"):
        vae.encode(torch.zeros(1, 3, 32, 48))
    with pytest.raises(BadPixels, match="33x33"):
        vae.encode(torch.zeros(1, 3, 5, 33, 33))
    with pytest.raises(LatentMismatch, match=r"this latent is 3x2: 'rae' knows latents of 2x2 alone, of images of 32"):
        vae.decode(torch.zeros(1, Z, 2, 3))
    with pytest.raises(BadPixels, match="64x64"):
        vae.plan("encode", (1, 3, 64, 64))
    assert "3 channels in, 3 out; of images of 32x32 alone" in describe_vae(vae, "fp64")
    assert vae.encode(torch.zeros(1, 3, SIDE, SIDE)).size == (SIDE, SIDE)
    assert vae.peak_bytes("encode", (1, 3, 1024, 1024)) == vae.peak_bytes("encode", (1, 3, SIDE, SIDE))


def test_what_sees_a_vae_by_images_of_its_own_keeps_to_the_size():
    """Previews are fitted, and the Doctor's chart is squeezed."""
    weights = {name: t for name, t in weights_of("mae").items() if not name.startswith("decoder.")}
    vae = from_weights(weights)
    assert fit(vae).weight.shape == (Z, 3)
    (case,) = make_cases(vae, (64,), lambda: None)
    assert case.size == (SIDE, SIDE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["diffusers", "its authors"])
def test_names_of_older_files_and_of_training(kind, of):
    """Its authors' checkpoints hold neither colours nor statistics; SigLIP's sums an image up, which nobody reads."""
    weights = weights_of(kind)
    diffusers = {"siglip2": "encoder.vision_model"}.get(kind, "encoder")
    module = diffusers if of == "diffusers" else {"dinov2": "encoder.encoder"}.get(kind, "encoder.model")
    held = {n: t for n, t in weights.items() if of == "diffusers" or "." in n}
    file = {in_transformers_4(n, kind, module).replace("decoder.layers", "decoder.decoder_layers"): t
            for n, t in held.items()}  # fmt: skip
    if kind == "siglip2":
        file |= {f"{module}.head.probe": torch.zeros(1, 1, Z), f"{module}.head.attention.in_proj_bias": torch.zeros(Z)}
        file |= {f"{module}.embeddings.position_ids": torch.arange(9)[None]}
    found = detect({name: tuple(t.shape) for name, t in file.items()})
    assert (found.family, found.is_whole, found.names.keys()) == ("rae", True, held.keys())
    assert found.config.encoder.kind == kind
    if of != "diffusers":
        mean, std = ((0.5,) * 3, (0.5,) * 3) if kind == "siglip2" else IMAGENET
        full = held | {"encoder_mean": torch.tensor(mean).view(1, 3, 1, 1), "_latents_mean": torch.zeros(Z, 2, 2)}
        full |= {"encoder_std": torch.tensor(std).view(1, 3, 1, 1), "_latents_std": torch.ones(Z, 2, 2) - 1e-5}
        held["decoder.decoder_pos_embed"] = file["decoder.decoder_pos_embed"] = torch.zeros(1, 5, 128)  # tells the size
        held["decoder.decoder_pos_embed"][0, 1:] = make_positions(128, GRID, 16, torch.device("cpu"))
        x = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64) * 2 - 1
        ours, want = from_weights(file).encode(x).mode(), from_weights(full).encode(x).mode()
        assert near(ours, want, 1e-6)
        assert near(from_weights(file).decode(ours), from_weights(full).decode(ours), 1e-6)


def statistics(*shape: int, grid: int = 16) -> rae.RAEConfig:
    return replace(SMALL["rae"][1], mean=shape, std=shape, grid=grid)


CONFIGS = {
    "as published": rae.FAMILY.example,
    "512 px": rae.RAEConfig(768, rae.FAMILY.example.encoder, rae.FAMILY.example.decoder, 32, mean=(768, 32, 32)),
    "one number for all": statistics(1),
    "of channels": statistics(Z, 1, 1),
    "a batch": statistics(1, Z, 2, 2, grid=2),
    "a decoder alone": rae.RAEConfig(64, None, rae.Decoder(512, 2, 32, 16, True), 4, 16, False, (), (), rae.UNTOLD),
    "no encoder": rae.RAEConfig(64, None, rae.Decoder(512, 2, 32, 16, True)),
    "no decoder": rae.RAEConfig(128, rae.Encoder("mae", 1, 32, 16, 14), None),
    "of training": replace(SMALL["rae"][1], colours=False, grid=16, mean=(), std=()),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_config_comes_back(name):
    config = CONFIGS[name]
    assert rae.detect(expected_shapes("rae", config)) == config
    assert (config.image_size, config.spatial_ratio) == (16 * config.grid, 16)


def test_whose_latents():
    """DiT-DH was trained on DINOv2's features alone, as the statistics of each place make them."""
    assert "DiT-DH" not in detect(header("rae-dinov2-vitxl.diffusers")["shapes"]).title
    assert "DiT-DH" in detect(expected_shapes("rae", rae.FAMILY.example)).title
    siglip = rae.RAEConfig(768, rae.Encoder("siglip2", 1, 32, 16, 16), None, mean=(768, 16, 16), std=(768, 16, 16))
    assert "DiT-DH" not in detect(expected_shapes("rae", siglip)).title


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({}, None),
        ({"latents_mean": [[[0.0] * 2] * 2] * Z}, None),
        ({"latents_mean": [], "encoder_input_size": 448}, None),
        ({"encoder_input_size": 224}, "encoder_input_size 224: only VAEs with 28"),
        ({"decoder_num_attention_heads": 4}, "decoder_num_attention_heads 4: only VAEs with 2"),
        ({"scaling_factor": 0.5}, "scaling_factor"),
        ({"reshape_to_2d": False}, "reshape_to_2d"),
    ],
)
def test_a_config_json_may_not_say_otherwise(tmp_path, said, match):
    usual = {"_class_name": "AutoencoderRAE", "encoder_patch_size": 14, "encoder_input_size": 28, "noise_tau": 0.8}
    usual |= {"decoder_hidden_size": 128, "decoder_num_attention_heads": 2, "latents_mean": [[[0.0] * 2] * 2] * Z}
    save(small("rae"), tmp_path / "diffusion_pytorch_model.safetensors", "diffusers")
    (tmp_path / "config.json").write_text(json.dumps({**usual, **said}))
    if match:
        with pytest.raises(UnknownCheckpoint, match=match):
            load(tmp_path)
    else:
        assert load(tmp_path).config == SMALL["rae"][1]


def test_a_bent_statistic_is_named_not_run(tmp_path):
    weights = {name: t.float() for name, t in weights_of("mae").items()}
    weights["_latents_mean"] = torch.zeros(Z)
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(Exception, match="_latents_mean"):
        load(tmp_path / "x.safetensors")


def test_encoders_of_other_heads():
    """As their config.json says: sixteen."""
    assert [count_heads(*of) for of in (("siglip2", 768), ("siglip2", 1152), ("mae", 1280), ("dinov2", 1024))] == [
        12, 16, 16, 16]  # fmt: skip


def test_positions_are_waves():
    """Of column first, then row; sines before cosines."""
    made = make_positions(8, 4, 16, torch.device("cpu"))
    assert made[6].tolist() == pytest.approx(
        [f(4 * at * w) for at in (2, 1) for f in (math.sin, math.cos) for w in (1, 0.01)], abs=1e-6
    )
