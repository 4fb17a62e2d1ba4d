"""What every family offers: a config read from shapes, and a network made of ops."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...devices.dtypes import at_least_fp32
from ...latents.spaces import LatentSpace
from ...ops import Ops, chain
from ..names import Layout
from ..shapes import Shapes
from .clip_law import ClipLaw

# Values of torch's `padding_mode`, and 'circular' on one axis: x joins left and right, y joins top and bottom
BORDERS = ("zeros", "reflect", "circular", "circular x", "circular y")
ZEROS = BORDERS[0]


class Config(Protocol):
    """The facts a config states. Channels and ratio are those of the latent that diffusion models see."""

    @property
    def border(self) -> str: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def latent_channels(self) -> int: ...
    @property
    def spatial_ratio(self) -> int: ...
    @property
    def decoded_ratio(self) -> int: ...
    @property
    def temporal_ratio(self) -> int | None: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def out_channels(self) -> int: ...
    @property
    def image_size(self) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Bordered:
    """border: what convolutions read beyond the image, one of BORDERS. Only files that `save` wrote may say so."""

    border: str = ZEROS

    @property
    def image_size(self) -> int | None:
        """The side of the squares that are the only images it takes; None: images of any size."""
        return None


class Halves(Bordered):
    """The facts of most configs: an encoder and a decoder, or one of them, with one of `widths` for each resolution.

    z is the latent, and the VAE is one of images; a config of which that is not true overrides what differs.
    """

    encoder: Any
    decoder: Any
    z_channels: int

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(half for half in ("encoder", "decoder") if getattr(self, half))

    @property
    def latent_channels(self) -> int:
        return self.z_channels

    @property
    def spatial_ratio(self) -> int:
        coder = self.encoder or self.decoder
        return 2 ** (len(coder.widths) - 1)

    @property
    def decoded_ratio(self) -> int:
        return self.spatial_ratio

    @property
    def temporal_ratio(self) -> int | None:
        return None


class Facts:
    """The facts of a config, for whatever has one.

    border                           what its convolutions read beyond the image, one of BORDERS
    parts                            ('encoder', 'decoder'), or the one half there is
    latent_channels, spatial_ratio   of the latent that nodes pass on (128 and 16 for FLUX.2)
    decoded_ratio                    the same of the image it decodes to; decoders may enlarge, or only preview
    temporal_ratio                   frames of a clip to one of its latent, None for a VAE of images
    in_channels, out_channels        of the pixels it encodes, and of those it decodes to
    image_size                       the side of the squares that are the only images it takes; None: of any size
    """

    config: Config

    @property
    def border(self) -> str:
        return self.config.border

    @property
    def parts(self) -> tuple[str, ...]:
        return self.config.parts

    @property
    def latent_channels(self) -> int:
        return self.config.latent_channels

    @property
    def spatial_ratio(self) -> int:
        return self.config.spatial_ratio

    @property
    def decoded_ratio(self) -> int:
        return self.config.decoded_ratio

    @property
    def temporal_ratio(self) -> int | None:
        return self.config.temporal_ratio

    def decoded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of an image that was encoded -> what is left of it once it is decoded."""
        h, w = (-(-n * self.decoded_ratio // self.spatial_ratio) for n in size)
        return h, w

    @property
    def in_channels(self) -> int:
        return self.config.in_channels

    @property
    def out_channels(self) -> int:
        return self.config.out_channels

    @property
    def image_size(self) -> int | None:
        return self.config.image_size


class Network(nn.Module):
    """An autoencoder whose submodules bear the checkpoint's names (those of the family's reference layout).

    z is what the encoder describes and the decoder reads; the latent is z as diffusion models see it. Most
    families have nothing between the two. Ops between them run in fp32 or better, whatever the weights are.
    """

    gaussian = True  # do the encoder's ops end in moments (mean, logvar), or in z itself?
    clip_law: ClipLaw | None = None  # None: a VAE of images
    exact: frozenset[str] = frozenset()  # names of buffers that keep the digits they came with, and are cast when used

    def choose_buffer_dtype(
        self, name: str, known: torch.dtype, dtype: torch.dtype, device: torch.device
    ) -> torch.dtype:
        """Of a buffer that is in `known`, if the network is in `dtype`: fp32 at least. Apple's GPUs have no fp64."""
        keeps = name in self.exact and device.type != "mps"
        return torch.promote_types(at_least_fp32(dtype), known if keeps else torch.float32)

    def encode_ops(self) -> Ops:
        """pixels (B, C, H, W) in [-1, 1] -> moments (B, 2 * z_channels, h, w), or z if not `gaussian`"""
        raise NotImplementedError

    def to_latent_ops(self) -> Ops:
        return ()

    def from_latent_ops(self) -> Ops:
        return ()

    def decode_ops(self) -> Ops:
        """z (B, z_channels, h, w) -> pixels (B, C, H, W), about [-1, 1]"""
        raise NotImplementedError

    def masked_decode_ops(self) -> Ops:
        """The same for a run beside a masked image and its mask, (B, C + 1, H, W); () if the decoder takes none."""
        return ()


class Row(nn.ModuleList):
    """Blocks and ops, one after the other."""

    def ops(self) -> Ops:
        return chain(*self)


class Table(nn.Module):
    """One row of numbers for each index, (rows, channels), as `weight`.

    nn.Embedding draws them when it is made, and on the meta device torch loads its compiler for that: 1.4 s.
    """

    def __init__(self, rows: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, channels))


def always(config: Any) -> bool:
    return True


class Member(NamedTuple):
    """Files that are published, as the README lists them."""

    models: str
    channels: int  # of the latent
    ratio: int
    frames: int | None = None  # of a clip to one of its latent


class Rounding(NamedTuple):
    """What computing in half precision changes at most: root mean square, by the standard deviation of fp32's result.

    The weights and what goes in are rounded before, the same for both. Measured on small networks of random weights,
    all families whole and in bands, encoding and decoding: up to 0.017 in bf16, whose numbers have 8 bits, and up to
    0.0021 in fp16, whose have 11. Stated are about twice these.

    overflows: which published weights exceed fp16's largest number, 65504, and who says so; '' if no one does. What
    only norms read is run at a smaller scale in fp16 (execution/rewrite/rescale_fp16.py), so such weights may run all
    the same.

    fits_fp16: may it run in fp16 unasked, on cards without bf16? Only norms read its stream, or its authors say so.
    """

    bf16: float = 0.035
    fp16: float = 0.0045
    overflows: str = ""
    fits_fp16: bool = False


class ConfigJson(NamedTuple):
    """What diffusers' config.json of a family may say that shapes do not.

    classes    how its `_class_name` begins
    settings   the file's settings -> those that every supported member has; the file may leave them out
    """

    classes: tuple[str, ...]
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Beside(NamedTuple):
    """What a family takes from files that are no VAE but are given with one: statistics, another network's weights.

    names  shapes of such a file -> its names to the reference names; {} if there is nothing to take
    read   a name of the file and its tensor -> the tensor as the reference has it
    """

    names: Callable[[Shapes], Mapping[str, str]]
    read: Callable[[str, Tensor], Tensor]


class Family(NamedTuple):
    """One architecture: how to tell it, how files name its tensors, and how to build it.

    detect       shapes under reference names -> Config, or None if this is another network
    example      a published member: what an unknown file is compared with
    layouts      the ways files name its tensors; the first that fits best counts
    published    does a config's channel count say whose latents these are?
    config_json  what diffusers' config.json may not contradict
    scaling      of tiny VAEs, which were trained on scaled latents and must be told of which space: a space -> the
                 tensors that lead from its scaled latents to raw ones
    grouped      are its norms of as many groups as a config.json says? `detect` takes the number as `norm_groups`
    versions     of files that have the same names and shapes, but are run differently: the config's `version`, if it
                 has one; a config that has another does not know its own, and is not run
    find_version a file's path -> its version by the name, or None
    beside       what is taken from files that are given with one of it
    remark       what a config's users must know of it beside its facts
    light        may it be read as LightX2V's network of the same shapes, `light=True` in the config?
    """

    name: str
    title: str
    detect: Callable[..., Any]
    build: Callable[[Any], Network]
    example: Config
    layouts: tuple[Layout, ...]
    published: Callable[[Any], bool] = always
    members: tuple[Member, ...] = ()
    rounding: Rounding = Rounding()
    config_json: ConfigJson | None = None
    scaling: Callable[[LatentSpace], dict[str, Tensor]] | None = None
    light: bool = False
    versions: tuple[str, ...] = ()
    find_version: Callable[[Path], str | None] | None = None
    beside: Beside | None = None
    remark: Callable[[Any], str] | None = None
    grouped: bool = False

    def read(self, shapes: Shapes, norm_groups: int) -> Any:
        """What `detect` says of a file whose norms have so many groups."""
        return self.detect(shapes, norm_groups) if self.grouped else self.detect(shapes)
