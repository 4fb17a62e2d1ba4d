"""The families this library runs, one file each. For every file at most one of them answers, so order is free."""

from . import (
    asymmetric,
    dc_ae,
    effnet,
    hunyuan_image,
    hunyuan_image_3,
    hunyuan_video,
    hunyuan_video_15,
    kl,
    paella,
    pixel,
    svd,
    tiny,
    tiny_video,
    vq,
    wan,
)
from .base import Config, Facts, Family, Network, Shapes

__all__ = ["FAMILIES", "Config", "Facts", "Family", "Network", "Shapes"]

FAMILIES: tuple[Family, ...] = (
    kl.FAMILY,
    asymmetric.FAMILY,
    svd.FAMILY,
    vq.FAMILY,
    hunyuan_image.FAMILY,
    dc_ae.FAMILY,
    wan.FAMILY,
    hunyuan_video.FAMILY,
    hunyuan_video_15.FAMILY,
    hunyuan_image_3.FAMILY,
    tiny.FAMILY,
    paella.FAMILY,
    effnet.FAMILY,
    tiny_video.FAMILY,
    pixel.FAMILY,
)
