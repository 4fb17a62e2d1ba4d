"""From files to a VAE that is ready: built without memory, weights assigned from the memory map, strictly."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..devices.dtypes import DTYPES, choose_dtype, demand_device, demand_dtype
from ..devices.numerics import pin_numerics
from ..errors import BadRequest, BrokenCheckpoint
from ..families import ZEROS, Config, Network
from ..families.blocks.ldm import GROUPS
from ..families.doubling import keep_unrounded, list_weights
from ..families.registry import build, family_named, spaces, title
from ..files.marks import FileMap, FileMark
from ..latents import spaces as latents
from ..plain import name_kind, name_need
from ..vae import VAE
from . import built_in
from .checkpoint import Checkpoint
from .detection import Detection, demand_whole, detect, space_of
from .files import BORDER, open_checkpoint
from .joining import Source, join_files, read_sources
from .latent_space_hints import whose
from .places import expand

FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
          "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}  # fmt: skip


@torch.inference_mode(False)  # its tensors could not be trained, nor be given other data, outside of it
@pin_numerics()
def load(
    *paths: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    latent_space: str | None = None,
    light: bool = False,
    border: str | None = None,
    mapped: bool = True,
    subfolder: str = "",
    download: bool = False,
) -> VAE:
    """A VAE from a file, a diffusers folder, a full checkpoint, or an encoder and a decoder in two files.

    paths           none: the built-in VAE
    dtype, device   None: what the device computes well (devices/dtypes.py), on the CPU
    latent_space    for tiny VAEs, whose weights do not say whose latents they were trained on: 'sd1', 'sdxl', 'sd3',
                    'flux1' or 'sana' makes them give and take raw latents as the other VAEs do; those of clips take
                    'wan21', 'wan22', 'hunyuan-video' or 'hunyuan-video-15'. None: what the author's file names say
                    (`latents.SPACES` has them: taesdxl, taef1_decoder, taew2_1_fp16 ...), else the network's own,
                    scaled
    light           for tiny VAEs of clips: LightX2V trained networks of the same shapes with leaky ReLUs, and pixels in
                    [-1, 1]. Nothing in a file tells but its name, lighttaehy1_5; without it, the file is read as
                    TAEHV's author does
    border          what its 3 x 3 convolutions read beyond the image: 'zeros' as nearly all VAEs, 'reflect' for those
                    trained so (some EQ VAEs), 'circular' for textures that continue at the other side, 'circular x'
                    for those that do so left and right only (a panorama), 'circular y' above and below only. None: what
                    `save` noted in the file, else zeros. Not for VAEs of clips
    mapped          leave weights that need no cast where they are, on the memory map of their file: nothing is copied,
                    and they are read when they are first used. If somebody writes into that very file, the next run is
                    refused; a program that shortens it while a run reads it ends the process. False: copy them
    subfolder       of each path: 'vae' of the folder, or the repository of Hugging Face, of a whole model
    download        a path 'owner/name' is a repository of Hugging Face, which is looked up in the cache here. True:
                    fetch what the VAE needs, if it is not there (with huggingface_hub)

    A later file replaces that half of an earlier one: `load('flux2-vae.safetensors', 'small_decoder.safetensors')`.
    RAE's decoder takes from files that are no VAE, too: `load('decoder.pt', 'stat.pt', 'dinov2-with-registers-base')`.
    Raises UnknownCheckpoint, BrokenCheckpoint, BadRequest.
    """
    places = [expand(path) / subfolder for path in paths] or [built_in.VAE_FILE]
    checkpoints = [open_checkpoint(place, download) for place in places]
    name = " + ".join(c.path.name or str(c.path) for c in checkpoints)
    found, sources = join_files(checkpoints)
    demand_whole(found, name)
    where = demand_device(device or "cpu")
    own = own_dtype(Counter(checkpoint.entries[old].dtype for checkpoint, old in sources.values()), name)
    dtype = choose_dtype(where, own, dtype, fits_fp16=family_named(found.family).rounding.fits_fp16)
    variant = Variant(found.family, found.config, read_sources(sources, family_named(found.family)))
    if not family_named(found.family).scaling:
        variant = variant._replace(latent_space=space_of(found, checkpoints[0]))
    if space := latent_space or _author_s_space(found, checkpoints):
        variant = variant.in_space(space, name)
    if light or (family_named(found.family).light and latents.is_named_light(checkpoints[0].path.name)):
        variant = variant.as_light(name)
    vae = variant.with_border(border or checkpoints[0].metadata.get(BORDER, ZEROS)).assemble(name, dtype, where)
    maps = list_maps(sources, variant.weights)
    if mapped:
        vae.mapped = tuple(one for one in maps if one.holds_any(vae.network.state_dict().values()))
    else:
        copy_mapped(vae, maps)
    return vae


def list_maps(sources: Mapping[str, Source], weights: Mapping[str, Tensor]) -> list[FileMap]:
    """The files that tensors (by reference name) come from, and where these begin in memory."""
    pointers: dict[Path, set[int]] = {}
    marks: dict[Path, FileMark] = {}
    for new, (checkpoint, old) in sources.items():
        file = checkpoint.entries[old].file
        if not checkpoint.is_mapped(old):
            continue
        marks[file] = checkpoint.marks[file]
        pointers.setdefault(file, set()).add(weights[new].data_ptr())
    return [FileMap(marks[file], frozenset(found)) for file, found in pointers.items()]


def copy_mapped(vae: VAE, maps: list[FileMap]) -> None:
    """Copy those of its tensors that lie in a file. Raises BrokenCheckpoint if a file has changed meanwhile."""
    for one in maps:
        for tensor in (*vae.network.parameters(), *vae.network.buffers()):
            if one.holds_any([tensor]):
                tensor.data = tensor.data.clone()
        one.mark.demand_same()


def _author_s_space(found: Detection, checkpoints: list[Checkpoint]) -> str | None:
    """The latent space of a tiny VAE that does not carry its scale, by the name of its file."""
    is_tiny = family_named(found.family).scaling is not None
    space = latents.find_tiny_space(checkpoints[0].path.name, found.family) if is_tiny else None
    if space is None or latents.get_space(space).channels != found.latent_channels:
        return None
    return None if "vae_scale" in found.names else space


@pin_numerics()
def from_weights(
    weights: Mapping[str, Tensor],
    name: str = "these weights",
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    found: Detection | None = None,
    border: str = ZEROS,
    norm_groups: int = GROUPS,
) -> VAE:
    """A VAE around tensors that are in memory already.

    weights         name -> tensor, in any layout of a family, each of any shape and dtype that the family has
    name            what the VAE is called in sentences
    dtype, device   None: those of the largest tensor, fp32 if it is in float8. What has both already is not copied.
    found           what `detect` says of their shapes, if that is known already
    border          see `load`
    norm_groups     see `detect`
    Raises UnknownCheckpoint, BrokenCheckpoint, and BadRequest for a dtype or a device that a VAE cannot run in.
    """
    demand_dense(weights, name)
    found = found or detect({k: tuple(t.shape) for k, t in weights.items()}, norm_groups)
    demand_whole(found, name)
    largest = max(demand_floats(weights, found, name), key=Tensor.numel)
    dtype = demand_dtype(dtype) if dtype else largest.dtype if largest.dtype in DTYPES.values() else torch.float32
    device = demand_device(device) if device else largest.device
    tensors = {new: weights[old] for new, old in found.names.items()}
    told = family_named(found.family).scaling
    space = None if told else whose(spaces(found.family, found.config), weights)
    return Variant(found.family, found.config, tensors, space).with_border(border).assemble(name, dtype, device)


def demand_dense(weights: Mapping[Any, object], name: str) -> None:
    """Raise BrokenCheckpoint for what is no dense tensor in memory, and for complex numbers, which would lose half."""
    for tensor_name, t in weights.items():
        if not isinstance(tensor_name, str):
            raise BrokenCheckpoint(f"{name} are no weights: a tensor is called {tensor_name!r:.80}, which is no text.")
        if not isinstance(t, Tensor) or name_kind(t) or t.is_complex():
            raise BrokenCheckpoint(f"{name} are no weights: '{tensor_name[:80]}' must be {name_need(t)}.")


def demand_floats(weights: Mapping[str, Tensor], found: Detection, name: str) -> list[Tensor]:
    """The tensors that were found, of any shape. Raises BrokenCheckpoint for integers: weights are quantised."""
    used = [weights[own] for own in found.names.values()]
    if odd := sorted({str(t.dtype).removeprefix("torch.") for t in used if not t.is_floating_point()}):
        raise BrokenCheckpoint(f"{name} are stored as {', '.join(odd)}: quantised VAEs are not supported.")
    return used


def own_dtype(stored: Mapping[str, int], name: str) -> torch.dtype:
    """The dtype most of the weights are stored in. Raises BrokenCheckpoint for integers: they are quantised.

    stored: how many tensors are of each dtype, in safetensors' words: {'F32': 248}
    """
    if odd := sorted(stored.keys() - FLOATS.keys()):
        raise BrokenCheckpoint(f"'{name}' stores weights as {', '.join(odd)}: quantised VAEs are not supported.")
    return FLOATS[max(sorted(stored), key=lambda dtype: stored[dtype])]


class Variant(NamedTuple):
    """A VAE before it is assembled: what it is, and its tensors by reference name, wherever they are."""

    family: str
    config: Config
    weights: Mapping[str, Tensor]
    latent_space: str | None = None

    def in_space(self, latent_space: str, name: str) -> "Variant":
        """The same tiny VAE, giving and taking the raw latents of this space. Raises BadRequest for another VAE."""
        scaling, fitting = family_named(self.family).scaling, list_spaces(self.family, self.config)
        if not scaling or latent_space not in fitting:
            known = latents.SPACES.get(latent_space)
            wrong = f"has no use for the latent space '{latent_space}' ({known.channels} channels)" if known else ""
            wrong = wrong or f"cannot take '{latent_space}': there is no latent space '{latent_space}'"
            choice = f"choose one of {', '.join(fitting)}" if fitting else "only a tiny VAE needs to be told its own"
            raise BadRequest(f"'{name}' {wrong}; it is {title(self.family, self.config)}: {choice}.")
        statistics = scaling(latents.SPACES[latent_space])
        config = replace(self.config, scaled=statistics["vae_scale"].numel())  # type: ignore[type-var]
        return Variant(self.family, config, {**self.weights, **statistics}, latent_space)

    def as_light(self, name: str) -> "Variant":
        """The same weights as a network of LightX2V's. Raises BadRequest for a VAE of another family."""
        if not family_named(self.family).light:
            kind = title(self.family, self.config)
            raise BadRequest(f"'{name}' cannot be read as LightX2V's tiny VAE of clips: it is {kind}.")
        return self._replace(config=replace(self.config, light=True))  # type: ignore[type-var]

    def with_border(self, border: str) -> "Variant":
        """The same weights with another border."""
        return self._replace(config=replace(self.config, border=border))  # type: ignore[type-var]

    def assemble(self, name: str, dtype: torch.dtype, device: torch.device) -> VAE:
        network = assemble(self.family, self.config, self.weights, dtype, device)
        return VAE(
            network,
            self.family,
            self.config,
            name=name,
            dtype=dtype,
            device=device,
            latent_space=self.latent_space,
        )


def list_spaces(family: str, config: Config) -> tuple[str, ...]:
    """The latent spaces that such a VAE can be told; none but for a tiny one."""
    return latents.find_spaces(config.latent_channels, family=family) if family_named(family).scaling else ()


@pin_numerics()
def in_space(vae: VAE, latent_space: str) -> VAE:
    """The same tiny VAE, giving and taking the raw latents of this space instead of scaled ones.

    Raises BadRequest for a VAE that is not tiny, and for a space of other channels.
    """
    return _keep_maps(vae, _of(vae).in_space(latent_space, vae.name).assemble(vae.name, vae.dtype, vae.device))


@pin_numerics()
def read_as_light(vae: VAE) -> VAE:
    """The same weights as a network of LightX2V's. Raises BadRequest for a VAE of another family."""
    return _keep_maps(vae, _of(vae).as_light(vae.name).assemble(vae.name, vae.dtype, vae.device))


def _keep_maps(vae: VAE, made: VAE) -> VAE:
    """What was made around the tensors of a VAE lies in the same files."""
    made.mapped = vae.mapped
    return made


def _of(vae: VAE) -> Variant:
    return Variant(vae.family, vae.config, list_weights(vae.network), vae.latent_space)


@torch.inference_mode(False)
def assemble(
    family: str, config: Config, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
) -> Network:
    """A network with these tensors, by reference name: cast and moved if they must be, otherwise not copied.

    Buffers are in fp32 at least, whatever the weights run in; statistics of a latent space keep all their digits.
    """
    network = build(family, config).requires_grad_(False)
    shapes = {name: t.shape for name, t in network.state_dict().items()}
    buffers = {name for name, _ in network.named_buffers()}

    def place(name: str) -> Tensor:
        known, to = weights[name], dtype
        if name in buffers:
            to = network.choose_buffer_dtype(name, known.dtype, dtype, device)
        return known.reshape(shapes[name]).to(device, to)

    network.load_state_dict(
        {name: place(name) for name in shapes},
        strict=True,
        assign=True,
    )
    given = {id(p): weights[name] for name, p in network.named_parameters() if weights[name].dtype is not dtype}
    keep_unrounded(network, given)
    return network.eval()
