"""The weights of cases, each drawn once for all dtypes, and ahead of the case that needs them.

The device's time is dear: while it runs one case, another thread draws the next. They are kept in bf16, which holds
their numbers exactly, until the last dtype has had them.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import psutil
import torch
from torch import Tensor

from gpu.cases import Case, make_weights

LEFT = 8 * 2**30  # bytes of system memory: with less of it free, weights of earlier cases are let go

Weights = dict[str, Tensor]


class Drawn:
    """cases: in the order in which they are asked for, perhaps several times."""

    def __init__(self, cases: tuple[Case, ...]):
        self.cases = cases
        self.thread = ThreadPoolExecutor(1)
        self.drawn: dict[str, Future[Weights]] = {}

    def take(self, case: Case) -> Weights:
        """Its weights in fp32."""
        if psutil.virtual_memory().available < LEFT:
            self.drawn = {title: weights for title, weights in self.drawn.items() if title == case.title}
        weights = self._ask_for(case).result()
        after = self.cases.index(case) + 1
        if after < len(self.cases):
            self._ask_for(self.cases[after])
        return {name: t.float() for name, t in weights.items()}

    def _ask_for(self, case: Case) -> "Future[Weights]":
        if case.title not in self.drawn:
            self.drawn[case.title] = self.thread.submit(_draw, case)
        return self.drawn[case.title]


@torch.no_grad()
def _draw(case: Case) -> Weights:
    return {name: t.bfloat16() for name, t in make_weights(case).items()}
