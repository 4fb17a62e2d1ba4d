"""The training loop. A run that is killed at any moment and resumed ends in the same weights, to the bit."""

import copy
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..vae_core import Posterior
from ..vae_core.errors import BadRequest, NumericalOverflow, some
from ..vae_core.execution import whole
from ..vae_core.families.kl import AutoencoderKL
from ..vae_core.files import write_atomically
from .growing import ops_without_top, start_gently
from .images import Crops
from .losses import Loss, compute_loss
from .optimizers import make_optimizers
from .processes import Processes
from .recipe import Course, Recipe

DIVERGED = "and nothing of it is kept; start again at a lower rate"
ANOTHER = "give another place, or delete it"  # what to do about a state that cannot be continued


class RoundTrip(nn.Module):
    """Encodes and decodes in one forward call, so that several processes can share its gradients."""

    def __init__(self, network: AutoencoderKL):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, noise: Callable[[Tensor], Tensor], skip: int) -> tuple[Tensor, Tensor]:
        """-> moments, and pixels decoded from mean + std * noise(mean)."""
        encode, decode = ops_without_top(self.network, skip)
        moments = whole.run(encode, x).float()
        posterior = Posterior.of_moments(moments)
        return moments, whole.run(decode, posterior.mean + posterior.std * noise(posterior.mean))


def make_network(recipe: Course) -> AutoencoderKL:
    """The untrained network of a Recipe."""
    assert isinstance(recipe, Recipe), "a network to start from is needed"
    torch.manual_seed(recipe.seed)
    network = AutoencoderKL(recipe.config)
    start_gently(network)
    return network


@dataclass
class Trainer:
    """A network in training.

    start     the network to go on from, which is left as it is; None: a fresh one, of a Recipe
    history   one row for every `log_every` steps: step, mean loss, mean squared error, nats per latent value, rate
    """

    recipe: Course
    images: Crops
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: InitVar[AutoencoderKL | None] = None
    processes: Processes = field(default_factory=Processes)
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    log_every: int = 20

    def __post_init__(self, start: AutoencoderKL | None) -> None:
        self.network = copy.deepcopy(start).float() if start else make_network(self.recipe)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self.recipe.trains(name))
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizers = make_optimizers(self.recipe, self._list_trained(self.network))
        self._round_trip = self.processes.share_gradients(RoundTrip(self.network))
        self._sums: list[Tensor] = []

    def _list_trained(self, network: AutoencoderKL) -> list[Tensor]:
        return [parameter for name, parameter in network.named_parameters() if self.recipe.trains(name)]

    def run(self, until: int | None = None, on_step: Callable[["Trainer"], None] | None = None) -> None:
        """Train up to step `until` (by default to the end). `on_step(self)` is called after each.

        Raises NumericalOverflow if it diverges: there is no result then.
        """
        for step in range(self.step + 1, (until or self.recipe.steps) + 1):
            self.step = step
            self._log(self._train_on(step))
            if on_step:
                on_step(self)
        self._demand_finite()
        self._demand_result()

    def _train_on(self, step: int) -> Loss:
        self._set_rate(step)
        loss = self._compute_loss(step, self._round_trip)
        self.network.zero_grad(set_to_none=True)
        loss.total.backward()
        nn.utils.clip_grad_norm_(self._list_trained(self.network), self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self._update_average()
        return loss

    def _compute_loss(self, step: int, round_trip: nn.Module) -> Loss:
        """The loss of this process's share of the crops of a step. round_trip: of a network, as RoundTrip runs it."""
        r, phase = self.recipe, self.recipe.phase(step)
        share = self.processes.share(phase.batch)
        x = self.images.batch(step, phase.crops[step % len(phase.crops)], phase.batch, share)
        x = F.avg_pool2d(x, 2**phase.skip).to(self.device, memory_format=torch.channels_last)

        def noise(mean: Tensor) -> Tensor:
            drawn = torch.Generator().manual_seed((r.seed * 1_000_003 + step) % 2**64)
            return torch.randn((phase.batch, *mean.shape[1:]), generator=drawn)[share].to(self.device)

        with self._mixed_precision():
            moments, decoded = round_trip(x, noise, phase.skip)
        posterior = Posterior.of_moments(moments)
        return compute_loss(decoded.float(), x, posterior, r)

    def _mixed_precision(self) -> Any:
        """bf16 where the device is fast at it; weights, sums and the loss stay in fp32."""
        on_cuda = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast("cuda", torch.bfloat16) if on_cuda else nullcontext()

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then half a cosine down to a hundredth."""
        r = self.recipe
        cosine = 0.5 * (1 + math.cos(math.pi * step / r.steps))
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = r.learning_rate * min(1, step / r.warmup) * (0.01 + 0.99 * cosine)

    def _update_average(self) -> None:
        """Update the exponential moving average, which becomes the result; it forgets faster at the beginning."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._list_trained(self.average), self._list_trained(self.network), 1 - decay)

    def _log(self, loss: Loss) -> None:
        self._sums.append(self.processes.mean(torch.stack((loss.total.detach(), loss.squared, loss.nats))))
        if self.step % self.log_every == 0:
            total, squared, nats = torch.stack(self._sums).mean(0).tolist()
            rate = self.optimizers[0].param_groups[0]["lr"]
            self.history.append({"step": self.step, "loss": total, "squared": squared, "nats": nats, "rate": rate})
            self._sums.clear()
            if not math.isfinite(total):
                raise NumericalOverflow(f"the loss is {total} at step {self.step}, {DIVERGED}.")

    def save(self, path: Path) -> None:
        """Save the state of the run atomically. Raises NumericalOverflow for one that has diverged."""
        self._demand_finite()
        buffer = io.BytesIO()  # torch.save makes its own error of a full disk
        torch.save(self.state(), buffer)
        with write_atomically(path) as part:
            part.write_bytes(buffer.getbuffer())

    def _demand_finite(self) -> None:
        if not all(bool(weight.isfinite().all()) for weight in self._list_trained(self.network)):
            raise NumericalOverflow(
                f"training diverged: after step {self.step} weights are NaN or infinite, {DIVERGED}."
            )

    @torch.no_grad()
    def _demand_result(self) -> None:
        """Does the average decode at all? Weights of the last step, which nothing has run, may be finite and huge."""
        loss = self.processes.mean(self._compute_loss(max(1, self.step), RoundTrip(self.average)).total)
        if not math.isfinite(loss.item()):
            raise NumericalOverflow(f"training diverged: what it made overflows after step {self.step}, {DIVERGED}.")

    def state(self) -> dict[str, Any]:
        return {
            "recipe": json.dumps(self.recipe.to_dict()),
            "step": self.step,
            "history": self.history,
            "sums": self._sums,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, path: Path) -> None:
        """Continue from a saved state. Raises BadRequest if it belongs to another recipe."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        before, now = json.loads(state["recipe"]), json.loads(json.dumps(self.recipe.to_dict()))
        if before != now:
            raise BadRequest(f"'{path}' is a run of another recipe: {some(_list_changes(before, now))}; {ANOTHER}.")
        self.step, self.history, self._sums = state["step"], state["history"], state["sums"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its)


@contextmanager
def forget_diverged(state: Path) -> Iterator[None]:
    """What diverges leaves no state behind: its steps would lead there again, and another rate is another recipe."""
    try:
        yield
    except NumericalOverflow:
        state.unlink(missing_ok=True)
        raise


def _list_changes(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """'phases[0].batch was 1 and is 2' of each number that differs. before, now: recipes as JSON"""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _list_changes(before.get(name), now.get(name), f"{where}.{name}" if where else name)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            yield from _list_changes(*pair, f"{where}[{i}]")
    elif before != now:
        yield f"{where} was {str(before)[:40]} and is {str(now)[:40]}"
