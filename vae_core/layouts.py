"""The names tensors have in files, mapped to the one set of names each family uses.

A *prefix* is what a full checkpoint puts before the VAE's names. A *layout* is a way of naming the same tensors:

    ldm                 CompVis, and Black Forest Labs (who keep FLUX.2's quant convs inside the halves)
    diffusers           up_blocks counted from the lowest resolution, attention as Linear
                        (DC-AE: blocks numbered within up_blocks, which are counted from the highest)
                        (HunyuanImage: blocks and resampling numbered in one row, in the order they run)
    diffusers-legacy    the same, attention called query, key, value, proj_attn
    original            its authors' names: DC-AE's stages, op_list, context_module; Wan's downsamples and upsamples;
                        Stable Cascade's `codebook` and `previewer`
    module              taesd.py's own module: encoder.N, decoder.N
    taesd               the same halves in one file as taesd_encoder.N, taesd_decoder.N, perhaps with their scale
    pixel               the one mark of a pixel-space codec
    encoder, decoder    one half, its names bare

Only names and shapes are looked at, never a tensor, a dtype or a file name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from . import layouts_wan
from .families.base import Shapes, count
from .renaming import renamed, rules

PREFIXES = ("", "first_stage_model.", "vae.", "model.", "first_stage.", "autoencoder.", "module.", "_orig_mod.")

# What a file may hold beside the network, and nothing reads: losses and averages of training, counters of batch norms,
# projections of a diffusion step, and what a diffusion model does to latents, which are raw here. Any other surplus
# tensor is refused.
LEFTOVERS = re.compile(
    r"(loss|model_ema|discriminator|perceptual_loss)\.|(logvar|global_step)$"
    r"|(scale_factor|scaling_factor|shift_factor|latents_mean|latents_std)$"
    r"|(.+\.)?num_batches_tracked$|(encoder|decoder)\.mid\.block_\d\.temb_proj\."
)
OUTSIDE = ("bn.", "quant_conv.", "post_quant_conv.", "quantize.")  # what is not inside either half


LINEAR = re.compile(r"\.(q|k|v|proj_out|to_q|to_k|to_v|to_out)\.weight$")

Rename = Callable[[Shapes], dict[str, str]]  # the file's names (without prefix) -> reference names


class Naming(NamedTuple):
    """One reading of a file: `names` leads from reference names to the file's, `shapes` is under reference names."""

    prefix: str
    layout: str
    shapes: dict[str, tuple[int, ...]]
    names: dict[str, str]


def namings(shapes: Shapes) -> Iterator[Naming]:
    """Every reading of these names: each prefix that occurs, in each layout whose marks are there."""
    for prefix in PREFIXES:
        own = strip(shapes, prefix)
        for layout, rename in _readings(own):
            yield naming(prefix, layout, own, rename)


def guesses(shapes: Shapes) -> Iterator[Naming]:
    """Every reading, marks or not: for saying what an unknown file comes nearest to."""
    for prefix in PREFIXES:
        if own := strip(shapes, prefix):
            for layout, rename in RENAMES.items():
                yield naming(prefix, layout, own, rename)


def strip(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The tensors under the prefix, less leftovers, without the prefix."""
    own = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return {name: shape for name, shape in own.items() if not LEFTOVERS.match(name)}


def naming(prefix: str, layout: str, own: Shapes, rename: Rename) -> Naming:
    renamed, one_frame = rename(own), _is_one_frame(own)
    return Naming(
        prefix=prefix,
        layout=layout,
        shapes={new: layouts_wan.over_frames(new, _as_conv(new, own[old], one_frame)) for old, new in renamed.items()},
        names={new: prefix + old for old, new in renamed.items()},
    )


def _as_conv(name: str, shape: tuple[int, ...], one_frame: bool) -> tuple[int, ...]:
    """The shape of a convolution of pictures.

    Attention's 1x1 convolutions are stored as Linear by diffusers, (C, C) is (C, C, 1, 1), and over one frame in
    networks of clips: (C, C, 1, 1, 1). HunyuanImage's first file holds no others: (C, C, 1, 3, 3).
    """
    if len(shape) == 5 and shape[2] == 1 and (one_frame or LINEAR.search(name)):
        return (*shape[:2], *shape[3:])
    return (*shape, 1, 1) if len(shape) == 2 and LINEAR.search(name) else shape


def _is_one_frame(own: Shapes) -> bool:
    """Are the 3x3 convolutions of an LDM-named file over one frame? In a network of clips they are over three."""
    own = {name: shape for name, shape in own.items() if re.search(r"\.block\.\d+\.conv[12]\.weight$", name)}
    return sum(len(shape) == 5 and shape[2] == 1 for shape in own.values()) * 2 > len(own)


def _readings(own: Shapes) -> Iterator[tuple[str, Rename]]:
    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in own)

    if has("encoder.down.", "decoder.up."):
        yield "ldm", _ldm
    if has("encoder.down_blocks.", "decoder.up_blocks."):
        legacy = any(".query." in name or ".proj_attn." in name for name in own)
        flat = any(re.match(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.(?:norm|conv)\d\.", name) for name in own)
        rename = _flat_diffusers if flat else _straight_diffusers if _is_hunyuan_3d(own) else _diffusers
        yield ("diffusers-legacy" if legacy else "diffusers"), rename
    if layouts_wan.is_diffusers(own):
        yield "diffusers", layouts_wan.from_diffusers
    if has("encoder.downsamples.", "decoder.upsamples."):
        yield "original", _same
    if any(NUMBERED_TWICE.match(name) for name in own):
        yield "diffusers", _same
    if has("encoder.stages.", "decoder.stages."):
        yield "original", _efficientvit
    if has("taesd_encoder.", "taesd_decoder."):
        yield "taesd", _taesd
    if has("encoder.layers.", "decoder.layers."):
        yield "diffusers", _tiny_diffusers
    if has("encoder.0.", "decoder.1."):
        yield "module", _same
    if has("in_block.1.", "down_blocks.0.gammas", "vquantizer."):
        yield ("diffusers" if has("vquantizer.embedding.") else "original"), _cascade
    if has("encoder.backbone.", "previewer.", "decoder.blocks."):
        yield "original", _cascade
    if "pixel_space_vae" in own:
        yield "pixel", _same
    if own and not has("encoder.", "decoder."):
        yield from _bare_halves(own)


def _bare_halves(own: Shapes) -> Iterator[tuple[str, Rename]]:
    """A half without its own name. Layer 0 of a tiny encoder has weights; in a tiny decoder it is the clamp."""
    tops = {name.partition(".")[0] for name in own}
    for half, level, other in (("encoder", "down", "up"), ("decoder", "up", "down")):
        if level in tops and other not in tops:
            yield half, _half(half, _ldm)
        if f"{level}_blocks" in tops and f"{other}_blocks" not in tops:  # a U-Net has both
            yield half, _half(half, _diffusers)
            yield half, _half(half, _same)
    if "stages" in tops and "project_in" in tops:  # the two halves' names are alike: what fits better counts
        yield "encoder", _half("encoder", _efficientvit)
        yield "decoder", _half("decoder", _efficientvit)
    if "backbone" in tops:
        yield "encoder", _half("encoder", _same)
    if "blocks" in tops:
        yield "decoder", _half("decoder", _same)
    if tops == {"layers"}:
        half = "encoder" if any(name.startswith("layers.1.") for name in own) else "decoder"
        yield half, _half(half, _tiny_diffusers)
    if all(top.isdecimal() for top in tops):
        half = "encoder" if "0" in tops else "decoder"
        yield half, _half(half, _same)


def _half(half: str, rename: Rename) -> Rename:
    """A bare half is named as in the whole, with `encoder.` or `decoder.` left out where the whole has it."""

    def renamed(own: Shapes) -> dict[str, str]:
        named = {name: name if name.startswith(OUTSIDE) else f"{half}.{name}" for name in own}
        reference = rename({named[name]: shape for name, shape in own.items()})
        return {name: reference[named[name]] for name in own}

    return renamed


def _same(own: Shapes) -> dict[str, str]:
    return {name: name for name in own}


def _ldm(own: Shapes) -> dict[str, str]:
    """CompVis names are the reference; Black Forest Labs keeps the quant convs inside the halves."""
    return {name: re.sub(r"^(?:encoder|decoder)\.((?:post_)?quant_conv\.)", r"\1", name) for name in own}


def _taesd(own: Shapes) -> dict[str, str]:
    return {name: name.removeprefix("taesd_") for name in own}


def _tiny_diffusers(own: Shapes) -> dict[str, str]:
    """diffusers does not count the decoder's clamp, so its layers are one behind."""

    def number(match: re.Match) -> str:
        return f"{match[1]}.{int(match[2]) + (match[1] == 'decoder')}."

    return {name: re.sub(r"^(encoder|decoder)\.layers\.(\d+)\.", number, name) for name in own}


def _diffusers(own: Shapes) -> dict[str, str]:
    top = count(own, "decoder.up_blocks.") - 1

    def turn(match: re.Match) -> str:
        return f"decoder.up.{top - int(match[1])}."  # diffusers counts from the lowest resolution

    ldm = _ldm(own)
    return {name: re.sub(r"^decoder\.up_blocks\.(\d+)\.", turn, renamed(ldm[name], _DIFFUSERS)) for name in own}


def _is_hunyuan_3d(own: Shapes) -> bool:
    """RMS norms, and convolutions wrapped for causality."""
    return any(name.endswith(".norm1.gamma") for name in own) and any(name.endswith(".conv1.conv.bias") for name in own)


def _straight_diffusers(own: Shapes) -> dict[str, str]:
    """The reference too counts from the lowest resolution (HunyuanVideo 1.5)."""
    return {name: re.sub(r"^decoder\.up_blocks\.", "decoder.up.", renamed(name, _DIFFUSERS)) for name in own}


def _flat_diffusers(own: Shapes) -> dict[str, str]:
    """Blocks and resampling numbered in one row: what follows a resampling is the next level."""
    places: dict[str, str] = {}
    for row, side, resampling in (("encoder.down_blocks.", "encoder.down.", "downsample."),
                                  ("decoder.up_blocks.", "decoder.up.", "upsample.")):  # fmt: skip
        level = block = 0
        for i in range(count(own, row)):
            if f"{row}{i}.conv.weight" in own or f"{row}{i}.conv.bias" in own:
                places[f"{row}{i}."] = f"{side}{level}.{resampling}"
                level, block = level + 1, 0
            else:
                places[f"{row}{i}."] = f"{side}{level}.block.{block}."
                block += 1

    def place(match: re.Match[str]) -> str:
        return places.get(match[0], match[0])

    return {
        name: renamed(re.sub(r"^(?:encoder\.down|decoder\.up)_blocks\.\d+\.", place, name), _DIFFUSERS) for name in own
    }


def _cascade(own: Shapes) -> dict[str, str]:
    """diffusers' names of stage A are the reference; stage C's decoder is called so."""
    renamed = {name: re.sub(r"^previewer\.", "decoder.", name) for name in own}
    return {old: re.sub(r"^vquantizer\.codebook\.", "vquantizer.embedding.", new) for old, new in renamed.items()}


NUMBERED_TWICE = re.compile(r"(?:encoder\.down|decoder\.up)_blocks\.\d+\.\d+\.")


def _efficientvit(own: Shapes) -> dict[str, str]:
    """diffusers' names of DC-AE are the reference."""
    return {name: renamed(name, _EFFICIENTVIT) for name in own}


_EFFICIENTVIT = rules(
    (r"^encoder\.project_in\.conv\.", "encoder.conv_in."),
    (r"^encoder\.project_out\.(?:main\.)?op_list\.0\.conv\.", "encoder.conv_out."),
    (r"^decoder\.project_in\.(?:main\.)?conv\.", "decoder.conv_in."),
    (r"^decoder\.project_out\.op_list\.0\.", "decoder.norm_out."),
    (r"^decoder\.project_out\.op_list\.2\.conv\.", "decoder.conv_out."),
    (r"^encoder\.stages\.(\d+)\.op_list\.", r"encoder.down_blocks.\1."),
    (r"^decoder\.stages\.(\d+)\.op_list\.", r"decoder.up_blocks.\1."),
    (r"\.context_module\.main\.", ".attn."),
    (r"\.local_module\.main\.", ".conv_out."),
    (r"\.main\.", "."),
    (r"\.aggreg\.(\d+)\.0\.", r".to_qkv_multiscale.\1.proj_in."),
    (r"\.aggreg\.(\d+)\.1\.", r".to_qkv_multiscale.\1.proj_out."),
    (r"\.proj\.norm\.", ".norm_out."),
    (r"\.proj\.conv\.", ".to_out."),
    (r"\.(inverted|depth|point)_conv\.conv\.", r".conv_\1."),
    (r"\.(?:point_conv|conv2)\.norm\.", ".norm."),
    (r"_blocks\.(.+\.(?:qkv|conv[12]?))\.conv\.", r"_blocks.\1."),
)

_ATTN = r"(\.attn(?:_1|\.\d+))\."
_DIFFUSERS = rules(
    (r"^encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.condition_encoder\.", "decoder.encoder."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.resnets\.(\d+)\.", r".block.\1."),
    (r"\.attentions\.(\d+)\.", r".attn.\1."),
    (r"\.downsamplers\.0\.conv\.", ".downsample.conv."),
    (r"\.upsamplers\.0\.conv\.", ".upsample.conv."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.spatial_res_block\.", "."),
    (r"\.temporal_res_block\.norm1\.", ".time_stack.in_layers.0."),
    (r"\.temporal_res_block\.conv1\.", ".time_stack.in_layers.2."),
    (r"\.temporal_res_block\.norm2\.", ".time_stack.out_layers.0."),
    (r"\.temporal_res_block\.conv2\.", ".time_stack.out_layers.3."),
    (r"\.time_mixer\.mix_factor$", ".mix_factor"),
    (r"^decoder\.time_conv_out\.", "decoder.conv_out.time_mix_conv."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (_ATTN + r"(?:group|spatial)_norm\.", r"\1.norm."),
    (_ATTN + r"(?:to_q|query)\.", r"\1.q."),
    (_ATTN + r"(?:to_k|key)\.", r"\1.k."),
    (_ATTN + r"(?:to_v|value)\.", r"\1.v."),
    (_ATTN + r"(?:to_out\.0|proj_attn|proj)\.", r"\1.proj_out."),
)


RENAMES: Mapping[str, Rename] = {
    "ldm": _ldm,
    "diffusers": _diffusers,
    "original": _efficientvit,
    "diffusers (numbered twice)": _same,
    "diffusers (HunyuanVideo 1.5)": _straight_diffusers,
    "diffusers (Wan)": layouts_wan.from_diffusers,
    "taesd": _taesd,
    "diffusers (tiny)": _tiny_diffusers,
    "original (Stable Cascade)": _cascade,
    "encoder": _half("encoder", _ldm),
    "decoder": _half("decoder", _ldm),
}
