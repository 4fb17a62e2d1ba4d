"""Tests that take long and see little that smaller ones do not: EXACT_VAE_SLOW=1 runs them, too."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

IS_ASKED_FOR = bool(os.environ.get("EXACT_VAE_SLOW"))
slow = pytest.mark.skipif(not IS_ASKED_FOR, reason="takes long: EXACT_VAE_SLOW=1 runs it")


def mark_slow(cases: Iterable[Any], slow_ones: Iterable[Any]) -> list[Any]:
    """The cases, for `parametrize`; these of them are slow."""
    slow_ones = list(slow_ones)
    return [pytest.param(one, marks=slow) if one in slow_ones else one for one in cases]
