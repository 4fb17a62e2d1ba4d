"""SeedVR2's autoencoder as its authors compute it, small: what ours is compared with.

After ByteDance-Seed/SeedVR models/video_vae_v3/modules/attn_video_vae.py and causal_inflation_lib.py (Apache-2.0),
whose names the parameters bear: whole clips, (B, C, T, H, W), without slices. Attention is diffusers', as theirs is.
"""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F


class CausalConv(nn.Conv3d):
    """Before the first frame it is seen again, as often as the kernel reaches back."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:, :, :1]] * (self.kernel_size[0] - 1) + [x], 2))


def conv(c_in: int, c_out: int, kernel: int = 3) -> CausalConv:
    return CausalConv(c_in, c_out, kernel, padding=(0, kernel // 2, kernel // 2))


def each_frame(layer, x: Tensor) -> Tensor:
    b, c, t, h, w = x.shape
    y = layer(x.transpose(1, 2).reshape(b * t, c, h, w))
    return y.reshape(b, t, *y.shape[1:]).transpose(1, 2)


def norm(c: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, c, eps=1e-6)


class Resnet(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1, self.norm2 = norm(c_in), norm(c_out)
        self.conv1, self.conv2 = conv(c_in, c_out), conv(c_out, c_out)
        self.conv_shortcut = conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(each_frame(self.norm1, x)))
        return self.conv_shortcut(x) + self.conv2(F.silu(each_frame(self.norm2, y)))


class Down(nn.Module):
    def __init__(self, c: int, in_time: bool):
        super().__init__()
        kernel, stride = ((3, 3, 3), (2, 2, 2)) if in_time else ((1, 3, 3), (1, 2, 2))
        self.conv = CausalConv(c, c, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    def __init__(self, c: int, in_time: bool):
        super().__init__()
        self.frames = 2 if in_time else 1
        self.upscale_conv, self.conv = nn.Conv3d(c, 4 * self.frames * c, 1), conv(c, c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.upscale_conv(x).unflatten(1, (2, 2, self.frames, -1))  # b x y z c f h w
        x = x.permute(0, 4, 5, 3, 6, 1, 7, 2).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return self.conv(torch.cat([x[:, :, :1], x[:, :, self.frames :]], 2))


class Level(nn.Module):
    def __init__(self, c_in: int, c: int, blocks: int, change: Down | Up | None):
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(c_in if i == 0 else c, c) for i in range(blocks))
        self.downsamplers = nn.ModuleList([change] if isinstance(change, Down) else [])
        self.upsamplers = nn.ModuleList([change] if isinstance(change, Up) else [])

    def forward(self, x: Tensor) -> Tensor:
        return nn.Sequential(*self.resnets, *self.downsamplers, *self.upsamplers)(x)


class Middle(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(c, c), Resnet(c, c)])
        attention = Attention(c, heads=1, dim_head=c, eps=1e-6, norm_num_groups=32, residual_connection=True, bias=True,
                              upcast_softmax=True, _from_deprecated_attn_block=True)  # fmt: skip
        self.attentions = nn.ModuleList([attention])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](each_frame(self.attentions[0], self.resnets[0](x)))


class Half(nn.Module):
    def __init__(self, c_in: int, c_out: int, first: int, last: int):
        super().__init__()
        self.conv_in, self.conv_norm_out, self.conv_out = conv(c_in, first), norm(last), conv(last, c_out)

    def end(self, x: Tensor) -> Tensor:
        return self.conv_out(F.silu(each_frame(self.conv_norm_out, x)))


class Encoder(Half):
    def __init__(self, widths: tuple[int, ...], in_time: tuple[bool, ...], blocks: int, z: int):
        super().__init__(3, 2 * z, widths[0], widths[-1])
        changes = [*(Down(c, twice) for c, twice in zip(widths[:-1], in_time, strict=True)), None]
        pairs = zip((widths[0], *widths[:-1]), widths, changes, strict=True)
        self.down_blocks = nn.ModuleList(Level(c_in, c, blocks, change) for c_in, c, change in pairs)
        self.mid_block = Middle(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.mid_block(nn.Sequential(self.conv_in, *self.down_blocks)(x)))


class Decoder(Half):
    def __init__(self, widths: tuple[int, ...], in_time: tuple[bool, ...], blocks: int, z: int):
        super().__init__(z, 3, widths[-1], widths[0])
        changes = [*(Up(c, twice) for c, twice in zip(widths[:0:-1], in_time, strict=True)), None]
        pairs = zip((widths[-1], *widths[:0:-1]), widths[::-1], changes, strict=True)
        self.mid_block = Middle(widths[-1])
        self.up_blocks = nn.ModuleList(Level(c_in, c, blocks, change) for c_in, c, change in pairs)

    def forward(self, z: Tensor) -> Tensor:
        return self.end(nn.Sequential(*self.up_blocks)(self.mid_block(self.conv_in(z))))


class SeedVR2(nn.Module):
    """in_time: of the changes of resolution of each half, in the order they run."""

    def __init__(self, widths: tuple[int, ...] = (32, 32, 64), z: int = 4):
        super().__init__()
        self.encoder = Encoder(widths, (False, True), 1, z)
        self.decoder = Decoder(widths, (True, False), 2, z)
