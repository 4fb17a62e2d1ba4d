"""Which processors compute half precision faster in fp32."""

import pytest
import torch
from exact_vae.vae_core.devices import processor


@pytest.fixture(autouse=True)
def forget():
    """What is known of this machine's own."""
    for known in (processor.has_bf16, processor.is_faster_in_fp32):
        known.cache_clear()
    yield
    for known in (processor.has_bf16, processor.is_faster_in_fp32):
        known.cache_clear()


PROCESSORS = [  # avx512_bf16, AMX, vendor; is fp32 faster than bf16?
    (False, False, "GenuineIntel", True),
    (False, False, "AuthenticAMD", True),
    (True, False, "GenuineIntel", True),
    (True, True, "GenuineIntel", False),
    (True, False, "AuthenticAMD", False),
]


@pytest.mark.parametrize(("bf16", "amx", "vendor", "faster"), PROCESSORS)
@pytest.mark.parametrize("system", ["linux", "windows", "unknown"])
def test_of_bf16_it_goes_by_what_multiplies(bf16, amx, vendor, faster, system, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    listed = tmp_path / "cpuinfo"
    if system == "linux":
        listed.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    name = f"Family 25 Model 97 Stepping 2, {vendor}" if system == "windows" else ""
    monkeypatch.setattr(processor, "LISTED", listed)
    monkeypatch.setattr("platform.processor", lambda: name)
    known = system != "unknown" or vendor != "AuthenticAMD"
    assert processor.is_faster_in_fp32(torch.bfloat16) is (faster or not known)
    assert processor.has_bf16() is bf16


def test_fp16_always_is_and_what_is_no_half_precision_never(monkeypatch):
    assert processor.is_faster_in_fp32(torch.float16)
    assert not processor.is_faster_in_fp32(torch.float32) and not processor.is_faster_in_fp32(torch.float64)


def test_a_torch_without_these_questions_has_no_such_processor(monkeypatch):
    for question in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, question, raising=False)
    assert not processor.has_bf16() and processor.is_faster_in_fp32(torch.bfloat16)
