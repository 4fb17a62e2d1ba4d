"""Sentences of errors are short whatever they name, and their classes show by name alone."""

import copy
import errno
import pickle
import traceback

import pytest
from exact_vae.headless import GraphError
from exact_vae.vae_core import errors
from exact_vae.vae_core.errors import NumericalOverflow, UnsupportedCheckpoint, VAEError, shorten

CLASSES = [VAEError, *(one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, VAEError))]


@pytest.mark.parametrize("kind", [*dict.fromkeys(CLASSES), GraphError], ids=lambda kind: kind.__name__)
def test_a_class_shows_by_its_name(kind):
    """ComfyUI puts the module before it unless that is builtins; a traceback does so too."""
    assert (kind.__module__, kind.__qualname__) == ("builtins", kind.__name__)
    assert traceback.format_exception_only(kind("it is so.")) == [f"{kind.__name__}: it is so.\n"]


def test_errors_are_copied_with_all_they_say():
    for error in (NumericalOverflow("a", 7), UnsupportedCheckpoint("b", "X"), GraphError("c", {"x": 1})):
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_sentences_are_short():
    name = "x" * 100_000
    said = str(VAEError(f"'{name}' is no file, and '{name}' neither."))
    assert len(said) < 700 and said.startswith("'xxx") and said.endswith("xxx' neither.")
    assert len(str(VAEError("a b " * 100_000))) < errors.LONGEST_SENTENCE
    assert str(VAEError("'" + "y" * 255 + "' is whole")) == "'" + "y" * 255 + "' is whole"
    assert shorten(shorten(name)) == shorten(name)


def test_sentences_stay_on_their_line():
    assert str(VAEError("'a\nb\x1b[2J\0' is no é")) == "'a\\nb\\x1b[2J\\x00' is no é"


def test_memory_that_runs_out_is_told_by_whoever_ran_out_of_it():
    told = (
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("unable to mmap 6417182 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    )
    assert all(map(errors.is_out_of_memory, told))
    assert not any(map(errors.is_out_of_memory, (OSError(errno.ENOENT, "x"), ValueError("out of memory"))))
