"""The dtype for a device."""

import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.dtypes import at_least_fp32, choose_dtype, parse_dtype

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
F64, F32, F16, BF16 = torch.float64, torch.float32, torch.float16, torch.bfloat16


@pytest.mark.parametrize(
    ("device", "own", "asked", "has_bf16", "want"),
    [
        (CPU, F32, None, True, F32),
        (CPU, F16, None, True, F32),
        (CPU, F32, F16, True, F32),
        (CPU, BF16, None, True, BF16),
        (CPU, BF16, None, False, F32),
        (CPU, F32, BF16, False, BF16),
        (CPU, torch.float8_e4m3fn, None, True, F32),
        (CUDA, F32, None, True, BF16),
        (CUDA, F32, None, False, F32),
        (CUDA, F16, None, False, F32),
        (CUDA, F16, None, True, BF16),
        (CUDA, F32, F16, True, F16),
        (CUDA, F64, None, True, F64),
        (MPS, BF16, None, True, F32),
        (MPS, F16, None, True, F32),
        (MPS, F32, BF16, True, BF16),
    ],
)
def test_choice(monkeypatch, device, own, asked, has_bf16, want):
    monkeypatch.setattr("exact_vae.vae_core.dtypes._cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr("exact_vae.vae_core.dtypes._cuda_has_bf16", lambda device: has_bf16)
    assert choose_dtype(device, own, asked) is want


def test_names():
    assert (parse_dtype("auto"), parse_dtype("bf16"), parse_dtype("fp32")) == (None, BF16, F32)
    with pytest.raises(BadRequest, match="there is no dtype 'int4': choose auto, fp32, bf16, fp16, fp64"):
        parse_dtype("int4")
    with pytest.raises(BadRequest, match=r"cannot run in torch\.int8"):
        choose_dtype(CPU, F32, torch.int8)
    with pytest.raises(BadRequest, match="cannot run in 'bf16'"):
        choose_dtype(CPU, F32, "bf16")


def test_at_least_fp32():
    assert [at_least_fp32(d) for d in (F16, BF16, F32, F64)] == [F32, F32, F32, F64]
