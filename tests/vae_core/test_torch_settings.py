"""While a VAE runs torch computes all digits; afterwards, and between two bands, all is as the caller set it."""

import os
import subprocess
import sys
import threading
import warnings
from functools import lru_cache
from typing import Any

import pytest
import torch
from exact_vae.vae_core import VAE, NumericalOverflow
from exact_vae.vae_core.devices.numerics import _old_switches, pin_each, pin_numerics
from support.small_networks import small
from support.torch_settings import is_exact, settings, tf32_allowed


@lru_cache
def network() -> VAE:
    return small("kl", torch.float32)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize("half", ["encode", "decode"])
def test_tf32_is_off_while_it_runs(half):
    vae, seen = network(), set()
    x = random(1, 3, 11, 8) if half == "encode" else random(1, 4, 3, 2)
    with tf32_allowed():
        before = settings()
        getattr(vae, half)(x, progress=lambda done, total: seen.add(is_exact()))
        assert settings() == before and not is_exact()
    assert seen == {True}


def test_settings_are_as_before_when_a_run_is_stopped():
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with tf32_allowed(), torch.autocast("cpu", torch.bfloat16):
        before = settings()
        with pytest.raises(KeyboardInterrupt):
            network().decode(random(1, 4, 3, 2), progress=stop)
        with pytest.raises(NumericalOverflow):
            network().decode(random(1, 4, 3, 2) * torch.inf)
        assert settings() == before


@pytest.mark.parametrize("end", ["read", "closed", "left", "raised"])
def test_between_two_bands_all_is_as_the_caller_set_it(end):
    def pass_on(done: int, total: int) -> None:
        seen.add(is_exact())
        if end == "raised" and bands:
            raise KeyboardInterrupt

    vae, seen, bands = network(), set[bool](), list[torch.Tensor]()
    with tf32_allowed(), torch.autocast("cpu", torch.bfloat16):
        before = settings()
        made = vae.decode_rows(random(1, 4, 16, 3), rows=4, progress=pass_on)
        assert settings() == before
        bands.append(next(made))
        assert settings() == before
        if end == "read":
            bands += made
        elif end == "closed":
            made.close()  # type: ignore[attr-defined]
        elif end == "raised":
            with pytest.raises(KeyboardInterrupt):
                list(made)
        del made
        assert settings() == before
    assert seen == {True}


def test_threads_do_not_turn_digits_off_for_one_another():
    """The last one to leave sets everything back, whoever came first."""
    vae, inside, wrong = network(), threading.Barrier(3, timeout=60), list[str]()

    def run(n: int) -> None:
        waited = False

        def check(done: int, total: int) -> None:
            nonlocal waited
            if not waited:
                waited = True
                inside.wait()
            if not is_exact():
                wrong.append(f"thread {n} at {done}")

        vae.decode(random(1, 4, 4 + 8 * n, 3), rows=4, progress=check)

    with tf32_allowed():
        before = settings()
        threads = [threading.Thread(target=run, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert settings() == before
    assert not wrong


def test_what_is_set_meanwhile_stays():
    with tf32_allowed():
        with pin_numerics():
            torch.set_float32_matmul_precision("medium")
        assert torch.get_float32_matmul_precision() == "medium"


BACKENDS: Any = torch.backends  # whose attributes type checkers do not know


@pytest.mark.skipif(not hasattr(BACKENDS.cuda.matmul, "fp32_precision"), reason="this torch has no fp32_precision")
@pytest.mark.parametrize("word", ["tf32", "ieee"])
def test_new_words_for_the_same_settings(word):
    """They are inherited, from all backends by each, and from each by its ops."""
    conv, other = BACKENDS.cudnn.conv, BACKENDS.mkldnn.conv
    before = conv.fp32_precision
    try:
        BACKENDS.fp32_precision, conv.fp32_precision = "tf32", word
        mixed = settings()
        with pin_numerics():
            assert conv.fp32_precision == other.fp32_precision == "ieee"
        assert settings() == mixed
        BACKENDS.fp32_precision = "none"
        assert other.fp32_precision == "none"  # it still says nothing of its own
    finally:
        BACKENDS.fp32_precision, conv.fp32_precision = "none", before


# How programs allow TF32, by torch's old words and by its new ones.
ALLOWED = {
    "as torch begins": "pass",
    "highest": "torch.set_float32_matmul_precision('highest')",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "matmul, old": "b.cuda.matmul.allow_tf32 = True",
    "no cudnn, old": "b.cudnn.allow_tf32 = False",
    "sums": "b.cuda.matmul.allow_bf16_reduced_precision_reduction = True",
}
NEW = {
    "all": "b.fp32_precision = 'tf32'",
    "matmul": "b.cuda.matmul.fp32_precision = 'tf32'",
    "cudnn": "b.cudnn.fp32_precision = 'tf32'",
    "conv": "b.cudnn.conv.fp32_precision = 'tf32'",
    "not conv": "b.fp32_precision = 'tf32'; b.cudnn.conv.fp32_precision = 'ieee'",
    "on the CPU": "b.mkldnn.matmul.fp32_precision = 'bf16'",
    "both": "torch.set_float32_matmul_precision('medium'); b.fp32_precision = 'tf32'",
    "one against the other": "torch.set_float32_matmul_precision('high'); b.cuda.matmul.fp32_precision = 'ieee'",
}
HAS_WORDS = hasattr(BACKENDS.cuda.matmul, "fp32_precision")
COMPARED = """
import torch, torch.backends as b
from exact_vae.vae_core.devices.numerics import list_switches, pin_numerics

def look():
    return [switch.read() for switch in list_switches()]

{allow}
before = look()
with pin_numerics():
    exact = [switch.read() in (*switch.exact, None) for switch in list_switches()]
assert all(exact), exact
after = look()
assert after == before, (before, after)
"""
# What was never said inherits, so a word for all reaches it, and a word that is taken back leaves it unsaid.
INHERITED = """
b.fp32_precision = 'tf32'
assert b.cuda.matmul.fp32_precision == b.mkldnn.matmul.fp32_precision == b.mkldnn.conv.fp32_precision == 'tf32'
b.fp32_precision = 'none'
assert look() == before
"""


def run_alone(code: str) -> str:
    """In a process of its own: what torch begins with cannot be set again. Returns what it says of errors."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)).stderr


@pytest.mark.parametrize("state", [*ALLOWED, *(NEW if HAS_WORDS else ())])
def test_all_settings_are_as_before(state):
    """Whichever of torch's words a program used; and those that it did not use still say nothing."""
    code = COMPARED.format(allow=(ALLOWED | NEW)[state])
    if HAS_WORDS and state in ("as torch begins", "no cudnn, old", "sums", "conv"):
        code += INHERITED
    assert run_alone(code) == ""


@pytest.mark.skipif(not HAS_WORDS, reason="this torch has no fp32_precision")
@pytest.mark.parametrize("state", ["matmul, old", "all"])
def test_what_inherits_still_does(state):
    code = COMPARED.format(allow=(ALLOWED | NEW)[state])
    code += "b.fp32_precision = 'none'\nassert b.mkldnn.matmul.fp32_precision == 'none'\n"
    code += "b.fp32_precision = 'tf32'\nassert b.mkldnn.matmul.fp32_precision == 'tf32'\n"
    assert run_alone(code) == ""


def test_nothing_is_said_about_it():
    _old_switches.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().decode(random(1, 4, 3, 2))


def test_each_item_is_let_go_of():
    made = pin_each(one for one in [torch.zeros(1)])
    item = next(made)
    assert not any(one is item for one in (*made.gi_frame.f_locals.values(), *made.gi_frame.f_locals["made"]))  # type: ignore[attr-defined]


def test_a_function_around_it_is_compiled_without_it():
    """Traced, the planning of a run would be: it failed with a second size, after half a minute of compiling."""
    vae, traced = network(), []

    def guide(x: torch.Tensor) -> torch.Tensor:
        return vae.decode(vae.encode(x * 0.5).mode() * 2, rows=4) + 1

    compiled = torch.compile(guide, backend=lambda graph, _: traced.append(graph) or graph.forward)
    for size in ((8, 8), (12, 8), (8, 16)):
        assert torch.equal(compiled(random(1, 3, *size)), guide(random(1, 3, *size)))
    assert traced and not any("conv" in str(node.target) for graph in traced for node in graph.graph.nodes)
