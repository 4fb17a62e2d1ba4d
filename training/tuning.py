"""Fine-tunes any Autoencoder-KL on the user's images.

The network is that of the file, the course a gentle one (`recipe.Tuning`). The result is the file again, with new
numbers in the trained weights, so it loads wherever the file did.
"""

import hashlib
import json
import math
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..vae_core import VAE, BadRequest, Posterior, load
from ..vae_core.checkpoints import (
    DAMAGE,
    FLOATS,
    Checkpoint,
    Detection,
    built_in,
    demand_whole,
    detect_in,
    in_file,
    open_checkpoint,
    rewrite,
)
from ..vae_core.execution import whole
from ..vae_core.families import Half, demand_part, title
from ..vae_core.families.kl import AutoencoderKL
from .folder import FolderCrops, Survey
from .losses import SCALES, compute_loss
from .processes import Processes
from .recipe import ALL, Phase, Tuning
from .trainer import ANOTHER, Trainer

PROBED = 8  # steps from whose crops the weight of the KL divergence is measured


@dataclass(frozen=True)
class Subject:
    """The VAE that is fine-tuned, in fp32, and the file it came from."""

    checkpoint: Checkpoint
    found: Detection
    vae: VAE

    @property
    def network(self) -> AutoencoderKL:
        assert isinstance(self.vae.network, AutoencoderKL)
        return self.vae.network

    def digest(self) -> str:
        """A hash of all weights of the VAE."""
        sum_of = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            sum_of.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return sum_of.hexdigest()


def open_subject(path: Path | None) -> Subject:
    """Open the file (None: the built-in VAE). Raises what `load` raises, and BadRequest if it is no Autoencoder-KL."""
    checkpoint = open_checkpoint(path or built_in.VAE_FILE)
    found, name = detect_in(checkpoint), checkpoint.path.name
    demand_whole(found, checkpoint.path)
    if found.family != "kl":
        raise BadRequest(
            f"'{name}' cannot be fine-tuned: it is {title(found.family, found.config)}, no Autoencoder-KL."
        )
    for half in Half:
        demand_part(found.config, name, half)
    if (found.in_channels, found.out_channels) != (3, 3):
        raise BadRequest(f"'{name}' cannot be fine-tuned: its images do not have 3 channels.")
    stored = {checkpoint.entries[old].dtype for old in found.names.values()}
    if narrow := sorted(dtype for dtype in stored if dtype in FLOATS and FLOATS[dtype].itemsize < 2):
        raise BadRequest(f"'{name}' cannot be fine-tuned: its weights are stored as {narrow[0]}; take the file before.")
    return Subject(checkpoint, found, load(checkpoint.path, dtype=torch.float32))


def plan_course(subject: Subject, found: Survey, chosen: Tuning, crop: int, batch: int, processes: Processes) -> Tuning:
    """The course for these images. Raises BadRequest for impossible sizes of crops and batches."""
    unit = math.lcm(subject.found.spatial_ratio, *SCALES)
    if crop % unit:
        raise BadRequest(
            f"crops of {crop} pixels are not possible with '{subject.vae.name}': use a multiple of {unit}."
        )
    if batch % processes.count:
        raise BadRequest(f"{batch} crops cannot be shared evenly by {processes.count} processes: use a multiple.")
    return replace(chosen, phases=(Phase(0.0, (crop,), batch),), source=(subject.digest(), found.digest))


def make_trainer(
    subject: Subject, found: Survey, course: Tuning, device: torch.device, processes: Processes, state: Path
) -> Trainer:
    """A trainer, with the saved state if there is one. Raises BadRequest if the state belongs to another run."""
    trainer = Trainer(course, FolderCrops(found, course.seed), device, subject.network, processes)
    if course.part == ALL:
        trainer.recipe = replace(course, kl_weight=measure_kl_weight(trainer))
    if state.exists():
        resume(trainer, state)
    return trainer


def resume(trainer: Trainer, state: Path) -> None:
    """Continue from a saved state. Raises BadRequest if it cannot be read, is damaged, or belongs to another run."""
    try:
        trainer.restore(state)
    except OSError as e:
        raise BadRequest(f"'{state}' cannot be read: {e.strerror or e}.") from e
    except (*DAMAGE, pickle.UnpicklingError) as e:
        raise BadRequest(f"'{state}' is damaged or no state of a run: {ANOTHER}.") from e


@torch.no_grad()
def measure_kl_weight(trainer: Trainer) -> float:
    """The weight of the KL divergence, per pixel value, that the VAE seems to have been trained with.

    Files do not state this weight, and another one would change their latents. At the end of training a little more
    width of the posterior costs as much error as it saves in nats: dD / d log std = weight * sum(1 - var) / pixels. The
    error that width costs, D(sample) - D(mode), grows with its square, so the left side is twice that. Two digits.
    """
    r, network, processes = trainer.recipe, trainer.network, trainer.processes
    phase, without_kl, sums = r.phase(1), replace(r, kl_weight=0.0), torch.zeros(2)
    for step in range(1, PROBED + 1):
        x = trainer.images.batch(step, phase.crops[0], phase.batch, processes.share(phase.batch)).to(trainer.device)
        posterior = Posterior.of_moments(whole.run(network.encode_ops(), x))
        noise = torch.Generator().manual_seed(step * processes.count + processes.rank)
        sampled, still = (
            compute_loss(whole.run(network.decode_ops(), z), x, posterior, without_kl)
            for z in (posterior.sample(noise), posterior.mode())
        )
        sums += torch.stack((sampled.total - still.total, (1 - posterior.var).sum() / x.numel())).cpu()
    cost, gain = processes.mean(sums.to(trainer.device)).tolist()
    return max(0.0, float(f"{2 * cost / gain:.1e}")) if gain > 0 else 0.0


def write_result(subject: Subject, trainer: Trainer, target: Path) -> None:
    """Write the average of the weights in the file's own layout and dtypes. Untrained weights keep their bits."""
    weights = {name: tensor for name, tensor in trainer.average.named_parameters() if trainer.recipe.trains(name)}
    said = {"exact_vae.fine_tuned": json.dumps(trainer.recipe.to_dict())}
    rewrite(subject.checkpoint, target, in_file(subject.found.names, weights), said)
