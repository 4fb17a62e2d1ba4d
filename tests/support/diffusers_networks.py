"""Small networks of diffusers, of the families that it runs: the settings of their classes."""

_DOWN, _UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
_WAN = {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1}
_VIDEO = {"latent_channels": 4, "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1}
_TWO = {"down_block_types": (_DOWN,) * 2, "up_block_types": (_UP,) * 2, "block_out_channels": (32, 64)}
_DC = {
    "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (32, 64, 64),
    "decoder_block_out_channels": (32, 64, 64),
    "latent_channels": 16,
}
_LTX_UP = {
    "decoder_block_out_channels": (8, 16, 32),
    "decoder_layers_per_block": (1, 1, 2, 1),
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2, 2, 2),
    "latent_channels": 4,
}
_LTX_DOWN = {
    "block_out_channels": (16, 32, 64, 64),
    "layers_per_block": (1,) * 5,
    "spatio_temporal_scaling": (True,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "latent_channels": 4,
}
# What diffusers has of the families that it runs: (class, its settings). Small, by family and kind.
DIFFUSERS = {
    "kl": ("AutoencoderKL", {**_TWO, "latent_channels": 4}),
    "kl FLUX.2": ("AutoencoderKLFlux2", {**_TWO, "latent_channels": 4}),
    "asymmetric": (
        "AsymmetricAutoencoderKL",
        {"down_block_types": (_DOWN,) * 4, "down_block_out_channels": (32,) * 4, "up_block_types": (_UP,) * 4}
        | {"up_block_out_channels": (32, 64, 64, 64), "layers_per_up_block": 2},
    ),
    "svd": (
        "AutoencoderKLTemporalDecoder",
        {"block_out_channels": (32, 64), "down_block_types": (_DOWN,) * 2, "layers_per_block": 2},
    ),
    "vq": ("VQModel", {**_TWO, "latent_channels": 4, "num_vq_embeddings": 17}),
    "vq MoVQ": (
        "VQModel",
        {"down_block_types": (_DOWN, "AttnDownEncoderBlock2D"), "up_block_types": ("AttnUpDecoderBlock2D", _UP)}
        | {"block_out_channels": (32, 64), "latent_channels": 4, "num_vq_embeddings": 17, "norm_type": "spatial"},
    ),
    "kvae": ("AutoencoderKLKVAE", {"channels": 32, "num_enc_blocks": 1, "num_dec_blocks": 1, "ch_mult": (1, 2)}),
    "hunyuan_image": (
        "AutoencoderKLHunyuanImage",
        {"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (32, 32, 64)}
        | {"layers_per_block": 1, "spatial_compression_ratio": 4, "sample_size": 64},
    ),
    "hunyuan_video": ("AutoencoderKLHunyuanVideo", _VIDEO),
    "hunyuan_video_15": ("AutoencoderKLHunyuanVideo15", {**_VIDEO, "block_out_channels": (32, 32, 64, 64, 64)}),
    "ltx_video": (
        "AutoencoderKLLTXVideo",
        {"block_out_channels": (8, 12, 16, 16), "decoder_block_out_channels": (8, 12, 16, 16), "latent_channels": 4}
        | {"layers_per_block": (1,) * 5, "decoder_layers_per_block": (1,) * 5},
    ),
    "ltx_video 0.9.1": (
        "AutoencoderKLLTXVideo",
        {**_LTX_UP, "block_out_channels": (8, 12, 16, 16), "layers_per_block": (1,) * 5, "timestep_conditioning": True}
        | {"decoder_inject_noise": (True, True, True, False)},
    ),
    "ltx_video 0.9.5": (
        "AutoencoderKLLTXVideo",
        {**_LTX_UP, **_LTX_DOWN, "block_out_channels": (8, 16, 32, 64, 64), "timestep_conditioning": True}
        | {"down_block_types": ("LTXVideo095DownBlock3D",) * 4, "decoder_inject_noise": (False,) * 4},
    ),
    "ltx_video 2": ("AutoencoderKLLTX2Video", {**_LTX_UP, **_LTX_DOWN, "decoder_causal": False}),
    "ltx_video 2.3": (
        "AutoencoderKLLTX2Video",
        {**_LTX_DOWN, "decoder_block_out_channels": (8, 16, 16, 32), "decoder_layers_per_block": (1, 2, 1, 1, 1)}
        | {"upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"), "decoder_causal": False}
        | {"upsample_factor": (2, 2, 1, 2), "upsample_residual": False, "decoder_spatial_padding_mode": "zeros"}
        | {"decoder_spatio_temporal_scaling": True, "decoder_inject_noise": False},
    ),
    "cogvideox": (
        "AutoencoderKLCogVideoX",
        {"down_block_types": ("CogVideoXDownBlock3D",) * 3, "up_block_types": ("CogVideoXUpBlock3D",) * 3}
        | {"block_out_channels": (32, 32, 64), "latent_channels": 4, "layers_per_block": 1},
    ),
    "allegro": (
        "AutoencoderKLAllegro",
        {"down_block_types": ("AllegroDownBlock3D",) * 2, "up_block_types": ("AllegroUpBlock3D",) * 2}
        | {"temporal_downsample_blocks": (True, False), "temporal_upsample_blocks": (True, False)}
        | {"block_out_channels": (32, 32), "layers_per_block": 1, "temporal_compression_ratio": 2, "sample_size": 16},
    ),
    "kvae_video": (
        "AutoencoderKLKVAEVideo",
        {"ch": 32, "ch_mult": (1, 1, 2), "num_res_blocks": 1, "z_channels": 4, "temporal_compress_times": 2},
    ),
    "kandinsky6": (
        "Kandinsky6SRVAE",
        {"encoder_block_out_channels": (8, 16, 16), "decoder_block_out_channels": (8, 16, 24), "layers_per_block": 1}
        | {"latent_channels": 4, "temporal_compression_ratio": 2},
    ),
    "cosmos": (
        "AutoencoderKLCosmos",
        {"encoder_block_out_channels": (8, 8, 16, 16), "decode_block_out_channels": (8, 16, 16, 16), "num_layers": 1}
        | {"patch_size": 2, "spatial_compression_ratio": 4, "temporal_compression_ratio": 4},
    ),
    "minimax_h3": (
        "AutoencoderKLMiniMaxH3",
        {"block_out_channels": (32, 32, 32, 64), "layers_per_block": 1, "latent_channels": 4}
        | {"spatial_downsample_factors": (2, 2, 2, 1), "temporal_downsample_factors": (1, 2, 2, 1)}
        | {"decoder_num_layers": 2, "decoder_num_attention_heads": 2, "decoder_num_register_tokens": 2},
    ),
    "ltx_diffusion": (
        "LTX2VideoDiffusionDecoderModel",
        {"latent_channels": 4, "decoder_stage_channels": (128, 128, 64, 64, 64), "decoder_t_emb_dim": 16}
        | {"decoder_stage_depths": (1, 2, 1, 1, 2), "decoder_upsample_channel_reductions": (1, 2, 1, 1)}
        | {"decoder_upsample_strides": ((2, 1, 1), (1, 2, 2), (2, 1, 1), (2, 1, 1))}
        | {"decoder_stage_kernels": ((3, 3, 5), (3, 5, 3), (3, 3, 3), (3, 5, 5)), "decoder_stage5_kernel": (5, 7, 5)},
    ),
    "easyanimate": (
        "AutoencoderKLMagvit",
        {"down_block_types": ("SpatialDownBlock3D", "SpatialTemporalDownBlock3D", "SpatialTemporalDownBlock3D")}
        | {"up_block_types": ("SpatialUpBlock3D", "SpatialTemporalUpBlock3D", "SpatialTemporalUpBlock3D")}
        | {"block_out_channels": (32, 32, 64), "latent_channels": 4, "layers_per_block": 1},
    ),
    "vidtok": ("AutoencoderVidTok", {"ch": 8, "ch_mult": (1, 2, 2), "num_res_blocks": 1}),
    "vidtok FSQ, not causal": (
        "AutoencoderVidTok",
        {"ch": 8, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "is_causal": False}
        | {"regularizer": "fsq", "double_z": False, "codebook_size": 4096},
    ),
    "mochi": (
        "AutoencoderKLMochi",
        {"encoder_block_out_channels": (32, 32, 64, 64), "decoder_block_out_channels": (32, 32, 32, 64)}
        | {"latent_channels": 4, "layers_per_block": (1, 1, 2, 1, 1)},
    ),
    "dc_ae": (
        "AutoencoderDC",
        {**_DC, "encoder_layers_per_block": (0, 1, 2), "decoder_layers_per_block": (0, 2, 1)}
        | {"encoder_qkv_multiscales": ((),) * 3, "decoder_qkv_multiscales": ((),) * 3}
        | {"decoder_norm_types": ["batch_norm", "batch_norm", "rms_norm"], "decoder_act_fns": ["relu", "relu", "silu"]},
    ),
    "dc_ae Sana": (
        "AutoencoderDC",
        {**_DC, "encoder_layers_per_block": (1, 2, 1), "decoder_layers_per_block": (2, 1, 1)}
        | {"encoder_qkv_multiscales": ((), (), (3, 5)), "decoder_qkv_multiscales": ((), (), (5,))}
        | {"downsample_block_type": "Conv", "upsample_block_type": "interpolate"},
    ),
    "dc_ae 1.5": (
        "AutoencoderDC",
        {**_DC, "encoder_layers_per_block": (0, 1, 2), "decoder_layers_per_block": (0, 2, 1), "latent_channels": 48}
        | {"encoder_block_types": ("ResBlock",) * 3, "decoder_block_types": ("ResBlock",) * 3}
        | {"encoder_qkv_multiscales": ((),) * 3, "decoder_qkv_multiscales": ((),) * 3}
        | {"encoder_out_shortcut": False, "decoder_in_shortcut": False},
    ),
    "wan": ("AutoencoderKLWan", {**_WAN, "dim_mult": [1, 2, 2, 4], "temperal_downsample": [True, False, True]}),
    "wan RGBA": ("AutoencoderKLQwenImage", {**_WAN, "input_channels": 4}),
    "wan 2.2": (
        "AutoencoderKLWan",
        {**_WAN, "decoder_base_dim": 16, "is_residual": True, "patch_size": 2, "scale_factor_spatial": 16}
        | {"in_channels": 12, "out_channels": 12},
    ),
    "wan Qwen-Image-2.1": ("AutoencoderKLQwenImage21", {**_WAN, "decoder_base_dim": 16}),
    "tiny": ("AutoencoderTiny", {}),
    "consistency": (
        "ConsistencyDecoderVAE",
        {"encoder_block_out_channels": (32, 32, 32, 64), "encoder_layers_per_block": 1}
        | {"decoder_block_out_channels": (32, 32, 64, 64), "decoder_layers_per_block": 2},
    ),
    "rae": (  # which needs transformers
        "AutoencoderRAE",
        {"encoder_hidden_size": 64, "encoder_num_hidden_layers": 1, "encoder_input_size": 28}
        | {"decoder_hidden_size": 64, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 1}
        | {
            "decoder_intermediate_size": 32,
            "latents_mean": [[[0.0] * 2] * 2] * 64,
            "latents_std": [[[1.0] * 2] * 2] * 64,
        },
    ),
    "paella": ("PaellaVQModel", {"levels": 2, "bottleneck_blocks": 1, "embed_dim": 24, "num_vq_embeddings": 20}),
}
# Families of which diffusers has kept the authors' names: a file is of both layouts, and known as diffusers'.
SAME_NAMES = ("kvae", "easyanimate", "allegro", "kvae_video", "kandinsky6", "vidtok")
