"""What a run tells of its result while the rest is still to come."""

import pytest
import torch
from exact_vae.vae_core import BadRequest, Tiles
from exact_vae.vae_core.execution import Part, RunOptions, share_options
from exact_vae.vae_core.images import flatten_frames
from support.small_networks import small

WAYS = {"whole": {}, "bands": {"rows": 4}}
KINDS = ["kl", "wan", "tiny_video", "ltx_video: 2", "hunyuan_image_3", "dc_ae"]


class Assembly:
    """The result as it is told, and how often each of its numbers was."""

    def __init__(self):
        self.parts, self.made, self.times = 0, torch.empty(0), torch.empty(0)

    def __call__(self, part: Part) -> None:
        if not self.parts:
            self.made, self.times = torch.zeros(part.shape, dtype=torch.float64), torch.zeros(part.shape)
        assert part.shape == self.made.shape
        self.parts += 1
        n, _, h, w = part.pixels.shape
        place = slice(part.first, part.first + n), slice(None), slice(part.row, part.row + h)
        where = (*place, slice(part.column, part.column + w))
        self.made[where] = part.pixels
        self.times[where] += 1


def latent(vae, batch: int, frames: int = 0) -> torch.Tensor:
    shape = (batch, vae.latent_channels, *([frames] if frames else []), 6, 5)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_make_up_the_result_once(kind, way):
    """Of two images, of a clip in parts and of two; also by ops that look ahead, and for images that are clips."""
    vae = small(kind)
    inputs = [latent(vae, 2)] if vae.clip_law is None or kind == "hunyuan_image_3" else []
    inputs += [latent(vae, 2, 3)] if vae.clip_law else []
    for z in inputs:
        told = Assembly()
        result = vae.decode(z, on_part=told, **WAYS[way])
        assert (told.times == 1).all() and told.parts > (2 if way == "bands" else 0)
        made = told.made.unflatten(0, (len(z), -1))[:, -1] if kind == "hunyuan_image_3" and z.ndim == 4 else told.made
        assert torch.equal(made, flatten_frames(result))


@pytest.mark.parametrize("kind", ["kl", "wan", "tiny_video"])
def test_streams_tell_them_too(kind):
    vae, told = small(kind), Assembly()
    z = latent(vae, 3) if vae.clip_law is None else latent(vae, 1, 3)
    frames = torch.cat(list(vae.decode_frames(z, on_part=told, rows=8)), 1)
    assert (told.times == 1).all() and torch.equal(told.made, frames.transpose(0, 1))
    if vae.clip_law is None:
        told = Assembly()
        rows = torch.cat(list(vae.decode_rows(z[:1], on_part=told, rows=8)), -2)
        assert (told.times == 1).all() and torch.equal(told.made[0], rows)


def test_of_blended_tiles_each_is_told_before_it_is_blended():
    vae, told = small("kl"), Assembly()
    result = vae.decode(latent(vae, 2), on_part=told, tiles=Tiles(3 * vae.decoded_ratio, vae.decoded_ratio))
    assert told.parts > 3 and told.times.amax() > 1 and told.made.shape == result.shape
    alone = (told.times == 1).expand_as(result)
    assert alone.any() and (told.made - result)[alone].abs().max() < 1e-12


def test_runs_that_are_one_to_the_caller_tell_parts_of_one_result():
    vae, told = small("wan"), Assembly()
    clips = latent(vae, 3, 2)
    runs = share_options(RunOptions(on_part=told, rows=8), len(clips))
    made = [vae.decode(z, options=options) for z, options in zip(clips.split(1), runs, strict=True)]
    assert (told.times == 1).all() and torch.equal(told.made, flatten_frames(torch.cat(made)))


def test_what_is_raised_stops_the_run_and_nothing_is_told_of_one_with_gradients():
    vae, told = small("kl"), Assembly()

    def stop(part: Part) -> None:
        raise BadRequest("enough")

    with pytest.raises(BadRequest, match="enough"):
        vae.decode(latent(vae, 1), on_part=stop, rows=8)
    vae.decode(latent(vae, 1).requires_grad_(), on_part=told, grad=True)
    assert not told.parts


@pytest.mark.parametrize("kind", ["kl", "wan"])
@pytest.mark.parametrize("callback", ["progress", "on_part"])
def test_a_callback_that_runs_out_of_something_does_not_end_the_result(kind, callback):
    """Bands are iterated over: a StopIteration would be taken for their end, and memory as it was for an image."""
    vae, calls = small(kind), iter(range(1))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        vae.decode(latent(vae, 1, 3 if vae.clip_law else 0), rows=4, **{callback: lambda *told: next(calls)})
