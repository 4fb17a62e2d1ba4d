"""Ways around what the Doctor has found wrong: a half that a device computes wrongly runs elsewhere, and says so."""

import copy
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..devices.dtypes import name_dtype
from ..execution.options import OnPlan, RunOptions
from ..families import Config, Half, Network
from ..families.doubling import keep_unrounded
from . import kept
from .verdict import Verdict, Way

log = logging.getLogger("exact_vae")


class VAELike(Protocol):
    """What is asked of a VAE that may have to go around. It is made anew by its class."""

    network: Network
    family: str
    config: Config
    name: str
    latent_space: str | None
    detours: "Detours"

    def __init__(
        self,
        network: Network,
        family: str,
        config: Config,
        *,
        name: str,
        dtype: torch.dtype,
        device: torch.device,
        latent_space: str | None = None,
    ): ...

    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def fingerprint(self) -> str: ...


T = TypeVar("T", bound=VAELike)


@dataclass(frozen=True)
class Detour(Generic[T]):
    """A VAE to run in place of another one, and the sentence that says why.

    elsewhere  on another device
    """

    vae: T
    sentence: str
    elsewhere: bool

    def adapt(self, options: RunOptions) -> RunOptions:
        """The same options for the VAE of the detour. A budget is that of a device, so another one has its own."""
        tell = partial(_tell_plan, options.on_plan, self.sentence) if options.on_plan else None
        return replace(options, budget=None if self.elsewhere else options.budget, on_plan=tell)

    def move(self, side_input: Tensor | None) -> Tensor | None:
        """What a decoder looks at beside its latent, (B, C, H, W), to where the VAE of the detour runs."""
        return side_input if side_input is None else side_input.to(self.vae.device, self.vae.dtype)


class Detours:
    """Those of one VAE, for each device and dtype that it runs in. Whether there is a verdict is looked up once."""

    def __init__(self) -> None:
        self._verdicts: dict[torch.device, Verdict | None] = {}
        self._found: dict[tuple[Half, Way], Any] = {}

    def find(self, vae: T, half: Half) -> Detour[T] | None:
        """The VAE to run this half with instead; None if nothing is known against this one."""
        way = Way(vae.device, vae.dtype)
        if way.device not in self._verdicts:
            self._verdicts[way.device] = kept.find(vae)
        verdict = self._verdicts[way.device]
        if verdict is None:
            return None
        if (half, way) not in self._found:
            self._found[half, way] = _go_around(vae, verdict, half, way)
        return self._found[half, way]


class NoDetours(Detours):
    """Of a VAE that runs where it is told to, whatever is known against it."""

    def find(self, vae: T, half: Half) -> Detour[T] | None:
        return None


def copy_to(vae: T, device: torch.device, dtype: torch.dtype) -> T:
    """The VAE with its weights on this device and in this dtype, which goes around nothing.

    Tensors that are so already are shared. Statistics of a latent space stay fp32 at least.
    """
    choose = vae.network.choose_buffer_dtype
    named = vae.network.named_buffers()
    weights: dict[int, Any] = {id(b): b.to(device, choose(name, b.dtype, dtype, device)) for name, b in named}
    for p in vae.network.parameters():
        weights[id(p)] = nn.Parameter(p.detach().to(device, dtype), requires_grad=False)
    network = copy.deepcopy(vae.network, weights)  # takes these in place of what it would copy
    pairs = zip(network.parameters(), vae.network.parameters(), strict=True)
    keep_unrounded(network, {id(new): old.data for new, old in pairs if new.dtype is not old.dtype})
    space = vae.latent_space
    twin = type(vae)(network, vae.family, vae.config, name=vae.name, dtype=dtype, device=device, latent_space=space)
    twin.detours = NoDetours()
    return twin


def _go_around(vae: T, verdict: Verdict, half: Half, way: Way) -> Detour[T] | None:
    other = verdict.find_way_around(half, way)
    if other is None:
        return None
    sentence = say_why(verdict, half, way, other)
    log.warning("'%s': %s.", vae.name, sentence)
    return Detour(copy_to(vae, other.device, other.dtype), sentence, elsewhere=other.device != way.device)


def say_why(verdict: Verdict, half: Half, way: Way, other: Way) -> str:
    """'the Doctor found bf16 decode wrong on cuda:0 (6.6 dB, worst in the text), so it runs in fp32'"""
    where = f"{'on the CPU ' if other.device != way.device else ''}in {name_dtype(other.dtype)}"
    found = verdict.finding(half, way.dtype)
    why = f" ({found.why})" if found and found.why else ""
    wrong = f"the Doctor found {name_dtype(way.dtype)} {half.verb} wrong on {verdict.machine.device}{why}"
    return f"{wrong}, so it runs {where}"


def _tell_plan(on_plan: OnPlan, sentence: str, plan: Any) -> None:
    """plan: a sentence itself, of a run that has no other way."""
    on_plan(f"{plan}; {sentence}" if isinstance(plan, str) else replace(plan, note=sentence))
