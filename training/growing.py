"""Grows a network: it first learns small images without its top levels, which is cheap.

Karras et al. 2017 (https://arxiv.org/abs/1710.10196) grew networks to make them stable; here it makes them cheap: an
image half as large has a quarter of the pixels, and the levels below the top learn the same from it.
"""

import torch
from torch import Tensor

from ..vae_core.families.kl import AutoencoderKL, Resample, ResnetBlock
from ..vae_core.ops import Ops, chain, silu

FIRST_LOGVAR = -6.0
HAAR_2X2 = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 2


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


def keep_detail(network: AutoencoderKL) -> None:
    """Set the encoder's first weights so that no detail is lost: each level has the Haar coefficients of the one above.

    Of n channels with content, 4 n have content one level down, or as many as there are: means of 2 x 2 pixels first,
    then differences. The other channels stay as `start_gently` set them.
    """
    if network.encoder is None:
        return
    filled = 3
    with torch.no_grad():
        stem = network.encoder.conv_in
        for tensor in stem.parameters():
            tensor[:filled] = 0
        stem.weight[:filled, :filled, 1, 1] = torch.eye(filled)
        for part in network.encoder.modules():
            if isinstance(part, Resample):
                filled = split_into_haar(part.conv.weight, filled)


def split_into_haar(weight: Tensor, filled: int) -> int:
    """Set the kernel (W, W, 3, 3) of a downsampling whose first `filled` inputs have content; how many results have."""
    kept = min(4 * filled, len(weight))
    weight[:kept] = 0
    for result in range(kept):
        detail, channel = divmod(result, filled)
        weight[result, channel, :2, :2] = HAAR_2X2[detail]
    return kept
