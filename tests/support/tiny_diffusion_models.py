"""Diffusion models of random weights as files, so small that a test can sample with them; ComfyUI tells them by shapes.

sd3      one block of 64 channels, text of 8 numbers a word: for core's UNETLoader
sd15     one level of SD 1.5's UNet, all of its text encoder, and a VAE: for core's CheckpointLoaderSimple
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, TEXT = 64, 8  # of sd3's block, and of its words
CHANNELS, EMBEDDING, CONTEXT = 320, 1280, 768  # by which SD 1.5 is known


def sd3(path: Path) -> None:
    w = _Weights()
    w.linear("x_embedder.proj", WIDTH, 16, 2, 2)
    w.draw("pos_embed", 1, 64, WIDTH)
    w.mlp("t_embedder.mlp.0", "t_embedder.mlp.2", 256, WIDTH, WIDTH)
    w.mlp("y_embedder.mlp.0", "y_embedder.mlp.2", TEXT, WIDTH, WIDTH)
    w.linear("context_embedder", WIDTH, TEXT)
    block = "joint_blocks.0"
    w.linear(f"{block}.context_block.attn.qkv", 3 * WIDTH, WIDTH)
    w.linear(f"{block}.context_block.adaLN_modulation.1", 2 * WIDTH, WIDTH)
    w.linear(f"{block}.x_block.attn.qkv", 3 * WIDTH, WIDTH)
    w.linear(f"{block}.x_block.attn.proj", WIDTH, WIDTH)
    w.mlp(f"{block}.x_block.mlp.fc1", f"{block}.x_block.mlp.fc2", WIDTH, 4 * WIDTH, WIDTH)
    w.linear(f"{block}.x_block.adaLN_modulation.1", 6 * WIDTH, WIDTH)
    w.linear("final_layer.linear", 16 * 4, WIDTH)
    w.linear("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH)
    save_file(w.tensors, path)


def sd15(path: Path, vae: dict[str, Tensor]) -> None:
    """To a .ckpt: its text encoder is 123 million numbers, of which only some are in the file."""
    unet, clip = _Weights("model.diffusion_model."), _Weights("cond_stage_model.transformer.text_model.", repeats=True)
    unet.mlp("time_embed.0", "time_embed.2", CHANNELS, EMBEDDING, EMBEDDING)
    unet.linear("input_blocks.0.0", CHANNELS, 4, 3, 3)
    for place, c_in in (
        ("input_blocks.1", CHANNELS),
        ("output_blocks.0", 2 * CHANNELS),
        ("output_blocks.1", 2 * CHANNELS),
    ):
        _residual(unet, f"{place}.0", c_in)
        _transformer(unet, f"{place}.1")
    unet.norm("out.0", CHANNELS)
    unet.linear("out.2", 4, CHANNELS, 3, 3)
    _clip(clip)
    prefixed = {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
    torch.save({"state_dict": {**unet.tensors, **clip.tensors, **prefixed}}, path)


def _residual(w: "_Weights", place: str, c_in: int) -> None:
    w.norm(f"{place}.in_layers.0", c_in)
    w.linear(f"{place}.in_layers.2", CHANNELS, c_in, 3, 3)
    w.linear(f"{place}.emb_layers.1", CHANNELS, EMBEDDING)
    w.norm(f"{place}.out_layers.0", CHANNELS)
    w.linear(f"{place}.out_layers.3", CHANNELS, CHANNELS, 3, 3)
    if c_in != CHANNELS:
        w.linear(f"{place}.skip_connection", CHANNELS, c_in, 1, 1)


def _transformer(w: "_Weights", place: str) -> None:
    block = f"{place}.transformer_blocks.0"
    for name in (f"{place}.norm", *(f"{block}.norm{i}" for i in (1, 2, 3))):
        w.norm(name, CHANNELS)
    for name in ("proj_in", "proj_out"):
        w.linear(f"{place}.{name}", CHANNELS, CHANNELS, 1, 1)
    for attention, seen in (("attn1", CHANNELS), ("attn2", CONTEXT)):
        for name, c_in in (("to_q", CHANNELS), ("to_k", seen), ("to_v", seen)):
            w.draw(f"{block}.{attention}.{name}.weight", CHANNELS, c_in)
        w.linear(f"{block}.{attention}.to_out.0", CHANNELS, CHANNELS)
    w.linear(f"{block}.ff.net.0.proj", 8 * CHANNELS, CHANNELS)
    w.linear(f"{block}.ff.net.2", CHANNELS, 4 * CHANNELS)


def _clip(w: "_Weights") -> None:
    w.draw("embeddings.token_embedding.weight", 49408, CONTEXT)
    w.draw("embeddings.position_embedding.weight", 77, CONTEXT)
    for i in range(12):
        layer = f"encoder.layers.{i}"
        for name in ("layer_norm1", "layer_norm2"):
            w.norm(f"{layer}.{name}", CONTEXT)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            w.linear(f"{layer}.self_attn.{name}", CONTEXT, CONTEXT)
        w.mlp(f"{layer}.mlp.fc1", f"{layer}.mlp.fc2", CONTEXT, 4 * CONTEXT, CONTEXT)
    w.norm("final_layer_norm", CONTEXT)


class _Weights:
    """Of layers, under their names. repeats: one column for all, which a file holds once."""

    def __init__(self, prefix: str = "", repeats: bool = False):
        self.prefix, self.repeats = prefix, repeats
        self.tensors: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)

    def draw(self, name: str, *shape: int) -> None:
        fan_in = torch.Size(shape[1:]).numel() or 1
        drawn = (shape[0], *(1,) * (len(shape) - 1)) if self.repeats else shape
        tensor = torch.randn(drawn, generator=self.generator) * fan_in**-0.5
        self.tensors[self.prefix + name] = tensor.half().expand(shape)

    def linear(self, name: str, *shape: int) -> None:
        self.draw(f"{name}.weight", *shape)
        self.tensors[f"{self.prefix}{name}.bias"] = torch.zeros(shape[0]).half()

    def mlp(self, first: str, second: str, c_in: int, c: int, c_out: int) -> None:
        self.linear(first, c, c_in)
        self.linear(second, c_out, c)

    def norm(self, name: str, channels: int) -> None:
        self.tensors[f"{self.prefix}{name}.weight"] = torch.ones(channels).half()
        self.tensors[f"{self.prefix}{name}.bias"] = torch.zeros(channels).half()
