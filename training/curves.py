"""Draws the curves of a training run."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..vae_core.files import write_atomically


def draw_curves(history: list[dict[str, float]], path: Path, smooth: int = 10) -> None:
    """Draw PSNR of the training crops, nats per latent value and the learning rate over the steps, as PNG."""
    steps = np.array([row["step"] for row in history])
    columns = {name: np.array([row[name] for row in history]) for name in ("squared", "nats", "rate")}
    curves = {
        "PSNR of the crops (dB)": 10 * np.log10(4 / running_mean(columns["squared"], smooth)),
        "KL (nats a latent value)": running_mean(columns["nats"], smooth),
        "learning rate": columns["rate"],
    }
    figure = Figure(figsize=(8, 7), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(len(curves), sharex=True), curves.items(), strict=True):
        axes.plot(steps, values)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    figure.supxlabel("step")
    with write_atomically(path) as part:
        figure.savefig(part, format="png", dpi=100)


def running_mean(values: np.ndarray, n: int) -> np.ndarray:
    """The mean of the last n values, at the beginning of fewer. (N,) -> (N,)"""
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    at = np.arange(1, len(sums))
    first = np.maximum(at - n, 0)
    return (sums[at] - sums[first]) / (at - first)
