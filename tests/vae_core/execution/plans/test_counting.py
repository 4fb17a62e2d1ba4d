"""What is counted of a run, on tensors without numbers."""

import pytest
import torch
from exact_vae.vae_core.execution import whole
from exact_vae.vae_core.execution.plans import choose, request
from exact_vae.vae_core.execution.plans.choose import make_request
from exact_vae.vae_core.execution.plans.counting import count_whole
from exact_vae.vae_core.execution.plans.plan import Plan
from exact_vae.vae_core.execution.plans.shapes import ShapesOnly
from exact_vae.vae_core.execution.rewrite.fuse import fuse
from exact_vae.vae_core.families import Half
from exact_vae.vae_core.families.registry import build
from exact_vae.vae_core.ops import Conv2d, Residual, SideInput, as_single_frame, has_side_inputs, plus
from support.live_memory import LiveMemory
from support.random_networks import small_kl
from support.slow import mark_slow
from support.small_networks import SMALL, small

VARIANTS = [name for name in SMALL if ":" in name]  # other files of a family that is there
LIKE_OTHERS = ("effnet", "allegro", "cogvideox", "mochi", "easyanimate", "cosmos")  # they call no other functions


@torch.no_grad()
def test_peak_of_a_chain():
    """A convolution holds what it reads and what it makes; a residual also holds the image it adds."""
    with torch.device("meta"):
        x, wide, back = torch.empty(1, 4, 8, 8), Conv2d(4, 16), Conv2d(16, 4)
    assert count_whole((wide, back), x).peak == x.nbytes + 4 * x.nbytes
    assert count_whole((Residual((wide, back)),), x).peak == 2 * x.nbytes + 4 * x.nbytes
    assert count_whole((wide,), x).shape == (1, 16, 8, 8)
    side_input = SideInput((wide,), plus)  # what it is joined to, what it reads, what it makes
    assert count_whole((wide, side_input), x).peak == 4 * x.nbytes + x.nbytes + 4 * x.nbytes
    assert count_whole((wide, side_input), x).shape == (1, 16, 8, 8)


@torch.no_grad()
def test_peak_of_a_decoder_is_at_the_highest_resolution():
    """Two activations of the widest kind at full size, what is read and what is made, and the narrower of the skip."""
    network = build("kl", small_kl())
    z = torch.empty(1, 4, 16, 16, device="meta")
    widest = 64 * 64 * 64 * 4
    assert 2 * widest <= count_whole(network.decode_ops(), z).peak <= 3 * widest


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("name", mark_slow([name for name in SMALL if name != "pixel"], VARIANTS))  # it has no ops
@torch.no_grad()
def test_the_peak_is_what_a_run_holds(name, half):
    """Each tensor counted, those that ops make on their way too. Statistics and the like are a few numbers more."""
    family, config = SMALL[name]
    if half.noun not in config.parts:
        pytest.skip("has no such half")
    vae, alive = small(name, torch.float32), LiveMemory()
    frames = (5 if half is Half.ENCODER else 3,) if vae.clip_law else ()
    size = (32, 48) if half is Half.DECODER else (16 * config.spatial_ratio, 24 * config.spatial_ratio)
    channels = config.latent_channels if half is Half.DECODER else config.in_channels
    wanted = make_request(family, config, half, (1, channels, *frames, *size), torch.float32)
    ops = vae.network.encode_ops() if half is Half.ENCODER else vae.network.decode_ops()
    ops = fuse(ops if frames else as_single_frame(ops))
    whole.run(ops, torch.zeros(wanted.x.shape), in_place=True)  # lays out weights
    alive.known |= {weight.untyped_storage()._cdata for weight in vae.network.parameters()}  # seen through views
    with alive:
        at = [torch.empty(wanted.x.shape).contiguous(memory_format=torch.channels_last)]
        side_input = at[0] if has_side_inputs(ops) else None
        whole.run_ops(ops, at, whole.RunContext(whole.Observer(), side_input, None, True))
    assert 0.75 * wanted._whole_run.peak <= alive.most <= 1.02 * wanted._whole_run.peak


def count(family, config, half, frames, dtype):
    """Everything that plans know of a request: all plans on a CPU and on another device."""
    size = (16, 24) if half is Half.DECODER else (16 * config.spatial_ratio, 24 * config.spatial_ratio)
    shape = (2, 3, *frames, *size)
    request = choose._make_request.__wrapped__(family, config, half, shape, dtype, False, False, ())
    counted = vars(request._count(())) | {"norm_sizes": sorted(request._count(()).norm_sizes.values())}
    plans = [list(request.propose(("disk",), on_cpu=on_cpu)) for on_cpu in (True, False)]
    return plans, {name: value for name, value in counted.items() if isinstance(value, (int, float, list))}


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("name", mark_slow(SMALL, (*VARIANTS, *LIKE_OTHERS)))
def test_shapes_only_changes_no_count(name, half, monkeypatch):
    """The plans are those that torch's own meta kernels give."""
    family, config = SMALL[name]
    if half.noun not in config.parts:
        pytest.skip("has no such half")
    frames = (5,) if config.temporal_ratio else ()
    dtype = torch.bfloat16
    monkeypatch.setattr(request, "COUNTED_ROWS", 64)  # torch's own kernels take long
    quick = count(family, config, half, frames, dtype)
    monkeypatch.setattr(ShapesOnly, "make", lambda self, name, func, args, kwargs: func(*args, **kwargs))
    assert quick == count(family, config, half, frames, dtype)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, row: x + row,
        lambda x, row: row * x,
        lambda x, row: 1 / x,
        lambda x, row: x.double() - row,
        lambda x, row: x.mean(-1, keepdim=True),
        lambda x, row: torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32),
        lambda x, row: torch.mul(x, row, out=x),
        lambda x, row: torch.nn.functional.silu(x, inplace=True),
        lambda x, row: torch.nn.functional.group_norm(x, 2),
        lambda x, row: torch.cat([x, x, x], -2),
        lambda x, row: torch.zeros_like(x),
        lambda x, row: x.add_(row),
        lambda x, row: torch.conv2d(x, torch.ones(6, 2, 3, 2, dtype=x.dtype, device="meta"), None, 2, (1, 2), 1, 2),
        lambda x, row: x.sum(),
        lambda x, row: x.sum(-1),
        lambda x, row: x.mean(dim=1),
        lambda x, row: x.mean((1, 2), True),
        lambda x, row: x.sum(-1, True),
        lambda x, row: torch.linalg.vector_norm(x, 1),
        lambda x, row: torch.add(x, row, alpha=0.5),
        lambda x, row: torch.stack((x, x), -1),
        lambda x, row: torch.stack((x, x), 1),
        lambda x, row: torch.nn.functional.linear(x, torch.ones(7, 5, dtype=x.dtype, device="meta")),
        lambda x, row: torch.nn.functional.scaled_dot_product_attention(x, x[..., :2, :], x[..., :2, :]),
        lambda x, row: torch.nn.functional.gelu(x, approximate="tanh"),
        lambda x, row: torch.nn.functional.normalize(x, dim=1),
        lambda x, row: x.clamp(-1, 1),
        lambda x, row: -x,
        lambda x, row: x**2,
        lambda x, row: x.sqrt().tril(1),
    ],
)
def test_shapes_only_gives_what_torch_gives(compute):
    """In shape, dtype, and in whether it is a new tensor."""
    x, row = torch.ones(2, 4, 3, 5, dtype=torch.bfloat16, device="meta"), torch.ones(5, device="meta").bfloat16()
    want = compute(x, row)
    with ShapesOnly():
        found = compute(x, row)
    assert (found.shape, found.dtype, found is x) == (want.shape, want.dtype, want is x)


@pytest.mark.parametrize("kind", ["wan", "mochi", "ltx_video: 2"])
def test_counts_do_not_depend_on_their_order(kind):
    """What ops know of earlier frames is brought up to date by a run, and attention's memory grows: not by a count."""
    family, config = SMALL[kind]
    half = Half.ENCODER if kind == "mochi" else Half.DECODER
    channels = config.in_channels if half is Half.ENCODER else config.latent_channels
    ways = (lambda part: part.plan_whole(), lambda part: part.plan_bands(16), lambda part: part.plan_bands(8))

    def count_in_order(order: list[int]) -> dict[int, Plan]:
        wanted = choose._make_request.__wrapped__(
            family, config, half, (1, channels, 25, 48, 48), torch.float32, False, False, ()
        )
        (part,) = wanted._parts((1,))
        known = part.past.row_bytes, part.past.memory_bytes
        plans = {way: ways[way](part) for way in order}
        assert (part.past.row_bytes, part.past.memory_bytes) == known
        return plans

    assert count_in_order([0, 1, 2]) == count_in_order([2, 1, 0]) == count_in_order([1, 2, 0, 1])
