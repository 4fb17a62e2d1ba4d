"""Sentences of errors are short whatever they name, and their classes show by name alone."""

import copy
import errno
import pickle
import traceback

import pytest
import torch
from exact_vae.headless import GraphError
from exact_vae.vae_core import errors
from exact_vae.vae_core.errors import (
    NumericalOverflow,
    UnsupportedCheckpoint,
    VAEError,
    may_be_out_of_memory,
    shorten,
)

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


# What libraries raise as RuntimeError, as it was seen.
NO_MEMORY = {
    "CUDA": "CUDA error: out of memory",
    "HIP": "HIP out of memory. Tried to allocate 2.00 GiB.",
    "Triton": "Triton Error [CUDA]: out of memory",
    "MPS": "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
    "MPS, one tensor": "Invalid buffer size: 19.38 GiB",
    "CPU": "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    "CPU of Windows": "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to",
    "mmap": "unable to mmap 6417182 bytes from file <x>: Cannot allocate memory (12)",
    "cuBLAS": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN 8": "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN 9": "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN 9, host": "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "XPU": "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
    "XPU, host": "level_zero backend failed with error: 38 (UR_RESULT_ERROR_OUT_OF_HOST_MEMORY)",
    "XPU, resources": "level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)",
    "XPU, one tensor": "Current platform can NOT allocate memory block with size larger than 4GB!",
    "oneDNN": "could not create a memory object",
}
# What is said if memory is full, and also for ops that there is nothing for.
NO_ENGINE = {
    "cuDNN, GET": "GET was unable to find an engine to execute this computation",
    "cuDNN, FIND": "FIND was unable to find an engine to execute this computation",
    "MIOpen": "miopenStatusUnknownError",
    "MIOpen, internal": "miopenStatusInternalError",
}
OTHERS = ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", "MIOpen Error: miopenStatusBadParm", "out of resource: shared")


@pytest.mark.parametrize("who", NO_MEMORY)
def test_memory_that_runs_out_is_told_by_whoever_ran_out_of_it(who):
    told = RuntimeError(NO_MEMORY[who])
    assert errors.is_out_of_memory(told) and may_be_out_of_memory(told)


@pytest.mark.parametrize("who", NO_ENGINE)
def test_what_may_come_of_memory_is_not_said_to_come_of_it(who):
    told = RuntimeError(NO_ENGINE[who])
    assert may_be_out_of_memory(told) and not errors.is_out_of_memory(told)


def test_kinds_of_errors_tell_of_memory_too():
    assert all(map(errors.is_out_of_memory, (MemoryError(), OSError(errno.ENOMEM, "x"), torch.OutOfMemoryError("x"))))
    others = (OSError(errno.ENOENT, "x"), ValueError("out of memory"), *map(RuntimeError, OTHERS))
    assert not any(map(may_be_out_of_memory, others))
