"""Plans are counted by the executors themselves, so what they say is checked against what a run does."""

import math

import pytest
import torch
from exact_vae.vae_core import BadRequest, DoesNotFit, Half, from_weights
from exact_vae.vae_core.execution import make_request
from exact_vae.vae_core.execution.bands.flows import build_flow
from exact_vae.vae_core.execution.bands.holding import Banding, Source
from exact_vae.vae_core.execution.bands.pinned import find_page
from exact_vae.vae_core.execution.bands.stores import OnDevice
from exact_vae.vae_core.execution.plans.counting import count_work
from exact_vae.vae_core.execution.plans.fitting import choose
from exact_vae.vae_core.execution.plans.places import DEVICE, DISK, SYSTEM
from exact_vae.vae_core.execution.plans.request import IN_FLIGHT, Request
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.execution.whole import Observer
from exact_vae.vae_core.families import FAMILIES, dc_ae
from exact_vae.vae_core.families.asymmetric import AsymmetricConfig
from exact_vae.vae_core.families.blocks.ldm import Coder
from exact_vae.vae_core.families.kl import FAMILY
from exact_vae.vae_core.families.registry import build
from exact_vae.vae_core.families.vq import VQConfig
from exact_vae.vae_core.ops import Conv2d, DoublingConv, list_norms
from support.live_memory import LiveMemory
from support.random_networks import random_weights, small_kl

GIB = 2**30


def request(size: int = 64, batch: int = 1, config=FAMILY.example, dtype=torch.bfloat16) -> Request:
    ops = fuse(build("kl", config).to(dtype).decode_ops())
    return Request(ops, torch.empty(batch, 4, size, size, device="meta", dtype=dtype), 8)


@pytest.fixture(scope="module")
def large() -> Request:
    """SD's decoder at 1024 pixels."""
    return request(128)


def test_bands_need_less_than_the_whole_and_stores_still_less(large):
    whole, bands, again, disk = (
        large.whole,
        large.plan_bands(32),
        large.plan_bands(32, DEVICE, large.largest_norms),
        large.plan_bands(32, DISK),
    )
    assert whole.peak > 1.4 * bands.peak > 1.4 * again.peak > 1.4 * disk.peak
    assert disk.held > 0.7 * bands.peak and not bands.held
    # The norm before the attention runs twice in bands: once for what is remembered, once for what is recalled.
    assert whole.work < bands.work < 1.001 * whole.work and bands.work < again.work < 1.25 * bands.work


def test_lower_bands_need_less(large):
    peaks = [large.plan_bands(rows, DISK).peak for rows in (64, 32, 16, 8)]
    assert peaks == sorted(peaks, reverse=True)


def test_the_largest_are_the_second_norms_at_full_size(large):
    norms = list_norms(large.ops)
    assert len(large.largest_norms) == 3  # up.0 has three blocks
    assert len({norms[i].num_channels for i in large.largest_norms}) == 1


@pytest.mark.parametrize(
    ("budget", "mode"),
    [(8 * GIB, "whole"), (GIB, DEVICE), (0.65 * GIB, "twice"), (0.3 * GIB, DISK)],
)
def test_the_fastest_that_fits_is_chosen(large, budget, mode):
    plan = choose(large, int(budget), {DISK: 100 * GIB}, what="this")
    found = "whole" if not plan.rows else "twice" if plan.twice else plan.keep
    assert found == mode
    assert plan.peak <= budget


def test_a_batch_is_split_before_bands_are_cut():
    three = request(32, batch=5)
    plans = list(three.propose({}))
    assert [p.images for p in plans[:3]] == [5, 2, 1]
    assert plans[0].peak > 2 * plans[1].peak > 2 * plans[2].peak > 0
    assert choose(three, plans[1].peak, {}, what="this").images == 2


def test_rows_are_the_most_there_may_be(large):
    """Fewer if memory is short, whole if the image has no more."""
    places = {DISK: 100 * GIB}
    assert choose(large, 8 * GIB, places, rows=512, what="this").rows == 512
    assert 8 <= choose(large, GIB, places, rows=512, what="this").rows < 512
    assert choose(large, GIB, places, rows=20, what="this").rows == 20
    assert choose(large, 8 * GIB, places, rows=1024, what="this") == large.whole
    assert choose(large, 8 * GIB, places, rows=1024, keep=DEVICE, what="this").rows == 1024


def test_what_does_not_fit_says_by_how_much(large):
    with pytest.raises(DoesNotFit, match=r"decoding a poster needs \d+ MiB even at its smallest .*only 10 MiB"):
        choose(large, 10 * 2**20, {DISK: GIB}, what="decoding a poster")


def test_a_full_disk_is_not_planned_with(large):
    words = r"^this under 300 MiB needs \d+ MiB of disk, but only 5\.0 MiB are free there: make room"
    with pytest.raises(DoesNotFit, match=words):
        choose(large, 300 * 2**20, {DISK: 5 * 2**20}, what="this")


def test_a_plan_tells_itself(large):
    assert str(large.whole).startswith("whole; at most ")
    assert "bands of 16 rows, kept on disk" in str(large.plan_bands(16, DISK))


@torch.no_grad()
def test_work_is_counted_in_multiplications():
    with torch.device("meta"):
        conv, x = Conv2d(3, 5), torch.empty(1, 3, 8, 6)
        assert count_work(conv, conv(x)) == 5 * 8 * 6 * 3 * 9
        doubled = DoublingConv(conv)
    assert count_work(doubled, doubled(x)) == 5 * 16 * 12 * 3 * 4  # four taps of sixteen meet each pixel


def test_encoders_are_planned_too():
    config = small_kl()
    ops = fuse(build("kl", config).encode_ops())
    plan = Request(ops, torch.empty(2, 3, 64, 64, device="meta"), 1)
    assert plan.plan_bands(16).peak < plan.whole.peak


@pytest.mark.parametrize(
    "shape", [(1, 4, 0, 3), (0, 4, 2, 3), (-1, 4, 2, 3), (1, 4, 2.5, 3), (1, 4, 2), (1, 4, 1, 2, 3, 5), "abcd"], ids=str
)
def test_what_is_no_shape(shape):
    with pytest.raises(BadRequest, match=r"give \(B, C, H, W\)"):
        make_request("kl", FAMILY.example, Half.DECODER, shape, torch.float32)


def test_what_linear_attention_remembers_is_next_to_nothing():
    """Sana's decoder at 2048 pixels: a bounded number of bands, and one image held where attention is, 512 wide."""
    ops = fuse(build("dc_ae", dc_ae.FAMILY.example).to(torch.bfloat16).decode_ops())
    sana = Request(ops, torch.empty(1, 32, 64, 64, device="meta", dtype=torch.bfloat16), 32)
    held, ends = 512 * 256**2 * 2, 3 * 2048**2 * 4 + 2 * 32 * 64**2 * 2
    assert sana.plan_bands(8, DISK).held == held
    in_flight = (IN_FLIGHT * sana.plan_bands(8).numbers + sana.carried) * 2
    stacked = 3 * 1024**2 * 2  # weights of queries, keys and values, for a moment
    assert sana.plan_bands(8).peak == held + ends + in_flight + stacked
    assert sana.whole.peak > 15 * sana.plan_bands(8).peak
    # In bands linear attention reads what comes before it twice.
    assert sana.whole.work < sana.plan_bands(8).work < 1.03 * sana.whole.work


@pytest.mark.parametrize("width", [64, 48])
def test_pinned_memory_counts_in_pages(width):
    """Sana's decoder holds one image of 256 rows. In bands of 8 rows of the result each of its rows is one band."""
    ops = fuse(build("dc_ae", dc_ae.FAMILY.example).to(torch.bfloat16).decode_ops())
    sana = Request(ops, torch.empty(1, 32, 64, width, device="meta", dtype=torch.bfloat16), 32)
    exact, pinned = sana.plan_bands(8, DISK).held, sana.plan_bands(8, SYSTEM).held
    page = find_page(sana.plan_bands(8).numbers)
    assert exact == 256 * 512 * 4 * width * 2
    assert exact <= pinned < exact + 256 * page and pinned % page == 0


@torch.no_grad()
def test_work_of_grouped_convolutions():
    with torch.device("meta"):
        x = torch.empty(1, 96, 8, 6)
        conv, scales = Conv2d(96, 96, groups=96), dc_ae.EfficientViTBlock(32, (5,), 32, True).attn.to_qkv_multiscale
        assert count_work(conv, conv(x)) == 96 * 8 * 6 * 9
        assert scales and count_work(scales, scales(x)) == 96 * 8 * 6 * (25 + 32)


SANA = next(family.example for family in FAMILIES if family.name == "dc_ae")
TINY = next(family.example for family in FAMILIES if family.name == "tiny")


@pytest.mark.parametrize("rows", [64, 16, 8])
@pytest.mark.parametrize("part", ["encode", "decode"])
@pytest.mark.parametrize(("family", "config"), [("kl", FAMILY.example), ("tiny", TINY), ("dc_ae", SANA)])
@torch.no_grad()
def test_a_run_in_bands_holds_no_more_than_planned(family, config, part, rows):
    """Every tensor counted, with norms that hold images and without, where all layers are under way at once."""
    with torch.device("meta"):
        network = build(family, config).to(torch.bfloat16)
        if part == "encode":
            ops, x, scale = network.encode_ops(), torch.empty(1, 3, 512, 512, dtype=torch.bfloat16), 1
        else:
            ratio = config.spatial_ratio
            shape = (1, config.z_channels, 512 // ratio, 512 // ratio)
            ops, x, scale = network.decode_ops(), torch.empty(shape, dtype=torch.bfloat16), ratio
        wanted = Request(fuse(ops), x, scale)
        plan, alive = wanted.plan_bands(rows), LiveMemory(meta=True)
        banding = Banding(plan.numbers, OnDevice())
        with alive:
            for _ in build_flow(wanted.ops, Source(x, banding), banding, Observer()).read(last=True):
                pass
    ends = x.nbytes + math.prod(wanted.shape) * 4
    assert 0.3 * (plan.peak - ends) < alive.most < plan.peak - ends


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.name != "pixel"], ids=lambda f: f.name)
@pytest.mark.parametrize("part", ["encode", "decode"])
def test_every_family_is_planned(family, part):
    """A published member of each, at 512 pixels: bands need less, and give an image of the same shape.

    Weights that are made for the run are there either way.
    """
    config = family.example
    size = config.image_size or 512
    side = size // config.spatial_ratio
    shape = (1, 3, size, size) if part == "encode" else (1, config.latent_channels, side, side)
    found = make_request(family.name, config, Half.of(part), shape, torch.bfloat16)
    if (
        not found.bands_first
    ):  # it sees its image, or a tile, at once: bands are no way to less, so not the first either
        assert next(found.propose((), on_cpu=True)).rows == 0
    else:
        assert found.plan_bands(16).peak - found.weights.meanwhile < 0.85 * (found.whole.peak - found.weights.meanwhile)
    assert found.bands_first == (not config.image_size and (family.name, part) != ("minimax_h3", "decode"))
    decoded = getattr(config, "decoded_ratio", config.spatial_ratio) * side
    assert found.shape[-2:] == ((side, side) if part == "encode" else (decoded, decoded))


@pytest.mark.parametrize("rows", [8, 32])
@pytest.mark.parametrize("masked", [False, True], ids=["MoVQ", "a masked decode"])
@torch.no_grad()
def test_a_run_with_besides_keeps_to_its_plan(masked, rows):
    """Bands of a second image are alive beside those of the first."""
    coder = Coder((32, 64, 64), (1, 1, 1), (False,) * 3, mid_attention=False, stem=32)
    family, config = "vq", VQConfig(4, 4, 10, coder, coder, spatial=True)
    if masked:
        family, config = "asymmetric", AsymmetricConfig(**vars(small_kl(encoder=None, quant_conv=False, decoder=coder)))
    vae = from_weights(random_weights(family, config))
    z, image, mask = torch.randn(1, 4, 32, 32), torch.rand(1, 3, 128, 128), torch.rand(1, 1, 128, 128)
    given = {"image": image, "mask": mask} if masked else {}
    plan = vae.plan("decode", z.shape, masked=masked, rows=rows, keep="device")
    vae.decode(z, rows=rows, keep="device", **given)  # so that what is made once is there
    with LiveMemory() as alive:
        vae.decode(z, rows=rows, keep="device", **given)
    assert 0.4 * plan.peak < alive.most <= plan.peak  # the rest is for gaps in the heap
