"""Grows a network: it first learns small images without its top levels, which is cheap.

Karras et al. 2017 (https://arxiv.org/abs/1710.10196) grew networks to make them stable; here it makes them cheap: an
image half as large has a quarter of the pixels, and the levels below the top learn the same from it.
"""

import torch

from ..vae_core.families.kl import AutoencoderKL, Resample, ResnetBlock
from ..vae_core.ops import Ops, chain, silu

FIRST_LOGVAR = -6.0


def ops_without_top(network: AutoencoderKL, skip: int) -> tuple[Ops, Ops]:
    """The ops that encode and decode images 1/2^skip as large, without the top `skip` levels."""
    e, d = network.encoder, network.decoder
    if not skip or e is None or d is None:
        return network.encode_ops(), network.decode_ops()
    top, *rest = list(d.up)[skip:]  # the top one without its upsampling
    ending = (*top.get_submodule("block").children(), d.norm_out, silu, d.conv_out)
    encode = chain(e.conv_in, *e.down[skip:], e.mid, e.norm_out, silu, e.conv_out, network.quant_conv)
    decode = chain(network.post_quant_conv, d.conv_in, d.mid, *reversed(rest), *ending)
    return encode, decode


def start_gently(network: AutoencoderKL) -> None:
    """Set the first weights: residual blocks as their shortcuts, resampling as mean or repetition, narrow posteriors.

    So adding a level hardly changes what the network computes.
    """
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, ResnetBlock):
                for tensor in part.conv2.parameters():
                    tensor.zero_()
            if isinstance(part, Resample):
                average_or_repeat(part)
        if network.quant_conv:
            network.quant_conv.get_parameter("bias").chunk(2)[1].fill_(FIRST_LOGVAR)


def average_or_repeat(part: Resample) -> None:
    """Set the weights of a resampling. Down: the mean of 2 x 2 pixels. Up: the doubled pixels unchanged."""
    taps, share = (slice(1, 2), 1.0) if part.up else (slice(0, 2), 0.25)
    for tensor in part.conv.parameters():
        tensor.zero_()
    weight = part.conv.weight
    weight[:, :, taps, taps] = torch.eye(len(weight))[:, :, None, None] * share
