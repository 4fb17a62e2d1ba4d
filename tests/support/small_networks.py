"""A small network of every family, several where it has ops that others of its files do not run: fast in float64."""

import torch
from exact_vae.vae_core import VAE, from_weights
from exact_vae.vae_core.devices.dtypes import at_least_fp32
from exact_vae.vae_core.execution import clips, whole
from exact_vae.vae_core.execution.plans.places import DEVICE
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.run import run
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import (
    FAMILIES,
    ClipLaw,
    Config,
    allegro,
    asymmetric,
    cogvideox,
    consistency,
    cosmos,
    dc_ae,
    easyanimate,
    effnet,
    hunyuan_image,
    hunyuan_video,
    hunyuan_video_15,
    kandinsky6,
    kvae,
    kvae_video,
    llamagen,
    ltx_diffusion,
    ltx_video,
    mage,
    minimax_h3,
    mochi,
    paella,
    pixel,
    rae,
    seedvr2,
    svd,
    taesdv,
    tiny,
    tiny_video,
    vidtok,
    vq,
    wan,
)
from exact_vae.vae_core.families.blocks import ldm
from exact_vae.vae_core.families.blocks.unet import UNetConfig
from exact_vae.vae_core.ops import as_single_frame

from support.random_networks import random_weights, small_kl

ONE_EACH, TWO = ldm.Coder((32, 64), (1, 1), (False, True), stem=32), ldm.Coder((32, 64), (2, 1), (False,) * 2)
TRADED = (32, 32, 64)
PLAIN_DC = dc_ae.Coder((32, 32, 64), (1, 1, 1), (False, True, True), (False,) * 3, (5,), shuffled=False, joined=False)
SHUFFLED, BATCH_NORMED = (
    dc_ae.Coder((0, 32, 64), (0, 1, 1), (False, False, True), (False, norm, False), (), True, joined=True)
    for norm in (False, True)
)


def _wan(residual: bool, **more) -> wan.WanConfig:
    """The decoder doubles frames at other resolutions than the encoder halves them, as the published ones do."""
    down = (wan.Level(8, 1, True), wan.Level(16, 1, True, True), wan.Level(16, 1, True, True), wan.Level(16, 1, False))
    up = (wan.Level(32, 1, True, True), wan.Level(32, 1, True, True), wan.Level(16, 1, True), wan.Level(16, 1, False))
    return wan.WanConfig(4, down, up, residual=residual, **more)


def _tiny_coder(widths: tuple[int, ...], steps: tuple[int, ...], **kind) -> tiny_video.Coder:
    levels = (tiny_video.Level(width, 1, step) for width, step in zip(widths, steps, strict=True))
    return tiny_video.Coder(tuple(levels), 8, **kind)


def _tiny_video(z: int, up: tuple[int, ...], superior: bool = False, **more) -> tiny_video.TinyVideoConfig:
    down, up_coder = _tiny_coder((8, 8, 8), (2, 2, 1)), _tiny_coder(up, (1, 2, 2), superior=superior)
    return tiny_video.TinyVideoConfig(z, down, up_coder, **more)


_TRADING = hunyuan_video_15.TradingConfig(
    4,
    ldm.Coder(TRADED, (1,) * 3, (False,) * 3, stem=32),
    ldm.Coder(TRADED[::-1], (1,) * 3, (False,) * 3),
    encoder_in_time=(False, True),
    decoder_in_time=(True, False),
)
_LTX = ltx_video.Blocks, ltx_video.Widening, ltx_video.Change


def _ltx(*changes: ltx_video.Change, encoder: ltx_video.Row | None = None, **more) -> ltx_video.LTXConfig:
    """The decoder's blocks around these changes; the encoder's halve pixels first, and then frames."""
    blocks, _, change = _LTX
    down = (blocks(8, 1), change(16, True, False), blocks(16, 1), change(16, False, True), blocks(16, 1))
    up = (blocks(16, 1, bool(more)), *(block for one in changes for block in (one, blocks(one.width, 1))))
    return ltx_video.LTXConfig(4, encoder or down, up, **more)


def _ltx_first() -> ltx_video.LTXConfig:
    """0.9.0's: strided convolutions, and blocks to another width."""
    blocks, widening, change = _LTX
    down = (blocks(8, 1), change(8, True, True, strided=True), widening(12), blocks(12, 1))
    return ltx_video.LTXConfig(4, down, (blocks(12, 1), widening(8), change(8, True, True), blocks(8, 1)))


def _ltx_diffusion() -> ltx_diffusion.LTXDiffusionConfig:
    """Pixels are doubled once, frames three times."""
    blocks, _, change = _LTX
    ways = ((False, True), (True, False), (False, True), (False, True))
    down, up = [blocks(8, 1)], [blocks(64, 1)]
    for way in ways:
        down += [change(16, *way), blocks(16, 1)]
        up += [change(64, *way), blocks(64, 1)]
    return ltx_diffusion.LTXDiffusionConfig(4, tuple(down), tuple(up), time=16)


def _rae(kind: str, patch: int, **more) -> rae.RAEConfig:
    """Of images of 32 x 32 pixels, in two heads."""
    decoder = rae.Decoder(128, layers=1, hidden=32, heads=2, positions=False)
    statistics = {"mean": (128, 2, 2), "std": (128, 2, 2)}
    return rae.RAEConfig(128, rae.Encoder(kind, 1, 48, patch, positions=3), decoder, 2, **{**statistics, **more})


def _vidtok(**more) -> vidtok.VidTokConfig:
    """Of two doublings of frames, the second at the resolution of images."""
    kept, both = (False, False), (True, True)
    down = vidtok.Coder((8, 12, 16), (1, 1, 1), (both, both, kept), stem=8)
    up = vidtok.Coder((8, 12, 16), (1, 1, 2), (kept, both, both))
    return vidtok.VidTokConfig(4, down, up, **more)


SMALL: dict[str, tuple[str, Config]] = {
    "kl": ("kl", small_kl(encoder=ONE_EACH, decoder=TWO)),
    "kl: FLUX.2": ("kl", small_kl(encoder=ONE_EACH, decoder=TWO, z_channels=4, embed_dim=4, patch=2)),
    "asymmetric": ("asymmetric", asymmetric.AsymmetricConfig(**vars(small_kl(encoder=ONE_EACH, decoder=TWO)))),
    "svd": ("svd", svd.SVDConfig(**vars(small_kl(encoder=ONE_EACH, decoder=TWO)))),
    "vq": ("vq", vq.VQConfig(4, 4, 20, ONE_EACH, TWO)),
    "vq: MoVQ": ("vq", vq.VQConfig(4, 4, 20, ONE_EACH, TWO, spatial=True)),
    "mage": ("mage", mage.MageConfig(4, 4, 48, 1, 32, 2, 32, 2, 8, 2)),
    "llamagen": (
        "llamagen",
        llamagen.LlamaGenConfig(
            4,
            3,
            20,
            ldm.Coder((32, 64), (1, 1), (False, True), stem=32),
            ldm.Coder((64, 32), (2, 1), (True, False)),
        ),
    ),
    "consistency": (
        "consistency",
        consistency.ConsistencyConfig(
            ldm.Coder((32, 32, 32, 64), (1,) * 4, (False,) * 4, stem=32), UNetConfig((32, 32, 64, 64), 1, 32, 1024)
        ),
    ),
    "rae": ("rae", _rae("dinov2", 14)),
    "rae: SigLIP2": ("rae", _rae("siglip2", 16)),
    "rae: MAE": ("rae", _rae("mae", 16)),
    "kvae": (
        "kvae",
        kvae.KVAEConfig(
            4,
            ldm.Coder((32, 64), (1, 1), (False,) * 2, mid_attention=False, stem=32),
            ldm.Coder((32, 64), (2, 1), (False,) * 2, mid_attention=False),
        ),
    ),
    "hunyuan_image": (
        "hunyuan_image",
        hunyuan_image.HunyuanImageConfig(
            4, ldm.Coder((32, 64), (1, 1), (False,) * 2, stem=32), ldm.Coder((64, 32), (2, 1), (False,) * 2)
        ),
    ),
    "dc_ae": ("dc_ae", dc_ae.DCAEConfig(4, PLAIN_DC, PLAIN_DC)),
    "dc_ae: shuffled": ("dc_ae", dc_ae.DCAEConfig(4, SHUFFLED, BATCH_NORMED)),
    "wan": ("wan", _wan(False)),
    "wan: 2.2": ("wan", _wan(True, patch=2)),
    "wan: Qwen-Image-2.1": ("wan", _wan(True, frames=1, in_channels=4, out_channels=4)),
    "wan: enlarging": ("wan", _wan(False, upscale=2)),
    "hunyuan_video": (
        "hunyuan_video",
        hunyuan_video.HunyuanVideoConfig(
            4,
            ldm.Coder(TRADED, (1,) * 3, (False,) * 3, stem=32),
            ldm.Coder(TRADED, (1,) * 3, (False,) * 3),
        ),
    ),
    "hunyuan_video_15": ("hunyuan_video_15", _TRADING),
    "hunyuan_image_3": ("hunyuan_image_3", _TRADING),
    "ltx_video": ("ltx_video", _ltx_first()),
    "ltx_video: 0.9.1": ("ltx_video", _ltx(ltx_video.Change(8, True, True), timed=True, scaled=True)),
    "ltx_video: 2": ("ltx_video", _ltx(ltx_video.Change(8, True, True))),
    "ltx_video: 2.3": ("ltx_video", _ltx(ltx_video.Change(8, False, True), ltx_video.Change(4, True, False))),
    "ltx_diffusion": ("ltx_diffusion", _ltx_diffusion()),
    "cogvideox": (
        "cogvideox",
        cogvideox.CogVideoXConfig(
            4,
            ldm.Coder((32, 32, 64), (1, 1, 1), (False,) * 3, mid_attention=False, stem=32),
            ldm.Coder((32, 32, 64), (2, 2, 2), (False,) * 3, mid_attention=False),
        ),
    ),
    "allegro": (
        "allegro",
        allegro.AllegroConfig(
            4,
            ldm.Coder((32, 32), (1, 1), (False,) * 2, stem=32),
            ldm.Coder((32, 32), (2, 1), (False,) * 2),
            encoder_in_time=(True, False),
            decoder_in_time=(False, True),
        ),
    ),
    "kvae_video": (
        "kvae_video",
        kvae_video.KVAEVideoConfig(
            4,
            ldm.Coder((32, 32, 64), (1,) * 3, (False,) * 3, mid_attention=False, stem=32),
            ldm.Coder((32, 32, 64), (2,) * 3, (False,) * 3, mid_attention=False),
            encoder_in_time=(True, False),
            decoder_in_time=(False, True),
        ),
    ),
    "kandinsky6": (
        "kandinsky6",
        kandinsky6.Kandinsky6Config(
            4,
            kandinsky6.Coder((8, 16, 16), (1,) * 3, (False, True)),
            kandinsky6.Coder((8, 16, 24), (2,) * 3, (True, False)),
        ),
    ),
    "cosmos": (
        "cosmos",
        cosmos.CosmosConfig(
            16,
            cosmos.Coder(8, (8, 16), (1, 1), ((True, True),)),
            cosmos.Coder(16, (8, 16), (2, 2), ((True, True),)),
            patch=2,
        ),
    ),
    "minimax_h3": (
        "minimax_h3",
        minimax_h3.MiniMaxH3Config(
            4,
            minimax_h3.Encoder((32, 32, 32, 64), (1, 1, 1, 1), stem=32, halvings=3),
            minimax_h3.Decoder(128, layers=2, hidden=96, register=2, patch=8),
        ),
    ),
    "easyanimate": (
        "easyanimate",
        easyanimate.EasyAnimateConfig(
            4,
            ldm.Coder((32, 32, 64), (1,) * 3, (False,) * 3, mid_attention=False, stem=32),
            ldm.Coder((32, 32, 64), (2,) * 3, (False,) * 3, mid_attention=False),
        ),
    ),
    "vidtok": ("vidtok", _vidtok()),
    "vidtok: FSQ, not causal": ("vidtok", _vidtok(version="", quantised=True)),
    "mochi": (
        "mochi",
        mochi.MochiConfig(
            4,
            mochi.Coder((32, 32, 64), (1, 1, 2, 1), (2, 3), (False, True, True, True)),
            mochi.Coder((64, 32, 32), (1, 2, 1, 1), (3, 2), (False,) * 4),
        ),
    ),
    "seedvr2": (
        "seedvr2",
        seedvr2.SeedVR2Config(
            4,
            ldm.Coder((32, 32, 64), (1,) * 3, (False,) * 3, stem=32),
            ldm.Coder((32, 32, 64), (2, 1, 1), (False,) * 3),
            encoder_in_time=(False, True),
            decoder_in_time=(False, True),
        ),
    ),
    "tiny": ("tiny", tiny.TinyConfig(4, tiny.Coder((64,) * 4, (1,) * 4), tiny.Coder((64,) * 4, (1,) * 4))),
    "tiny: TAEF2": (
        "tiny",
        tiny.TinyConfig(4, tiny.Coder((64,) * 4, (1,) * 4, pool=True), tiny.Coder((64,) * 4, (1,) * 4, pool=True)),
    ),
    "tiny: TAEQI2.1": (
        "tiny",
        tiny.TinyConfig(4, tiny.Coder((8,) * 3, (1,) * 3), tiny.Coder((8,) * 3, (1,) * 3), 4, 4, shuffle=2),
    ),
    "paella": ("paella", paella.PaellaConfig(z_channels=3, codes=20, widths=(16, 24), blocks=2)),
    "effnet": ("effnet", effnet.EffNetConfig(4, encoder=True, decoder=16)),
    "tiny_video": ("tiny_video", _tiny_video(4, (16, 8, 8))),
    "tiny_video: TAELTX": (
        "tiny_video",
        tiny_video.TinyVideoConfig(4, _tiny_coder((8,) * 3, (2,) * 3), _tiny_coder((8,) * 3, (2,) * 3), patch=2),
    ),
    "tiny_video: super": ("tiny_video", _tiny_video(4, (16, 12, 8), superior=True, patch=2)),
    "tiny_video: TAEH3": ("tiny_video", _tiny_video(24, (16, 8, 8), patch=2)),
    "tiny_video: TAEM1's steps, wide blocks": (
        "tiny_video",
        tiny_video.TinyVideoConfig(4, _tiny_coder((8, 8, 8), (3, 2, 1)), _tiny_coder((16, 12, 8), (1, 2, 3), group=4)),
    ),
    "taesdv": ("taesdv", taesdv.TaesdvConfig(4, tiny.Coder((16,) * 3, (1,) * 3), tiny.Coder((16,) * 3, (1,) * 3))),
    "pixel": ("pixel", pixel.PixelConfig()),
}
assert {family for family, _ in SMALL.values()} == {family.name for family in FAMILIES}

# Halves that see all frames of a clip at once, so they are not cut in time.
AT_ONCE = {("hunyuan_video", "encode"), ("hunyuan_video", "decode"), ("hunyuan_image_3", "encode"),
           ("hunyuan_image_3", "decode"), ("svd", "decode"), ("cogvideox", "encode"),
           ("cogvideox", "decode"), ("allegro", "encode"), ("allegro", "decode"),
           ("kvae_video", "encode"), ("kvae_video", "decode"), ("minimax_h3", "encode"),
           ("minimax_h3", "decode"), ("ltx_diffusion", "decode")}  # fmt: skip
# Families in which norms read the stream, so fp16 is made safe.
RESCALED = ("kl", "asymmetric", "svd", "vq", "llamagen", "kvae", "mage", "hunyuan_image", "wan", "hunyuan_video",
            "hunyuan_video_15", "hunyuan_image_3", "ltx_video", "mochi", "seedvr2", "cogvideox",
            "easyanimate", "cosmos", "allegro", "kvae_video", "kandinsky6", "vidtok", "minimax_h3")  # fmt: skip


def small(kind: str, dtype: torch.dtype = torch.float64) -> VAE:
    """One of them with random weights."""
    return from_weights(random_weights(*SMALL[kind], dtype), kind, dtype)


def cells_of(vae: VAE, *cells: int) -> tuple[int, ...]:
    """These rows and columns of a latent; of a VAE that knows one size of images those of that size."""
    return (vae.image_size // vae.spatial_ratio,) * 2 if vae.image_size else cells


def run_half(
    vae: VAE, part: str, x: torch.Tensor, numbers: int = 0, frames: int = 0, keep: str = DEVICE
) -> torch.Tensor:
    """What the executors make of one clip (C, T, H, W) or one image (C, H, W): moments or z, or pixels; not planned.

    numbers  in a band; 0: whole
    frames   of the latent at a time; 0: all
    """
    network = vae.network
    ops = fuse(network.encode_ops() if part == "encode" else network.decode_ops())
    if x.ndim == 3:
        shape = whole.run(as_single_frame(ops), x[None].clone()).shape[1:]
        return run(as_single_frame(ops), _channels_last(x[None]), _plan(shape, numbers, 0, keep), Observer())[0]
    law = (network.clip_law if part == "encode" else None) or ClipLaw()
    x = x.transpose(0, 1)
    shape = whole.run(ops, x.clone()).shape
    result = torch.empty(shape, dtype=at_least_fp32(x.dtype))
    clips.run(ops, x, _plan(shape, numbers, frames, keep), Observer(), law.first, law.step, result)
    return result.transpose(0, 1)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _plan(shape: torch.Size, numbers: int, frames: int, keep: str) -> Plan:
    return Plan(1, min(numbers, 1), keep, (), 0, 0, 0.0, tuple(shape), numbers, frames)
