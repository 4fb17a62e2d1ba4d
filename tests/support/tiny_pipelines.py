"""Pipelines of diffusers with random weights, so small that a test can sample: no text encoder, prompts are embedded.

Each function gives (the pipeline, what to call it with). Importing this needs diffusers and transformers.
"""

from collections.abc import Callable
from typing import Any

import diffusers
import torch

from support.diffusers_networks import DIFFUSERS

Made = tuple[Any, dict[str, Any]]
SIDE = 32
GUIDED = {"guidance_scale": 1.0}
UNET = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 2, "sample_size": 16}
UNET |= {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 4}
UNET |= {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "cross_attention_dim": 8}


def words(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def image(channels: int = 3) -> torch.Tensor:
    return torch.rand(1, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


def vae(kind: str, **more: Any) -> Any:
    name, settings = DIFFUSERS[kind]
    return getattr(diffusers, name)(**{**settings, **more}).eval()


def euler() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


def unet(**more: Any) -> Any:
    return diffusers.UNet2DConditionModel(**{**UNET, "in_channels": 4, "out_channels": 4, **more})


def sd(cls: str = "StableDiffusionPipeline", channels: int = 4) -> Made:
    parts = {
        "vae": vae("kl"),
        "unet": unet(in_channels=channels),
        "scheduler": diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
    }
    empty = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder"))
    pipe = getattr(diffusers, cls)(**parts, **empty, requires_safety_checker=False)
    return pipe, {"prompt_embeds": words(1, 4, 8), **GUIDED}


def sd_img2img() -> Made:
    pipe, given = sd("StableDiffusionImg2ImgPipeline")
    return pipe, {**given, "image": image(), "strength": 1.0}


def sd_inpaint() -> Made:
    pipe, given = sd("StableDiffusionInpaintPipeline", channels=9)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., : SIDE // 2] = 1
    return pipe, {**given, "image": image(), "mask_image": mask, "height": SIDE, "width": SIDE}


def sdxl() -> Made:
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    net = unet(**added, projection_class_embeddings_input_dim=6 * 8 + 8, use_linear_projection=True)
    empty = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = diffusers.StableDiffusionXLPipeline(
        vae=vae("kl", scaling_factor=0.13025), unet=net, scheduler=diffusers.EulerDiscreteScheduler(), **empty
    )
    return pipe, {"prompt_embeds": words(1, 4, 8), "pooled_prompt_embeds": words(1, 8), **GUIDED}


def sd3() -> Made:
    net = diffusers.SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
    )  # fmt: skip
    names = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=net, scheduler=euler(), vae=vae("kl", scaling_factor=1.5305, shift_factor=0.0609),
        **dict.fromkeys(names),
    )  # fmt: skip
    return pipe, {"prompt_embeds": words(1, 4, 32), "pooled_prompt_embeds": words(1, 64), **GUIDED}


def flux1(cls: str = "FluxPipeline") -> Made:
    net = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    empty = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = getattr(diffusers, cls)(
        transformer=net, scheduler=euler(), vae=vae("kl", scaling_factor=0.3611, shift_factor=0.1159), **empty
    )
    return pipe, {"prompt_embeds": words(1, 4, 32), "pooled_prompt_embeds": words(1, 32)}


def flux1_img2img() -> Made:
    pipe, given = flux1("FluxImg2ImgPipeline")
    return pipe, {**given, "image": image(), "strength": 1.0}


def flux2() -> Made:
    net = diffusers.Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    own = vae("kl FLUX.2")
    own.bn.running_mean.copy_(words(16))
    own.bn.running_var.copy_(words(16).abs() + 0.5)
    pipe = diffusers.Flux2Pipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    return pipe, {"prompt_embeds": words(1, 4, 16), "image": None}


def qwen_image() -> Made:
    net = diffusers.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    own = vae("wan RGBA", input_channels=3, latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.1, 1.2, 1.3, 1.4])
    pipe = diffusers.QwenImagePipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    return pipe, {"prompt_embeds": words(1, 4, 16), "prompt_embeds_mask": torch.ones(1, 4, dtype=torch.long)}


def wan() -> Made:
    net = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
        freq_dim=16, ffn_dim=16, num_layers=1, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )  # fmt: skip
    own = vae("wan", latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.1, 1.2, 1.3, 1.4],
              temperal_downsample=[False, True, True])  # fmt: skip
    pipe = diffusers.WanPipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    return pipe, {"prompt_embeds": words(1, 4, 8), "num_frames": 5, **GUIDED}


def hunyuan_video() -> Made:
    net = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=True, text_embed_dim=16,
        pooled_projection_dim=8, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    empty = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = diffusers.HunyuanVideoPipeline(transformer=net, scheduler=euler(), vae=vae("hunyuan_video"), **empty)
    embedded = {"prompt_embeds": words(1, 4, 16), "pooled_prompt_embeds": words(1, 8)}
    return pipe, {**embedded, "prompt_attention_mask": torch.ones(1, 4), "num_frames": 5}


def ltx() -> Made:
    net = diffusers.LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, patch_size=1, patch_size_t=1, num_attention_heads=2, attention_head_dim=8,
        cross_attention_dim=16, num_layers=1, caption_channels=16,
    )  # fmt: skip
    own = vae("ltx_video", decoder_causal=False)
    own.latents_mean.copy_(words(4))
    own.latents_std.copy_(words(4).abs() + 0.5)
    pipe = diffusers.LTXPipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    return pipe, {
        "prompt_embeds": words(1, 4, 16),
        "prompt_attention_mask": torch.ones(1, 4),
        "num_frames": 9,
        **GUIDED,
    }


def sana() -> Made:
    net = diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=16, out_channels=16, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=32,
    )  # fmt: skip
    own = vae("dc_ae Sana", scaling_factor=0.41407)
    pipe = diffusers.SanaPipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    embedded = {"prompt_embeds": words(1, 4, 8), "prompt_attention_mask": torch.ones(1, 4)}
    return pipe, {**embedded, "use_resolution_binning": False, **GUIDED}


def z_image() -> Made:
    net = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    own = vae("kl", scaling_factor=0.3611, shift_factor=0.1159)
    pipe = diffusers.ZImagePipeline(transformer=net, scheduler=euler(), vae=own, text_encoder=None, tokenizer=None)
    return pipe, {"prompt_embeds": [words(4, 16)], "guidance_scale": 0.0}


def kandinsky6_sr() -> Made:
    """It makes of 32 x 48 pixels 64 x 96, in tiles of 64 x 64."""
    net = diffusers.Kandinsky6SRTransformer3DModel(
        in_visual_dim=4, out_visual_dim=4, time_dim=16, model_dim=24, ff_dim=24, num_visual_blocks=1,
        axes_dims=(4, 4, 4), tile_sizes=((64, 64),),
    )  # fmt: skip
    pipe = diffusers.Kandinsky6SRPipeline(transformer=net, vae=vae("kandinsky6"), scheduler=euler())
    return pipe, {"video": words(1, 5, 3, SIDE, 48).sigmoid(), "resolution_scale": 2}


PIPELINES: dict[str, Callable[[], Made]] = {
    "SD": sd,
    "SD img2img": sd_img2img,
    "SD inpaint": sd_inpaint,
    "SDXL": sdxl,
    "SD3": sd3,
    "FLUX.1": flux1,
    "FLUX.1 img2img": flux1_img2img,
    "FLUX.2": flux2,
    "Qwen-Image": qwen_image,
    "Wan": wan,
    "HunyuanVideo": hunyuan_video,
    "LTX": ltx,
    "Sana": sana,
    "Z-Image": z_image,
}
if hasattr(diffusers, "Kandinsky6SRPipeline"):
    PIPELINES["Kandinsky 6 super-resolution"] = kandinsky6_sr
