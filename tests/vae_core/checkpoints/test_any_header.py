"""Whatever happens to a header, it is never taken for a VAE of another family.

Every header we know is changed at random: tensors lost or bent, names moved under a prefix, other networks' tensors
beside them, the order mixed. Either it is still what it was, with every fault named, or it is refused.
"""

import random
from typing import NamedTuple

import pytest
from exact_vae.vae_core import UnknownCheckpoint, UnsupportedCheckpoint, detect
from exact_vae.vae_core.families.names import PREFIXES, is_leftover
from support import slow
from support.headers import header, header_names

TRIALS = 6 if slow.IS_ASKED_FOR else 2
Shapes = dict[str, tuple[int, ...]]


class Changed(NamedTuple):
    shapes: Shapes
    lost: set[str]  # names of the VAE's tensors that are gone
    bent: set[str]  # and of those that have another shape
    beside: set[str]  # other networks' tensors that are not told apart from the VAE's, which has no prefix or theirs
    inside: set[str]  # those of them that seem to lie within a module of the VAE


def changed(name: str, pick: random.Random) -> Changed:
    """One to three tensors lost or bent, or none; then what should change nothing."""
    known = header(name)
    own = {n.removeprefix(known["prefix"]): s for n, s in known["shapes"].items() if n.startswith(known["prefix"])}
    counted = [n for n in own if not is_leftover(n)] or list(own)
    lost = set(pick.sample(counted, min(pick.choice([0, 0, 1, 3]), len(counted) - 1)))
    bent = set(pick.sample(sorted(set(counted) - lost), pick.choice([0, 0, 1]))) if len(counted) > 4 else set()
    own = {n: other(s, pick) if n in bent else s for n, s in own.items() if n not in lost}
    prefix = pick.choice([known["prefix"], *PREFIXES])
    shapes, others = {f"{prefix}{n}": s for n, s in own.items()}, decoys(pick)
    beside = {n for n in others if n.startswith(prefix) and not is_leftover(n[len(prefix) :])}
    inside = {n for n in beside if is_inside(n[len(prefix) :], counted)}
    return Changed(shuffled(shapes | others, pick), lost, {prefix + n for n in bent}, beside, inside)


def is_inside(name: str, own: list[str]) -> bool:
    """Is it a name within a module of the VAE? What lies beside these is not looked at."""
    return name.partition(".")[0] in {n.partition(".")[0] for n in own}


def other(shape: tuple[int, ...], pick: random.Random) -> tuple[int, ...]:
    """One size changed, an axis more, or one less."""
    if not shape:
        return (2,)
    axis = pick.randrange(len(shape))
    resized = (
        *shape[:axis],
        pick.choice([shape[axis] + 1, 2 * shape[axis], 32 * shape[axis] + 32]),
        *shape[axis + 1 :],
    )
    return pick.choice([resized, resized, (*shape, 3), shape[1:]])


def decoys(pick: random.Random) -> Shapes:
    """Part of another network, as full checkpoints hold them, VAEs of clips and of sound among them."""
    place = pick.choice(["text_encoders.", "cond_stage_model.", "model.diffusion_model.", "audio_vae.", "other.vae."])
    shapes = header(pick.choice(header_names()))["shapes"]
    names = pick.sample(sorted(shapes), min(len(shapes), pick.choice([0, 1, 60])))
    return {place + n: shapes[n] for n in names}


def shuffled(shapes: Shapes, pick: random.Random) -> Shapes:
    names = list(shapes)
    pick.shuffle(names)
    return {n: shapes[n] for n in names}


def answer(shapes: Shapes) -> str:
    """A family's name, or the sentence by which a known VAE is refused."""
    try:
        return detect(shapes).family
    except UnsupportedCheckpoint as e:
        return str(e)


@pytest.mark.parametrize("name", [name for name in header_names() if not name.startswith("none.")])
def test_a_changed_header_is_never_another_family_s(name):
    known = header(name)
    want, pick = answer(known["shapes"]), random.Random(name)
    colours = (known["expected"]["in_channels"], known["expected"]["out_channels"])
    for _ in range(TRIALS):
        shapes, lost, bent, beside, inside = changed(name, pick)
        try:
            assert answer(shapes) == want
        except UnknownCheckpoint as e:
            assert lost or bent or beside, e
            continue
        if "not supported" in want:
            continue
        found = detect(shapes)
        assert len(found.missing) == len(lost) and set(found.unexpected) == inside
        # The only witness of how many colours an image has may be bent: then it says so of another VAE.
        assert bool(found.misshapen) == bool(bent) or (found.in_channels, found.out_channels) != colours


@pytest.mark.parametrize("name", [name for name in header_names() if name.startswith("none.")])
def test_a_changed_header_of_another_network_is_never_a_vae(name):
    shapes = changed(name, random.Random(name)).shapes
    with pytest.raises(UnknownCheckpoint):
        detect(shapes)
