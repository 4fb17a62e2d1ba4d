"""Files of weights that are no VAE of images: each told for what it is, by names of the real file."""

import re

import pytest
from exact_vae.vae_core import UnknownCheckpoint, UnsupportedCheckpoint, detect
from exact_vae.vae_core.families.others import OTHERS, _over_lines, recognise_other
from exact_vae.vae_core.families.shapes import text_of
from support.headers import header, header_names

FILES = {
    "a latent": {"latent_tensor": (1, 4, 64, 64), "latent_format_version_0": (0,)},
    "a LoRA": {"lora_unet_down_0.lora_down.weight": (4, 320), "lora_unet_down_0.lora_up.weight": (320, 4)},
    "a ControlNet": {"control_model.input_hint_block.0.weight": (16, 3, 3, 3)},
    "an upscaler of images": {"model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)},
    "the statistics of RAE's latents": {"mean": (768, 16, 16), "var": (768, 16, 16)},
    "LTX's upscaler of latents": {"initial_conv.weight": (512, 128, 3, 3, 3), "upsampler.0.weight": (2048, 512, 3, 3)},
    "the VAE of sound of ACE-Step": {
        "vocoder.backbone.channel_layers.0.0.bias": (96,),
        "dcae.encoder.conv_in.weight": (128, 2, 3, 3),
        "dcae.encoder.down_blocks.0.0.conv1.conv.weight": (128, 128, 3, 3),
    },
    "the VAE of sound of ACE-Step (its mel spectrograms)": {
        "encoder.conv_in.weight": (128, 2, 3, 3),
        "encoder.down_blocks.0.0.conv1.conv.weight": (128, 128, 3, 3),
        "decoder.up_blocks.0.0.conv1.conv.weight": (128, 128, 3, 3),
    },
    "the VAE of sound of LTX-2": {
        "audio_vae.encoder.conv_in.conv.weight": (128, 2, 3, 3),
        "vocoder.resblocks.0.convs1.0.weight": (512, 512, 3),
    },
    "the VAE of sound of MMAudio": {"mel_converter.mel_basis": (80, 513)},
    "the VAE of sound of MiniMax-H3": {"pre_block.attn.zero_k_bias": (512,)},
    "the VAE of sound of MiniMax Music": {"dec_in_proj.weight": (64, 64, 1)},
    "the VAE of sound of Stable Audio or ACE-Step 1.5 (Oobleck)": {"decoder.block.0.snake1.beta": (1, 2048, 1)},
    "the VAE of sound of Stable Audio 3": {"decoder.layers.3.transformers.0.pre_norm.alpha": (1,)},
    "the VAE of sound of LongCat-Audio": {"encoder.layers.1.layers.0.layers.0.alpha": (128,)},
    "the VAE of shapes of Hunyuan3D": {"geo_decoder.cross_attn_decoder.ln_1.bias": (1024,)},
    "the VAE of shapes of Trellis 2": {"shape_dec.blocks.1.16.to_subdiv.weight": (8, 512)},
    "the VAE of shapes of TripoSplat": {"gs.base_offset_scale": ()},
    "the VAE of Open-Sora 1.2": {
        **{f"spatial_vae.module.{name}": shape for name, shape in header("sd1.diffusers")["shapes"].items()},
        "temporal_vae.encoder.conv_in.conv.weight": (128, 4, 3, 3, 3),
    },
    "a text encoder (CLIP)": header("none.clip-l")["shapes"],
    "a text encoder (T5)": header("none.t5xxl-encoder")["shapes"],
    "a language model": {
        "model.layers.0.self_attn.q_proj.weight": (4096, 4096), "model.embed_tokens.weight": (32000, 4096)
    },
    "a vision encoder (DINOv2 or MAE)": {"embeddings.patch_embeddings.projection.weight": (768, 3, 14, 14)},
    "a vision encoder (CLIP)": {"vision_model.encoder.layers.0.self_attn.q_proj.weight": (1024, 1024)},
    "a diffusion model": header("none.flux1-dit")["shapes"],
    "a network of sound or of shapes in space": {"encoder.layers.0.weight": (64, 1, 7), "decoder.layers.0.bias": (64,)},
}  # fmt: skip


def test_every_row_has_a_file():
    assert list(FILES) == [row.what for row in OTHERS]


@pytest.mark.parametrize("what", FILES)
def test_it_is_told_for_what_it_is(what):
    row = recognise_other(FILES[what])
    assert row and row.what == what
    with pytest.raises(UnknownCheckpoint) as e:
        detect(FILES[what])
    assert not isinstance(e.value, UnsupportedCheckpoint)
    assert str(e.value) == f"no VAE was found among these {len(FILES[what])} tensors, which are {what}: {row.to_do}."


@pytest.mark.parametrize("name", ["none.sd15-unet-diffusers", "none.sd15-unet-ldm", "none.audio-oobleck"])
def test_real_files(name):
    row = recognise_other(header(name)["shapes"])
    assert row and row.what.startswith("the VAE of sound of Stable Audio" if "oobleck" in name else "a diffusion model")


@pytest.mark.parametrize("name", [name for name in header_names() if not name.startswith("none.")])
def test_no_vae_of_images_is_a_vae_of_sound(name):
    """These rows are asked before a VAE is looked for under a prefix that nobody has listed."""
    assert not recognise_other(header(name)["shapes"], vaes=True)


@pytest.mark.parametrize("pattern", sorted({name for row in OTHERS for name in row.names}))
def test_names_are_searched_all_at_once_as_one_by_one(pattern):
    """With the name of one file after that of another, a pattern may not reach from one name into the next."""
    files = [*FILES.values(), *(header(name)["shapes"] for name in ("sdxl.ldm", "flux1.diffusers", "none.flux1-dit"))]
    for shapes in files:
        alone = any(re.search(pattern, name) for name in shapes)
        assert bool(_over_lines(pattern).search(text_of(shapes))) == alone


def test_a_resampler_is_no_latent():
    """Its queries are called `latents`, too."""
    assert recognise_other({"latents": (1, 16, 768), "proj_in.weight": (768, 1024)}) is None
