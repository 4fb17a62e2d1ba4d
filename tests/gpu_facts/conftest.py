"""Fixtures of the tests of benchmarks/gpu_facts.py."""

from types import ModuleType

import pytest
from support.gpu_facts import SCRIPT


@pytest.fixture
def facts(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_facts

    return gpu_facts


@pytest.fixture
def setting(facts, tmp_path):
    return facts.Setting(tmp_path, "cpu", True, tmp_path / "truth.safetensors")
