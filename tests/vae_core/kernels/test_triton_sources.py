"""The kernels, interpreted on a CPU, and compiled for GPUs that are not here; each in a process of its own.

Needs the package triton, which torch brings on Linux with CUDA: `pip install triton`.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

UNREADABLE = "InterpreterError: TypeError('only 0-dimensional arrays can be converted to Python scalars')"
INTERPRETED = Path(__file__).with_name("interpreted_kernels.py")
pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="needs the package triton, which torch's builds for CPUs do not bring"
)


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Triton reads its variables when it is imported, and cannot be imported again."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "PYTEST_"))}
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env | variables, cwd=INTERPRETED.parents[3])


def test_kernels_interpreted(tmp_path):
    """See interpreted_kernels.py."""
    if version("triton").startswith("3.1.") and not version("numpy").startswith("1."):
        pytest.skip("the interpreter of Triton 3.1, which torch 2.5 brings, stores nothing with numpy 2")
    options = ("-n0", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}")
    done = run_python("-m", "pytest", *options, str(INTERPRETED), TRITON_INTERPRET="1")
    if UNREADABLE in done.stdout:
        pytest.skip("the interpreter of this Triton, as of 3.6, is for numpy before 2.4")
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from exact_vae.vae_core.kernels import triton_sources as sources

def build(kernel, dtype, sizes, capability, **constants):
    names = kernel.arg_names
    types = dict.fromkeys(("means", "squares", "chunk_means", "chunk_squares", "mean", "var"), "*fp32")
    types |= dict.fromkeys(("x", "y", "skip", "weight", "bias", "gamma"), f"*{dtype}")
    types |= dict.fromkeys(("eps", "root", "least"), "fp32")
    signature = {name: "constexpr" if name in constants else types.get(name, sizes) for name in names}
    made = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", capability, 32))
    assert made.asm["cubin"] and ".local" not in made.asm["ptx"]  # no registers are spilled
    if capability >= 80:  # the result is rounded to the nearest
        assert ("cvt.rn.bf16" in made.asm["ptx"]) == ("y" in names and dtype == "bf16")

few = (("bf16", "i32", 80), ("fp16", "i64", 75), ("fp32", "i64", 90))
for dtype, sizes, capability in few:  # sizes of 2^31 and more are of 64 bits
    what = dtype, sizes, capability
    build(sources.sum_chunks, *what, CHANNELS=96, ROWS=128, COLUMNS=32)
    build(sources.merge_chunks, *what, CHANNELS=96, ROWS=64, COLUMNS=32)
    build(sources.add_bias_tile, *what, CHANNELS=320, ROWS=64, COLUMNS=64)
    build(sources.normalize_pixels_tile, *what, CHANNELS=384, SILU=True, ROWS=8, COLUMNS=512)
    build(sources.normalize_tile, *what, CHANNELS=128, SILU=True, ROWS=32, COLUMNS=128)
"""


def test_kernels_compile_for_gpus(tmp_path):
    """For three generations of them, which needs none. What Triton refuses, its interpreter may accept."""
    if find_spec("triton.backends.nvidia") is None:
        pytest.skip("this build of triton does not compile for NVIDIA's GPUs")
    done = run_python("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
