"""The exact results: what each half of a VAE must make of the chart, and how far rounding alone may lead from it.

The smaller chart is computed in fp64 on the CPU. If the CPU's fp32 is right by it, the larger chart and the emulations
of halves are computed in fp32, in a third of the time; otherwise in fp64 too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..execution.options import RunOptions
from ..families import Half
from ..images import convert_channels, to_pixel_range
from ..vae import VAE
from ..verdicts import CPU, copy_to
from . import allowance
from .allowance import Allowed, Cause, Errors
from .chart import draw_chart, draw_clip
from .emulation import emulate

SINGLE, HALVES = torch.float32, (torch.bfloat16, torch.float16)
# Of the errors of rounding, on the first chart. Of one draw alone, on few pixels, they may be half or twice what they
# are as a rule, if they come of few numbers, as those of a norm.
DRAWS = 4
# In bands, so that the exact result takes little memory.
WHOLE, EXACT = RunOptions(rows=2**30), RunOptions(rows=16)
Step = Callable[[], None]  # called before each run; it may raise to stop


@dataclass(frozen=True)
class Case:
    """One half at one size.

    given      what goes in: pixels in [-1, 1] or a raw latent, (B, C, H, W) or (B, C, T, H, W), fp32
    exact      what must come out, in `reference`, the dtype that computed it
    size       (H, W) of the chart
    rounding   dtype -> the errors that rounding alone makes, in several draws
    terms      the longest sum of the network
    """

    half: Half
    given: Tensor
    exact: Tensor
    size: tuple[int, int]
    reference: torch.dtype
    rounding: Mapping[torch.dtype, tuple[Errors, ...]]
    terms: int

    @property
    def frames(self) -> int:
        """Of a clip of the chart; 1: an image."""
        return max(x.shape[2] if x.ndim == 5 else 1 for x in (self.given, self.exact))

    def allowed(self, dtype: torch.dtype) -> Allowed:
        """The errors that a right device may make at most."""
        causes = (dtype, SINGLE) if self.reference is SINGLE else (dtype,)
        return Allowed(tuple(Cause(self.rounding[one], allowance.factor_of(one, self.terms)) for one in causes))

    def measure(self, result: Tensor) -> Errors:
        """result: as `exact`, finite."""
        return allowance.measure_errors(result, self.exact)

    def run(self, vae: VAE, options: RunOptions) -> Tensor:
        """What this VAE makes of what is given: the mode of the posterior, or pixels. Raises what the VAE raises."""
        if self.half is Half.ENCODER:
            return vae.encode(self.given, options=options).mode()
        return vae.decode(self.given, size=self.size, options=options)


def count_steps(vae: VAE, sizes: int) -> int:
    """Runs that `make_cases` takes on the CPU."""
    emulated = DRAWS * (1 + len(HALVES)) + (sizes - 1) * len(HALVES)
    return len(vae.parts) * (sizes + 1 + emulated)


def make_cases(vae: VAE, widths: Sequence[int], step: Step) -> list[Case]:
    """The halves there are, of the chart at each width; for a VAE of clips the first is a clip.

    vae: on the CPU, in fp64. Raises what `step` raises, and DoesNotFit.
    """
    first = [_draw(case, vae, SINGLE, DRAWS, step) for case in _solve(vae, widths[0], step, clip=True)]
    quick = copy_to(vae, CPU, SINGLE)
    trusted = quick if all([_is_right(case, quick, step) for case in first]) else vae
    cases = first = [_draw_halves(case, trusted, DRAWS, step) for case in first]
    for width in widths[1:]:
        more = zip(_solve(trusted, width, step), first, strict=True)
        cases = [
            *cases,
            *(_draw_halves(replace(case, rounding=known.rounding), trusted, 1, step) for case, known in more),
        ]
    return cases


def _solve(vae: VAE, width: int, step: Step, clip: bool = False) -> Iterator[Case]:
    """The cases at this width, without the errors of rounding."""
    given = _draw_pixels(vae, width, clip)
    size = given.shape[-2:]
    terms = allowance.longest_sum(vae.network, given[0, 0].numel())
    for half in (half for half in Half if half.noun in vae.parts):
        if half is Half.DECODER and Half.ENCODER.noun not in vae.parts:
            given = _draw_latent(vae, size)
        step()
        case = Case(half, given, given, (size[0], size[1]), vae.dtype, {}, terms)
        case = replace(case, exact=case.run(vae, EXACT))
        yield case
        given = case.exact.float()


def _draw_halves(case: Case, vae: VAE, draws: int, step: Step) -> Case:
    for dtype in HALVES:
        case = _draw(case, vae, dtype, draws, step)
    return case


def _draw(case: Case, vae: VAE, dtype: torch.dtype, draws: int, step: Step) -> Case:
    """The case with so many more draws of the errors of rounding in this dtype."""
    found = list(case.rounding.get(dtype, ()))
    for draw in range(draws):
        step()
        found.append(case.measure(case.run(emulate(vae, dtype, case.frames, draw), EXACT)))
    return replace(case, rounding={**case.rounding, dtype: tuple(found)})


def _is_right(case: Case, vae: VAE, step: Step) -> bool:
    step()
    return case.allowed(vae.dtype).largest_share(case.measure(case.run(vae, EXACT))) <= 1


def _draw_pixels(vae: VAE, width: int, clip: bool) -> Tensor:
    """(1, C, H, W), or a short clip (1, C, T, H, W), in [-1, 1], fp32; squeezed for a VAE that knows one size."""
    law = vae.clip_law
    if clip and law and not law.images_are_clips:
        frames = draw_clip(width, law.first + law.step)[0].movedim(1, 0)
        return to_pixel_range(convert_channels(frames, vae.in_channels)[0]).movedim(0, 1)[None]
    chart = draw_chart(width)
    chart = F.interpolate(chart, (vae.image_size,) * 2, mode="area") if vae.image_size else chart
    return to_pixel_range(convert_channels(chart, vae.in_channels)[0])


def _draw_latent(vae: VAE, size: Sequence[int]) -> Tensor:
    """A random latent for a decoder alone, (1, C, h, w), fp32."""
    h, w = (-(-n // vae.spatial_ratio) for n in size)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, vae.latent_channels, h, w, generator=generator, dtype=torch.float32)
