"""DC-AE against diffusers' own, random weights, float64, in all the shapes its authors have published."""

import random
import re
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models import attention_processor, normalization
from exact_vae.vae_core import UnknownCheckpoint, detect, from_weights, load
from exact_vae.vae_core.checkpoints.loading import assemble
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.bands.flows import build_flow
from exact_vae.vae_core.execution.bands.holding import Banding, Source
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import dc_ae
from exact_vae.vae_core.families.dc_ae import Coder, DCAEConfig
from exact_vae.vae_core.families.registry import build, expected_shapes
from safetensors.torch import save_file
from support.headers import header, header_names
from support.random_networks import random_weights
from support.tensors import near

EXACT = 1e-9
VIT, RES = "EfficientViTBlock", "ResBlock"
HEADERS = [name for name in header_names() if header(name)["arch"] == "dc-ae"]
SANA = {"downsample_block_type": "Conv", "upsample_block_type": "interpolate"}


def random_facts(kind: str, seed: int = 0) -> dict:
    """Constructor arguments of diffusers' AutoencoderDC, small: as Sana, the first DC-AE, DC-AE-Lite, DC-AE 1.5."""
    pick = random.Random(seed)
    stages = pick.choice([3, 4])
    vit = pick.randint(1, stages - 2)  # stages of attention, at the lowest resolutions
    scales = ((),) * (stages - vit) + (pick.choice([(5,), (3,), (3, 5)]) if kind in ("sana", "lite") else (),) * vit
    blocks = (RES,) * (stages - vit) + (VIT,) * vit
    empty = kind in ("first", "1.5")
    plain, silent = (RES,) * stages, ((),) * stages

    def depths(empty: bool) -> tuple[int, ...]:
        return tuple(0 if empty and i == 0 else pick.choice([1, 2]) for i in range(stages))

    def widths() -> tuple[int, ...]:
        found = [32]
        while len(found) < stages:
            found.append(pick.choice([found[-1], 2 * found[-1]]) if len(found) < 3 else found[-1])
        return tuple(found)

    facts = {
        "latent_channels": {"first": pick.choice([4, 16]), "sana": 32, "lite": 32, "1.5": 48}[kind],
        "in_channels": pick.choice([1, 3, 4]),
        "encoder_block_types": plain if kind == "1.5" else blocks,
        "decoder_block_types": blocks if kind in ("first", "sana") else plain,
        "encoder_block_out_channels": widths(),
        "decoder_block_out_channels": widths(),
        "encoder_layers_per_block": depths(empty),
        "decoder_layers_per_block": depths(kind != "sana"),
        "encoder_qkv_multiscales": silent if kind == "1.5" else scales,
        "decoder_qkv_multiscales": scales if kind == "sana" else silent,
        "decoder_conv_act_fn": "relu" if kind in ("first", "sana") else "silu",
        "encoder_out_shortcut": kind != "1.5",
        "decoder_in_shortcut": kind != "1.5",
    }
    if kind == "first":
        facts["decoder_norm_types"] = ["batch_norm"] * (stages - vit) + ["rms_norm"] * vit
        facts["decoder_act_fns"] = ["relu"] * (stages - vit) + ["silu"] * vit
    return facts | (SANA if kind == "sana" else {"downsample_block_type": "Conv"} if kind == "lite" else {})


KINDS = ("sana", "first", "lite", "1.5")


def theirs(kind: str, seed: int = 0, **facts) -> AutoencoderDC:
    """With random biases, norms and statistics: a fresh module's are zeros and ones, which hide mistakes."""
    torch.manual_seed(seed)
    module = AutoencoderDC(**random_facts(kind, seed) | facts)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(torch.randn_like(tensor).abs() if name.endswith("var") else 0.3 * torch.randn_like(tensor))
    return module.double().eval()


@pytest.fixture
def in_float64(monkeypatch):
    """diffusers sums attention and RMS norms in float32, also where all else is float64; here in float64 too."""

    class Torch(SimpleNamespace):
        float32 = torch.float64

        def __getattr__(self, name):
            return getattr(torch, name)

    for module in (attention_processor, normalization):
        monkeypatch.setattr(module, "torch", Torch())


def images(channels: int, ratio: int, size: tuple[int, int] = (3, 5)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, channels, size[0] * ratio, size[1] * ratio, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_equals_diffusers(tmp_path, in_float64, kind, seed):
    other = theirs(kind, seed)
    other.save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert (ours.family, ours.dtype, ours.spatial_ratio) == ("dc_ae", torch.float64, other.spatial_compression_ratio)
    for size in ((1, 1), (2, 5), (5, 7)):  # up to 32 pixels, they weigh pixel by pixel
        x = images(ours.in_channels, ours.spatial_ratio, size)
        z = other.encode(x).latent
        assert (ours.encode(x).mode() - z).abs().max() < EXACT
        assert (ours.decode(z + 0.1) - other.decode(z + 0.1).sample).abs().max() < EXACT


@pytest.mark.parametrize("head", [8, 16])
@torch.no_grad()
def test_a_narrower_head_is_told_by_the_mixture_of_a_scale(tmp_path, in_float64, head):
    other = theirs("sana", 1, attention_head_dim=head)
    other.save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert ours.config.encoder.head == ours.config.decoder.head == head
    x = images(ours.in_channels, ours.spatial_ratio, (2, 5))
    z = other.encode(x).latent
    assert (ours.encode(x).mode() - z).abs().max() < EXACT
    assert (ours.decode(z) - other.decode(z).sample).abs().max() < EXACT


def test_without_scales_only_config_json_tells_another_head(tmp_path, in_float64):
    theirs("first", 0, attention_head_dim=16).save_pretrained(tmp_path)
    with pytest.raises(UnknownCheckpoint, match="has attention_head_dim 16: only VAEs with 32 are supported"):
        load(tmp_path)


@torch.no_grad()
def test_equals_diffusers_as_it_is():
    other = theirs("sana", 1).float()
    ours = from_weights(other.state_dict())
    x = images(ours.in_channels, ours.spatial_ratio).float()
    z = other.encode(x).latent
    assert torch.allclose(ours.encode(x).mode(), z, atol=1e-4)
    assert torch.allclose(ours.decode(z), other.decode(z).sample, atol=1e-4)


TAILS = {
    r"conv([12])\.(\w+)": r"main.conv\1.conv.\2",
    r"norm\.(\w+)": r"main.conv2.norm.\1",
    r"attn\.qkv\.weight": "context_module.main.qkv.conv.weight",
    r"attn\.to_out\.weight": "context_module.main.proj.conv.weight",
    r"attn\.norm_out\.(\w+)": r"context_module.main.proj.norm.\1",
    r"attn\.to_qkv_multiscale\.(\d)\.proj_in\.weight": r"context_module.main.aggreg.\1.0.weight",
    r"attn\.to_qkv_multiscale\.(\d)\.proj_out\.weight": r"context_module.main.aggreg.\1.1.weight",
    r"conv_out\.conv_(inverted|depth|point)\.(\w+)": r"local_module.main.\1_conv.conv.\2",
    r"conv_out\.norm\.(\w+)": r"local_module.main.point_conv.norm.\1",
}
ENDS = {
    r"encoder\.conv_in\.": "encoder.project_in.conv.",
    r"encoder\.conv_out\.": "encoder.project_out.main.op_list.0.conv.",
    r"decoder\.conv_in\.": "decoder.project_in.main.conv.",
    r"decoder\.norm_out\.": "decoder.project_out.op_list.0.",
    r"decoder\.conv_out\.": "decoder.project_out.op_list.2.conv.",
}


def as_the_authors_name_them(weights: dict[str, torch.Tensor], strided: bool) -> dict[str, torch.Tensor]:
    """diffusers' names to those of EfficientViT. strided: is the encoder's downsampling a convolution of stride 2?"""
    joined = {}
    for name, tensor in weights.items():
        stem, q, _ = name.partition(".to_q.")
        if q:
            parts = [weights[f"{stem}.to_{one}.weight"] for one in "qkv"]
            joined[f"{stem}.qkv.weight"] = torch.cat(parts)[..., None, None]
        elif not re.search(r"\.to_[kv]\.", name):
            joined[name] = tensor[..., None, None] if name.endswith("to_out.weight") else tensor
    return {_author_s(name, strided): tensor for name, tensor in joined.items()}


def _author_s(name: str, strided: bool) -> str:
    found = re.fullmatch(r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(\d+)\.(.+)", name)
    if not found:
        return next(re.sub(old, new, name) for old, new in ENDS.items() if re.match(old, name))
    half, stage, number, tail = found.groups()
    resampling = r"main.conv.\1" if strided and half == "encoder" else r"main.conv.conv.\1"
    for old, new in {**TAILS, r"conv\.(\w+)": resampling}.items():
        if re.fullmatch(old, tail):
            return f"{half}.stages.{stage}.op_list.{number}.{re.sub(old, new, tail)}"
    raise AssertionError(name)


@pytest.mark.parametrize("name", [name for name in HEADERS if name.endswith(".original") and "1.5" not in name])
def test_the_authors_names_are_those_of_their_files(name):
    """What the next test translates to is what is published."""
    shapes = header(name.replace(".original", ".diffusers"))["shapes"]
    weights = {n: torch.empty(shape, device="meta") for n, shape in shapes.items()}
    strided = "encoder.conv_in.weight" in shapes
    found = {n: tuple(t.shape) for n, t in as_the_authors_name_them(weights, strided).items()}
    assert found == header(name)["shapes"]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS[:3])
@torch.no_grad()
def test_both_layouts_are_one_network(kind, seed):
    other = theirs(kind, seed).state_dict()
    renamed = as_the_authors_name_them(other, strided=kind in ("sana", "lite"))
    found = detect({name: tuple(tensor.shape) for name, tensor in renamed.items()})
    assert (found.layout, found.is_whole) == ("original", True)
    a, b = from_weights(other), from_weights(renamed)
    x = images(a.in_channels, a.spatial_ratio)
    z = a.encode(x).mode()
    assert near(b.encode(x).mode(), z) < 1e-12  # thirds of one tensor are aligned otherwise than three: rounding
    assert near(b.decode(z), a.decode(z)) < 1e-12


@torch.no_grad()
def test_halves(tmp_path):
    """An encoder and a decoder in two bare files, as diffusers names them, are the VAE they were cut from."""
    other = theirs("sana").state_dict()
    for half in ("encoder", "decoder"):
        part = {n.removeprefix(f"{half}."): t.contiguous() for n, t in other.items() if n.startswith(half)}
        save_file(part, tmp_path / f"{half}.safetensors")
    whole_one, both = from_weights(other), load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")
    assert both.config == whole_one.config
    x = images(both.in_channels, both.spatial_ratio)
    z = whole_one.encode(x).mode()
    assert (both.encode(x).mode() - z).abs().max() < 1e-12
    assert (both.decode(z) - whole_one.decode(z)).abs().max() < 1e-12


@pytest.mark.parametrize("name", [name for name in HEADERS if name.endswith(".original")])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_bare_halves_in_the_authors_names(name, half):
    """Whose names are alike: an encoder is not read as a decoder, nor the other way, also if a tensor is lost."""
    shapes = header(name)["shapes"]
    known = detect(shapes)
    bare = {n.removeprefix(f"{half}."): s for n, s in shapes.items() if n.startswith(f"{half}.")}
    found = detect(bare)
    assert (found.family, found.layout, found.parts, found.is_whole) == ("dc_ae", half, (half,), True)
    assert getattr(found.config, half) == getattr(known.config, half)
    assert found.spatial_ratio == known.spatial_ratio
    for lost in random.Random(0).sample(sorted(bare), 10):
        found = detect({n: s for n, s in bare.items() if n != lost})
        assert (found.layout, len(found.missing), found.unexpected) == (half, 1, ())


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("attention_head_dim", 16),
        ("decoder_conv_act_fn", "silu"),
        ("decoder_act_fns", ["silu"] * 3),
        ("encoder_out_shortcut", False),
        ("decoder_in_shortcut", False),
    ],
)
def test_what_only_a_folder_s_config_tells(tmp_path, fact, value):
    facts = random_facts("first", 3)
    value = value * len(facts["decoder_layers_per_block"]) if isinstance(value, list) else value
    value = value[: len(facts["decoder_layers_per_block"])] if isinstance(value, list) else value
    AutoencoderDC(**facts | {fact: value}).save_pretrained(tmp_path)
    with pytest.raises(UnknownCheckpoint, match=f"has {fact} .*: only VAEs with"):
        load(tmp_path)


def coder(**changes) -> Coder:
    facts = {
        "widths": (32, 32, 64),
        "blocks": (1, 2, 1),
        "attention": (False, False, True),
        "batch_norm": (False,) * 3,
        "scales": (5,),
        "shuffled": False,
        "joined": False,
    }
    return Coder(**{**facts, **changes})


EMPTY = {"widths": (0, 32, 64), "blocks": (0, 1, 2), "shuffled": True}
CONFIGS = {
    "Sana": DCAEConfig(32, coder(), coder(blocks=(2, 1, 1))),
    "of the authors": DCAEConfig(32, coder(joined=True), coder(joined=True)),
    "an empty stage": DCAEConfig(16, coder(**EMPTY, scales=()), coder(**EMPTY, scales=())),
    "batch norms": DCAEConfig(16, coder(scales=()), coder(**EMPTY, scales=(), batch_norm=(False, True, False))),
    "a light decoder": DCAEConfig(32, coder(), coder(**EMPTY, attention=(False,) * 3, scales=())),
    "two scales": DCAEConfig(32, coder(scales=(3, 7)), coder()),
    "grey to RGBA": DCAEConfig(32, coder(), coder(), in_channels=1, out_channels=4),
    "encoder only": DCAEConfig(32, coder(**EMPTY), None),
    "decoder only": DCAEConfig(32, None, coder(**EMPTY)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_of_the_config(name):
    """What is built from a config is detected as that config."""
    found = detect(expected_shapes("dc_ae", CONFIGS[name]))
    assert found.config == CONFIGS[name]
    assert found.is_whole


@pytest.mark.parametrize("name", HEADERS)
@torch.no_grad()
def test_published_sizes_run(name):
    """On the meta device: the channels of every layer fit the next one's."""
    found = detect(header(name)["shapes"])
    network, ratio = build(found.family, found.config), found.spatial_ratio
    with torch.device("meta"):
        z = whole.run(network.encode_ops(), torch.empty(1, 3, 2 * ratio, ratio))
        assert z.shape == (1, found.latent_channels, 2, 1)
        assert whole.run(network.decode_ops(), z).shape == (1, 3, 2 * ratio, ratio)


def test_titles():
    titles = {name: detect(header(name)["shapes"]).title.partition(": ")[2] for name in HEADERS}
    assert titles["dc-ae-f32c32-sana.original"] == titles["dc-ae-lite-f32c32.diffusers"] == "Sana"
    assert titles["dc-ae-f64c128.diffusers"] == "DC-AE in-1.0 or DC-AE mix-1.0"
    assert titles["dc-ae-f32c32.diffusers"] == titles["dc-ae-1.5-f64c128.original"] == ""


DEEP = DCAEConfig(
    z_channels=32,
    encoder=Coder((0, 8, 8, 32, 32, 32), (0, 1, 1, 1, 1, 1), (False,) * 3 + (True,) * 3, (False,) * 6, (), True, True),
    decoder=Coder((8, 8, 8, 32, 32, 32), (1,) * 6, (False,) * 3 + (True,) * 3, (False,) * 6, (5,), False, False),
)


@pytest.mark.parametrize("numbers", [1, 300, 5000])
@pytest.mark.parametrize("size", [(1, 3), (3, 1), (5, 2)], ids=str)
@torch.no_grad()
def test_bands_at_ratio_32(size, numbers):
    """One row of the latent is 32 of the image; what a band sees must not be what attention decides by."""
    network = assemble("dc_ae", DEEP, random_weights("dc_ae", DEEP), torch.float64, torch.device("cpu"))
    z = torch.randn(1, 32, *size, dtype=torch.float64)
    banding = Banding(numbers, OnDevice())
    for ops, x in ((network.decode_ops(), z), (network.encode_ops(), torch.rand(1, 3, 32 * size[0], 32 * size[1]))):
        x = x.double()
        want = whole.run(ops, x.clone())
        got = torch.cat(list(build_flow(fuse(ops), Source(x, banding), banding, Observer()).read(last=True)), -2)
        assert (got - want).abs().max() < 1e-12 * want.abs().max()


def test_statistics_of_batch_norms_keep_fp32():
    vae = from_weights(theirs("first").state_dict(), dtype=torch.bfloat16)
    norms = [m for m in vae.network.modules() if isinstance(m, dc_ae.ResBlock) and hasattr(m.norm, "running_var")]
    assert norms and all(m.norm.running_var.dtype is torch.float32 for m in norms)
    assert all(m.conv1.weight.dtype is torch.bfloat16 for m in norms)
