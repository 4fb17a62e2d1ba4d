"""The families this library runs, one file each. For every file at most one of them answers, so order is free."""

from . import asymmetric, dc_ae, effnet, hunyuan_image, kl, paella, pixel, svd, tiny, tiny_video, vq, wan
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
    tiny.FAMILY,
    tiny_video.FAMILY,
    paella.FAMILY,
    effnet.FAMILY,
    pixel.FAMILY,
)
