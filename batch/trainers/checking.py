"""All that is wrong with the caches of trainers in a folder."""

import hashlib
import heapq
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...vae_core import VAE, BadRequest, VAEError
from ..comparing import Sample
from ..mishaps import explain
from ..statistics import Statistics
from ..verifying import OnChecked, Problem
from ..watching import ignore
from . import judging, recognising
from .finding import Readers, list_files
from .images import Images
from .kept import Kept, Unread


@dataclass(frozen=True)
class Group:
    """Latents that are judged together. space: a key of SPACES, or None if it is not known."""

    trainer: str
    convention: str
    space: str | None
    channels: int


@dataclass
class TrainerFindings:
    """What `check` found.

    problems    what is wrong, and where
    latents     of each group
    statistics  of each group, as if its numbers were right
    images      that were found
    unknown     of so many latents no image was found, nor missed: nobody said where they are
    samples     that were encoded anew
    """

    problems: list[Problem] = field(default_factory=list)
    latents: dict[Group, int] = field(default_factory=dict)
    statistics: dict[Group, Statistics] = field(default_factory=dict)
    images: int = 0
    unknown: int = 0
    samples: list[Sample] = field(default_factory=list)

    def note(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def to_dict(self) -> dict[str, Any]:
        groups = [
            {**vars(group), "latents": count, "spread": self.statistics[group].spread}
            for group, count in self.latents.items()
        ]
        return {
            "problems": [vars(one) for one in self.problems],
            "groups": groups,
            "images": self.images,
            "without_image": self.unknown,
            "samples": [one.to_dict() for one in self.samples],
        }


@dataclass(frozen=True)
class Check:
    """What to check.

    folder   the cache of a trainer, or a folder in which caches of several lie
    images   where the images are, if neither the cache says nor they lie beside it
    space    whose latents they are, a key of SPACES, if the files do not tell
    vae      to encode images anew with
    samples  how many
    """

    folder: Path
    images: Path | None = None
    space: str | None = None
    vae: VAE | None = None
    samples: int = 8


def check(what: Check, progress: OnChecked = ignore) -> TrainerFindings:
    """Read every latent, and encode some anew. Raises BadRequest if there is none in the folder."""
    found, chosen = TrainerFindings(), _Draw(what.samples if what.vae else 0)
    images, readers, files = Images(what.images), Readers(), list_files(what.folder)
    for number, path in enumerate(files):
        for one in readers.read(path):
            if isinstance(one, Unread):
                found.note(one.where, one.what)
            else:
                _check_one(one, what, images, found, chosen)
        progress(number + 1, len(files))
    if not found.latents and not found.problems:
        raise BadRequest(
            f"there is no cache in '{what.folder}': it has no job.json, as `exact-vae cache build` writes it, and no "
            "latents of sd-scripts, musubi, diffusion-pipe, SimpleTuner or OneTrainer."
        )
    for group, numbers in found.statistics.items():
        for said in judging.judge_spread(numbers, group.convention, group.trainer):
            found.note(group.trainer, said)
    for number, (one, image) in enumerate(chosen.list_all()):
        _compare(one, image, what, found)
        progress(number + 1, len(chosen.list_all()))
    return found


class _Draw:
    """So many latents of a cache, the same each time: those whose names have the smallest hashes."""

    def __init__(self, most: int):
        self._most, self._kept = most, []

    def offer(self, one: Kept, image: Path) -> None:
        rank = -int.from_bytes(hashlib.sha256(one.where.encode("utf-8", "replace")).digest()[:8], "big")
        if self._most:
            push = heapq.heappush if len(self._kept) < self._most else heapq.heappushpop
            push(self._kept, (rank, one.where, one, image))

    def list_all(self) -> list[tuple[Kept, Path]]:
        return [(one, image) for *_, one, image in sorted(self._kept, key=lambda entry: entry[1])]


def _check_one(one: Kept, what: Check, images: Images, found: TrainerFindings, chosen: _Draw) -> None:
    space = judging.choose_space(one, what.space or _space_of(what.vae, one))
    group = Group(one.trainer, one.convention, space, one.latent.shape[0] if one.latent.ndim else 0)
    wrong = list(judging.judge(one, space))
    found.latents[group] = found.latents.get(group, 0) + 1
    statistics = found.statistics.setdefault(group, Statistics(space, one.convention))
    sound = not wrong
    if sound:
        statistics.add(one.latent)
    image = images.find(one)
    if image:
        found.images += 1
        wrong += judging.judge_age(one, image)
    elif images.should_have(one):
        wrong.append(f"its image is gone: '{one.image or one.stem}' is not there")
    else:
        found.unknown += 1
    for said in wrong:
        found.note(one.where, said)
    is_clip = one.latent.ndim == 4 and one.latent.shape[1] > 1
    if image and sound and not is_clip:
        chosen.offer(one, image)


def _space_of(vae: VAE | None, one: Kept) -> str | None:
    """What the VAE tells, if the format leaves it open."""
    said = vae.latent_space if vae else None
    return said if said and (not one.spaces or (said in one.spaces and len(one.spaces) > 1)) else None


def _compare(one: Kept, image: Path, what: Check, found: TrainerFindings) -> None:
    assert what.vae is not None
    space = judging.choose_space(one, what.space or _space_of(what.vae, one))
    try:
        if one.latent.shape[0] != what.vae.latent_channels:
            found.note(one.where, f"it is not of '{what.vae.name}', whose latents have {what.vae.latent_channels}")
            return
        match = recognising.recognise(one, image, what.vae, space)
        for said in recognising.judge(one, match, what.vae, image):
            found.note(one.where, said)
        found.samples.append(recognising.sample(one, match, what.vae, space))
    except (VAEError, OSError) as error:
        found.note(one.where, f"it cannot be compared: {explain(error)}")
