"""From trials to a verdict, in data and in one sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..devices.dtypes import DTYPES, name_dtype
from ..families import Half
from ..vae import VAE
from ..verdicts import Finding, Verdict, Way, describe_machine
from .trials import Trial


def judge(trials: Sequence[Trial], vae: VAE, device: torch.device) -> Verdict:
    """The verdict that follows from the trials of a VAE on a device."""
    findings = {dtype: dict(_find_halves(trials, dtype)) for dtype in dict.fromkeys(one.dtype for one in trials)}
    verdict = Verdict(describe_machine(device), vae.fingerprint, vae.name, findings, "")
    return replace(verdict, sentence=describe(verdict, device))


def _find_halves(trials: Sequence[Trial], dtype: str) -> Iterator[tuple[str, Finding]]:
    for half in Half:
        if its := [one for one in trials if one.dtype == dtype and one.half is half]:
            yield half.verb, _sum_up(its)


def _sum_up(trials: Sequence[Trial]) -> Finding:
    """Of one half in one dtype: wrong if any of its trials is; its seconds are those of the largest chart."""
    largest = max(one.size for one in trials)
    seconds = min((one.seconds for one in trials if one.size == largest and one.seconds is not None), default=None)
    wrong = [one for one in trials if one.right is False]
    if wrong:
        return Finding(False, seconds, explain(max(wrong, key=_badness)))
    return Finding(True if any(one.right for one in trials) else None, seconds)


def _badness(trial: Trial) -> tuple[bool, float]:
    return bool(trial.fault), trial.share


def explain(trial: Trial) -> str:
    """Why a trial is wrong: '6.6 dB, 480 times the error that rounding allows, most of all in the text'."""
    if trial.broken:
        return f"{trial.broken} numbers are not finite"
    if trial.fault:
        return trial.fault
    if trial.like_tf32:
        return f"{trial.psnr:.1f} dB, as if numbers were cut to the 11 bits of TF32"
    return (
        f"{trial.psnr:.1f} dB, {format_times(trial.share)} the error that rounding allows, worst in the {trial.worst}"
    )


def format_times(share: float) -> str:
    """'1.4 times', '480 times', '2e+06 times'"""
    return f"{share:.1f} times" if share < 10 else f"{share:.0f} times" if share < 1e5 else f"{share:.0e} times"


def describe(verdict: Verdict, device: torch.device) -> str:
    """The verdict in one sentence."""
    right = [dtype for dtype, found in verdict.findings.items() if all(one.right for one in found.values())]
    wrong = _describe_wrong(verdict, device)
    untold = [
        f"{dtype} {half}"
        for dtype, found in verdict.findings.items()
        for half, one in found.items()
        if one.right is None
    ]
    parts = [_describe_right(verdict, right), *wrong]
    if untold:
        parts.append(f"there was too little memory to tell of {join(untold)}")
    return f"{'; '.join(parts)}."


def _describe_right(verdict: Verdict, right: Sequence[str]) -> str:
    where = f"on {verdict.machine.device}"
    if not right:
        return f"no dtype is right in all {where}"
    if len(right) == 1:
        return f"{right[0]} is right {where}"
    return f"{join(right)} are right {where}, and {min(right, key=verdict.seconds_of)} is the fastest"


def _describe_wrong(verdict: Verdict, device: torch.device) -> Iterator[str]:
    for dtype, found in verdict.findings.items():
        for half, one in found.items():
            way = verdict.find_way_around(Half.of(half), Way(device, DTYPES[dtype]))
            if way:
                where = f"{'' if way.device == device else 'on the CPU '}in {name_dtype(way.dtype)}"
                yield f"{dtype} {half} is wrong ({one.why}): it will run {where}"


def join(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'"""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
