"""Which VAE a file holds: every header we know, and what is not one."""

import random
import re

import pytest
import torch
from exact_vae.vae_core import (
    BrokenCheckpoint,
    UnknownCheckpoint,
    UnsupportedCheckpoint,
    detect,
    from_weights,
    inspect,
    load,
)
from exact_vae.vae_core.families import FAMILIES
from exact_vae.vae_core.families.names import PREFIXES, Readings, strip
from exact_vae.vae_core.families.registry import build, expected_shapes
from exact_vae.vae_core.families.unsupported import FOREIGN
from safetensors.torch import save_file
from support.headers import DC_AE, header, header_names
from support.random_networks import random_weights, small_kl

OURS = [name for name in header_names() if "family" in header(name)["expected"]]
NEGATIVE = [name for name in header_names() if name.startswith("none.")]


def test_there_are_headers_of_every_kind():
    assert (len(OURS) > 40, len(NEGATIVE) >= 6) == (True, True)
    assert {*OURS, *NEGATIVE} == {*header_names()}


@pytest.mark.parametrize("name", OURS)
def test_facts(name):
    known = header(name)
    found, want = detect(known["shapes"]), known["expected"]
    assert (found.family, found.layout) == (want["family"], want["layout"])
    assert (found.latent_channels, found.spatial_ratio) == (want["latent_channels"], want["spatial_compression"])
    traded = max(1, found.decoded_ratio // found.spatial_ratio) ** 2  # an enlarging decoder's channels are pixels
    assert (found.in_channels, found.out_channels * traded) == (want["in_channels"], want["out_channels"])
    assert found.temporal_ratio == want["temporal_compression"]
    assert found.prefix == known["prefix"]


@pytest.mark.parametrize("name", OURS)
def test_fits_to_the_last_tensor(name):
    """The network built from the config has just the tensors of the file, and loads them strictly."""
    known = header(name)
    found = detect(known["shapes"])
    assert found.is_whole
    network = build(found.family, found.config)
    meta = {new: torch.empty(shape, device="meta") for new, shape in found.shapes.items()}
    network.load_state_dict(meta, strict=True, assign=True)
    decoys = [n for n in known["shapes"] if not n.startswith(known["prefix"])]
    # Some are in the host's own modules alone.
    unused = re.compile(r"num_batches_tracked$|codebook_used$|\.temb_proj\.|patcher3d\.")
    counted = [n for n in known["shapes"] if n not in decoys and not unused.search(n)]
    assert len(counted) == len(found.names)


@pytest.mark.parametrize("name", header_names())
def test_at_most_one_answer(name):
    """Families and the rows of known others exclude each other, so their order never matters."""
    shapes = header(name)["shapes"]
    file = Readings(shapes)
    found = ((family, r) for family in FAMILIES for prefix in file.own for r in file.under(prefix, family.layouts))
    families = {family.name for family, reading in found if family.detect(reading.shapes)}
    others = {row.title for prefix in PREFIXES for row in FOREIGN if row.matches(strip(shapes, prefix))}
    assert len(families | others) == (0 if name in NEGATIVE else 1)


REFUSED = {  # by a name that no others have: whose VAE, and its facts
    "encoder.down.0.downsample.temporal_conv.0.conv.weight": ("KVAE 3-D 2.0", "16 channels at 1/8, 1 frame to 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_vaes_are_refused_by_name(name):
    title, facts = REFUSED[name]
    with pytest.raises(UnsupportedCheckpoint) as e:
        detect(header("kandinsky6-sr.diffusers")["shapes"] | {name: (32, 32, 2, 1, 1)})
    assert str(e.value) == f"this is the VAE of {title} ({facts}), which is not supported yet."
    assert e.value.title == title


@pytest.mark.parametrize(
    ("width", "version"), [(768, "unknown"), (1024, "unknown"), (384, "dinov2"), (1152, "siglip2")]
)
def test_the_decoder_of_a_rae_alone_says_whose_features_it_decodes_by_their_width(width, version):
    """As its authors publish it: neither the colours nor the statistics of the latents are in it."""
    shapes = header("rae-dinov2-vitxl.diffusers")["shapes"]
    decoder = {name: shape for name, shape in shapes.items() if name.startswith("decoder.")}
    decoder |= {"decoder.decoder_embed.weight": (1152, width), "decoder.decoder_pos_embed": (1, 1025, 1152)}
    for file in (decoder, {name.removeprefix("decoder."): shape for name, shape in decoder.items()}):
        found = detect(file)
        assert (found.family, found.parts, found.is_whole, found.latent_channels) == ("rae", ("decoder",), True, width)
        assert (found.config.version, found.image_size) == (version, 512) and not found.config.mean
    with pytest.raises(UnknownCheckpoint, match="no VAE was found"):
        detect({**decoder, "decoder.mask_token": (1, 1, 1152), "vit.layernorm.bias": (768,)})  # a masked autoencoder's
    told = {name: shape for name, shape in shapes.items() if not name.startswith("encoder.")}
    assert detect(told).config.version == "" and detect(told).is_whole


@pytest.mark.parametrize("name", NEGATIVE)
def test_what_is_no_vae_is_refused(name):
    shapes = header(name)["shapes"]
    with pytest.raises(UnknownCheckpoint) as e:
        detect(shapes)
    assert not isinstance(e.value, UnsupportedCheckpoint)
    assert f"no VAE was found among these {len(shapes)} tensors" in str(e.value)
    assert ", which are a" in str(e.value) or ", which are the VAE of sound" in str(e.value)


def test_what_nobody_knows_is_told_what_it_lacks(tmp_path):
    path = tmp_path / "part.safetensors"
    names = [n for n in header("sd1.ldm")["shapes"] if n.startswith("decoder.mid.")]
    save_file({n: torch.zeros(header("sd1.ldm")["shapes"][n]) for n in names}, path)
    with pytest.raises(UnknownCheckpoint) as e:
        load(path)
    said = (
        f"'{path}': no VAE was found among these {len(names)} tensors; nearest is Autoencoder-KL (2-D), {len(names)} of"
    )
    assert str(e.value).startswith(said) and "encoder.down.0.block.0.norm1.weight" in str(e.value)


@pytest.mark.parametrize(
    "name",
    ["sd1.ldm", "sdxl.checkpoint-prefixed", "sd1.diffusers-legacy", "taesd.comfy", "flux2.diffusers", *DC_AE],
)
def test_order_and_decoys_change_nothing(name):
    shapes = header(name)["shapes"]
    names = list(shapes)
    random.Random(0).shuffle(names)
    found, shuffled = detect(shapes), detect({n: shapes[n] for n in names})
    assert (found.config, found.layout, found.prefix) == (shuffled.config, shuffled.layout, shuffled.prefix)
    if found.prefix:
        decoys = {
            "text_encoders.decoder.conv_in.weight": (512, 4, 3, 3),
            "audio_vae.decoder.up.0.block.0.conv1.weight": (7, 7),
        }
        assert detect(shapes | decoys).config == found.config


@pytest.mark.parametrize("prefix", [p for p in PREFIXES if p])
@pytest.mark.parametrize("name", ["sd3.ldm", "taesd3.diffusers", *DC_AE])
def test_prefixes(name, prefix):
    shapes = header(name)["shapes"]
    found = detect({f"{prefix}{n}": s for n, s in shapes.items()})
    assert (found.prefix, found.config) == (prefix, detect(shapes).config)


DEEP = ("vae.vae.", "model.first_stage_model.", "model.vae.", "vae_model.", "tokenizer.", "ema.", "ema_model.",
        "model_ema.", "generator.", "other.first_stage_model.", "a.b.c.d.")  # fmt: skip


@pytest.mark.parametrize("prefix", DEEP)
@pytest.mark.parametrize("name", ["sd3.ldm", "sd1.diffusers", "taesd3.diffusers", "wan21.original", "taesd.comfy"])
def test_any_prefix_is_found(name, prefix):
    shapes = header(name)["shapes"]
    found = detect({f"{prefix}{n}": s for n, s in shapes.items()})
    assert (found.prefix, found.config, found.is_whole) == (prefix, detect(shapes).config, True)


@pytest.mark.parametrize(
    "compiled",
    [
        lambda n: f"module._orig_mod.{n}",
        lambda n: f"_orig_mod.module.{n}",
        lambda n: f"_orig_mod.{n}",
        lambda n: re.sub(r"^(encoder|decoder)\.", r"\1._orig_mod.", n),
    ],
)
def test_names_of_compiled_modules(compiled):
    shapes = header("sd1.ldm")["shapes"]
    found = detect({compiled(n): s for n, s in shapes.items()})
    assert found.is_whole and set(found.names.values()) == {compiled(n) for n in shapes}


@pytest.mark.parametrize(
    ("usual", "average"), [("net.", "net_ema."), ("model.", "ema_model."), ("", "ema."), ("vae.", "model_ema.")]
)
def test_averages_of_training_come_first(usual, average):
    shapes = header("sd1.ldm")["shapes"]
    both = {f"{prefix}{n}": s for prefix in (usual, average) for n, s in shapes.items()}
    found = detect(both)
    assert found.is_whole and found.prefix == average
    cut = {name: s for name, s in both.items() if name != f"{average}decoder.conv_in.weight"}
    assert usual == "net." or detect(cut).prefix == usual


def test_of_two_vaes_neither_is_guessed():
    shapes = header("sd1.ldm")["shapes"]
    both = {f"{prefix}{n}": s for prefix in ("teacher.", "student.") for n, s in shapes.items()}
    with pytest.raises(
        UnknownCheckpoint, match=r"several VAEs are in it, under 'student\.', 'teacher\.': save the one"
    ):
        detect(both)


EXTRA = {"wan21.original": {"mean": (16,), "std": (16,), "latent_mean": (16,), "latent_std": (16,)},
         "dc-ae-f32c32.diffusers": {"per_channel_statistics.mean-of-means": (32,)},
         "sd1.ldm": {"lpips.lin0.weight": (1, 64, 1, 1), "foundation_model.blocks.0.attn.qkv.weight": (9, 3),
                     "linear_proj.weight": (8, 4), "dummy": (), "encoder_ema.norm.weight": (128,)}}  # fmt: skip


@pytest.mark.parametrize("name", EXTRA)
def test_what_lies_beside_the_network_is_not_read(name):
    """Statistics, losses, other networks, a second copy: the network has no module of that name."""
    shapes = header(name)["shapes"]
    copy = {f"first_stage_model.{n}": s for n, s in shapes.items()}
    assert detect(shapes | EXTRA[name]).is_whole and detect(shapes | copy).is_whole


def test_wan_with_two_names_of_diffusers():
    """JoyAI-Image's file."""
    shapes = header("wan21.original")["shapes"]
    renamed = {re.sub("^conv1", "quant_conv", re.sub("^conv2", "post_quant_conv", n)): s for n, s in shapes.items()}
    assert detect(renamed).is_whole and detect(renamed).config == detect(shapes).config


@pytest.mark.parametrize("ones", [0, 1, 2, 3])
def test_gammas_may_have_ones_at_the_end(ones):
    """Qwen2D's are (C, 1, 1); Wan's own (C, 1, 1, 1)."""
    shapes = header("wan21.original")["shapes"]
    changed = {n: (s[0], *(1,) * ones) if n.endswith("gamma") else s for n, s in shapes.items()}
    assert detect(changed).is_whole


@pytest.mark.parametrize("name", ["sd1.ldm", "sdxl.checkpoint-prefixed", "wan21.original", "dc-ae-f32c32.diffusers"])
def test_leftovers_are_not_the_network(name):
    """Losses and averages of training, and what a diffusion model does to latents; at the top level, and only there."""
    known = header(name)
    shapes, prefix = known["shapes"], known["prefix"]
    extra = {"loss.logvar": (), "loss.discriminator.main.0.weight": (64, 3, 4, 4), "model_ema.decay": (),
             "latents_mean": (16,), "latents_std": (16,), "scaling_factor": (), "shift_factor": ()}  # fmt: skip
    assert detect(shapes | {prefix + n: s for n, s in extra.items()}).is_whole
    assert detect(shapes | {f"{prefix}encoder.latents_mean": (16,)}).unexpected == (f"{prefix}encoder.latents_mean",)


@pytest.mark.parametrize(
    ("conv", "norm"), [((), (1, -1, 1, 1)), ((1,), (-1, 1)), ((1, 1, 1), (1, -1))], ids=["images", "rows", "frames"]
)
def test_ones_in_shapes_change_nothing(conv, norm):
    """A convolution of one pixel as (C, C), (C, C, 1) or (C, C, 1, 1, 1); norms as vectors of any number of axes."""
    weights = random_weights("kl", small_kl())
    want = from_weights(weights)
    shaped = {n: t.reshape(*t.shape[:2], *conv) if t.shape[2:] == (1, 1) else t for n, t in weights.items()}
    shaped = {n: t.reshape(norm) if t.ndim == 1 else t for n, t in shaped.items()}
    z = torch.randn(1, 4, 3, 2)
    assert torch.equal(from_weights(shaped).decode(z), want.decode(z))


def test_ones_between_other_numbers_are_no_reshape():
    """A convolution over three columns is none over three rows or frames."""
    shapes = {n: (*s[:2], 3, 1) if s[2:] == (3, 3) else s for n, s in header("sd1.ldm")["shapes"].items()}
    found = detect({**header("sd1.ldm")["shapes"], "decoder.conv_in.weight": shapes["decoder.conv_in.weight"]})
    assert found.misshapen == ("decoder.conv_in.weight [512, 4, 3, 1] instead of [512, 4, 3, 3]",)


def test_norms_of_unknown_groups_are_told():
    """Widths that 32 does not divide have norms of fewer groups, and no tensor has as many."""
    small = {name: tuple(48 if n == 64 else n for n in t.shape) for name, t in random_weights("kl", small_kl()).items()}
    with pytest.raises(UnknownCheckpoint, match="whose norms have 32 groups, but 32 does not divide its 48 channels"):
        detect(small)


def test_broken_files_are_refused_with_the_tensors_named(tmp_path):
    weights = random_weights("kl", small_kl())
    path = tmp_path / "bad.safetensors"
    lost = weights.pop("decoder.mid.block_1.conv2.bias")
    save_file(weights, path)
    with pytest.raises(BrokenCheckpoint, match=r"1 of its tensors is missing \(decoder.mid.block_1.conv2.bias\)"):
        load(path)
    save_file({**weights, "decoder.mid.block_1.conv2.bias": lost.repeat(2)}, path)
    with pytest.raises(
        BrokenCheckpoint, match=r"wrong shape \(decoder.mid.block_1.conv2.bias \[128\] instead of \[64\]\)"
    ):
        load(path)
    save_file({**weights, "decoder.mid.block_1.conv2.bias": lost, "decoder.extra.weight": lost.clone()}, path)
    with pytest.raises(BrokenCheckpoint, match=r"1 of its tensors is unexpected \(decoder.extra.weight\)"):
        load(path)
    assert inspect(path).unexpected == ("decoder.extra.weight",)


def test_inspection(kl_file):
    found = inspect(kl_file)
    assert (found.family, found.layout, found.prefix, found.parts) == ("kl", "ldm", "", ("encoder", "decoder"))
    assert found.dtypes == {"F32": found.tensors}
    assert found.bytes == sum(4 * torch.Size(s).numel() for s in expected_shapes("kl", small_kl()).values())
    assert (found.missing, found.unexpected, found.misshapen, found.others) == ((), (), (), 0)
