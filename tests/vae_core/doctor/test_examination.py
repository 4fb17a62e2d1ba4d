"""A device that is right is found right; one that lies is found out, and gone around from then on."""

import json
import math

import pytest
import torch
from exact_vae.vae_core import VAE, BadRequest, from_weights, verdicts
from exact_vae.vae_core.doctor import (
    Examination,
    cases,
    draw_errors,
    examine,
    format_lines,
    format_report,
    to_json,
    trials,
)
from exact_vae.vae_core.doctor.drawing import colour
from support import lying_devices
from support.random_networks import random_weights, small_kl
from support.small_networks import SMALL

SINGLE, HALF = torch.float32, torch.bfloat16
BOTH = (SINGLE, HALF)


@pytest.fixture(autouse=True, scope="module")
def few_runs():
    with pytest.MonkeyPatch.context() as patch:
        lying_devices.examine_briefly(patch)
        yield


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(verdicts.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_vae(dtype=SINGLE) -> VAE:
    return from_weights(random_weights("kl", small_kl()), "small.safetensors", dtype)


def look(vae: VAE, dtypes=BOTH, widths=(64,)) -> Examination:
    return examine(vae, widths=widths, dtypes=dtypes)


def image() -> torch.Tensor:
    return torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def honest(few_runs) -> Examination:
    return look(make_vae(), widths=(64, 80))


def test_no_state_of_the_process_changes_what_is_found():
    """Neither the chart, nor the exact results, nor the errors of rounding."""
    vae = make_vae()
    found = look(vae, dtypes=(SINGLE,))
    with torch.device("meta"), torch.autocast("cpu", HALF):
        torch.set_default_dtype(HALF)
        try:
            again = look(vae, dtypes=(SINGLE,))
            drawn = draw_errors(again)
        finally:
            torch.set_default_dtype(SINGLE)
    assert [trial.share for trial in again.trials] == [trial.share for trial in found.trials]
    assert torch.equal(again.chart, found.chart) and drawn.dtype is SINGLE and drawn.isfinite().all()


def test_an_honest_device_is_right(honest):
    assert all(trial.right and trial.share <= 1 for trial in honest.trials)
    assert [(t.dtype, t.size[1], t.half.verb, t.rows) for t in honest.trials[:5]] == [
        ("fp32", 64, "encode", 0), ("fp32", 64, "encode", 12), ("fp32", 64, "decode", 0), ("fp32", 64, "decode", 12),
        ("fp32", 80, "encode", 0),
    ]  # fmt: skip
    assert len(honest.trials) == 16 and honest.left_out == ("fp16",)
    assert not honest.verdict.faults
    sentence = honest.verdict.sentence
    assert sentence.startswith("fp32 and bf16 are right on ") and sentence.endswith(" is the fastest.")
    of = {dtype: [t.psnr for t in honest.trials if t.dtype == dtype] for dtype in ("fp32", "bf16")}
    assert min(of["fp32"]) > 110 and 30 < min(of["bf16"]) < max(of["bf16"]) < 80


def test_what_it_took_is_measured(honest):
    assert all(t.seconds > 0 and t.peak >= 0 and t.planned > 2**16 for t in honest.trials)


def test_the_report_is_a_table_and_the_same_as_json(honest):
    report, facts = format_report(honest), json.loads(json.dumps(to_json(honest), allow_nan=False))
    rows = [line for line in report.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 16 and len({len(row) for row in rows}) == 1
    assert report.startswith(honest.verdict.sentence) and "small.safetensors, Autoencoder-KL" in report
    assert facts["torch"] == torch.__version__ and facts["vae"] == make_vae().fingerprint
    assert [t["right"] for t in facts["trials"]] == [True] * 16 and facts["findings"]["bf16"]["encode"]["right"]
    lines = format_lines(honest).splitlines()
    assert [line.partition(":")[0] for line in lines[2:]] == [
        "fp32 encode",
        "fp32 decode",
        "bf16 encode",
        "bf16 decode",
    ]


def test_an_honest_device_is_blue(honest):
    drawn = draw_errors(honest)
    assert drawn.shape[:2] == (1, 3) and drawn.min() >= 0 and drawn.max() <= 1
    trial = honest.trials[-1]
    panel = drawn[0, :, -32 - 216 : -32, -16 - 288 : -16]  # the last one
    assert trial.shares.shape == (27, 36) and torch.equal(panel[:, ::8, ::8], colour(trial.shares))
    assert (panel[2] > panel[0]).float().mean() > 0.98  # of two draws, one part may be over
    red, white = colour(torch.tensor([[3.0, 1000.0]])).unbind(-1)
    assert red[0] > 0.7 > red[2] and (white == 1).all()


def test_the_vae_is_left_as_it_is(honest):
    vae = make_vae(HALF)
    before = {name: t.clone() for name, t in vae.network.state_dict().items()}
    look(vae, (SINGLE,))
    after = vae.network.state_dict()
    assert vae.dtype is HALF and all(torch.equal(t, after[name]) for name, t in before.items())


def test_lost_pads_are_found_and_gone_around(cache, monkeypatch, caplog):
    lying_devices.lose_pads(monkeypatch, HALF)
    found = look(make_vae())
    assert found.verdict.faults == ["bf16 encode"]
    assert "fp32 is right on" in found.verdict.sentence
    assert "bf16 encode is wrong (" in found.verdict.sentence and "it will run in fp32" in found.verdict.sentence
    assert "**" not in found.verdict.sentence and "WRONG" in format_report(found) and "WRONG" in format_lines(found)
    exact = make_vae(HALF).encode(image()).mode()  # nothing is kept yet
    verdicts.keep(found.verdict)
    caplog.clear()
    vae, plans = make_vae(HALF), []
    latent = vae.encode(image(), on_plan=plans.append).mode()
    assert torch.equal(latent, copy_in(SINGLE, vae).encode(image()).mode()) and not torch.equal(latent, exact)
    (record,) = caplog.records
    assert "'small.safetensors': the Doctor found bf16 encode wrong on" in record.message
    assert record.message.endswith("so it runs in fp32.")
    assert str(plans[0]).endswith("so it runs in fp32")
    vae.encode(image())
    assert len(caplog.records) == 1  # said once
    assert vae.plan("encode", (1, 3, 48, 64)).note and not vae.plan("decode", (1, 4, 12, 16)).note
    assert torch.equal(vae.decode(latent), copy_in(HALF, vae).decode(latent))  # which is right


def copy_in(dtype: torch.dtype, vae: VAE) -> VAE:
    """The VAE in this dtype, which goes around nothing."""
    return verdicts.copy_to(vae, vae.device, dtype)


def test_an_added_error_in_fp32_is_found_and_gone_around(cache, monkeypatch, caplog):
    """On a CPU itself there is only fp64 left, by which it was found out."""
    lying_devices.replace_conv2d(monkeypatch, SINGLE, lying_devices.add_error)
    found = look(make_vae(), (SINGLE,))
    assert found.verdict.faults == ["fp32 encode", "fp32 decode"]
    assert "no dtype is right in all on" in found.verdict.sentence and "in fp64" in found.verdict.sentence
    verdicts.keep(found.verdict)
    vae = make_vae()
    want = copy_in(torch.float64, vae)
    latent = vae.encode(image()).mode()
    assert torch.equal(latent, want.encode(image()).mode())
    assert torch.equal(vae.decode(latent), want.decode(latent))
    assert len(caplog.records) == 2


def test_rows_go_around_too(cache, monkeypatch):
    lying_devices.replace_conv2d(monkeypatch, SINGLE, lying_devices.add_error)
    verdicts.keep(look(make_vae(), (SINGLE,)).verdict)
    vae = make_vae()
    want = copy_in(torch.float64, vae)
    latent = vae.encode_rows(Rows(image()[0])).mode()
    assert torch.equal(latent, want.encode_rows(Rows(image()[0])).mode())
    bands = torch.cat(list(vae.decode_rows(latent, size=(48, 63))), 1)
    assert torch.equal(bands, torch.cat(list(want.decode_rows(latent, size=(48, 63))), 1))


class Rows:
    def __init__(self, pixels: torch.Tensor):
        self.pixels, self.shape = pixels, tuple(pixels.shape)

    def read(self):
        yield from self.pixels.split(16, 1)


def test_tf32_in_the_place_of_fp32_is_found(monkeypatch):
    lying_devices.replace_conv2d(monkeypatch, SINGLE, lying_devices.as_tf32)
    found = look(make_vae(), (SINGLE,))
    assert found.verdict.faults == ["fp32 encode", "fp32 decode"]
    assert "as if numbers were cut to the 11 bits of TF32" in found.verdict.sentence


def test_nan_is_counted(monkeypatch):
    lying_devices.replace_conv2d(monkeypatch, HALF, lying_devices.not_a_number)
    found = look(make_vae())
    wrong = [t for t in found.trials if t.dtype == "bf16"]
    assert all(t.right is False and t.broken == 4 * 12 * 16 * 2 for t in wrong if t.half.verb == "encode")
    assert all(t.broken == 3 * 48 * 64 for t in wrong if t.half.verb == "decode")
    assert "bf16 decode is wrong (9216 numbers are not finite): it will run in fp32" in found.verdict.sentence
    assert math.isinf(wrong[0].share) and draw_errors(found).isfinite().all()
    json.dumps(to_json(found), allow_nan=False)


def test_what_a_device_cannot_run_is_gone_around(monkeypatch):
    lying_devices.replace_conv2d(monkeypatch, HALF, lying_devices.fail)
    found = look(make_vae())
    why = "NotImplementedError: this device has no such convolution"
    assert f"bf16 encode is wrong ({why})" in found.verdict.sentence and why in format_report(found)


def test_a_lack_of_memory_says_nothing_of_numbers():
    found = examine(make_vae(), widths=(64,), dtypes=(SINGLE,), budget=1000)
    assert {t.right for t in found.trials} == {None} and not found.verdict.faults
    assert "too little memory to tell of fp32 encode and fp32 decode" in found.verdict.sentence
    assert "no memory" in format_report(found) and draw_errors(found).isfinite().all()
    assert found.verdict.find_way_around(found.trials[0].half, verdicts.Way(torch.device("cpu"), SINGLE)) is None


@pytest.mark.parametrize("kind", ["wan", "pixel"])
def test_other_families(kind):
    """A VAE of clips is shown a clip; one of other channels, ratios or halves what it takes."""
    family, config = SMALL[kind]
    found = examine(from_weights(random_weights(family, config)), widths=(64, 96), dtypes=(SINGLE,))
    assert all(trial.right for trial in found.trials), format_report(found)
    assert {t.frames for t in found.trials} == ({1, 5} if kind == "wan" else {1})


def test_half_a_vae():
    weights = {n: t for n, t in random_weights("kl", small_kl()).items() if "decoder" in n or "post_quant" in n}
    found = look(from_weights(weights), (SINGLE,))
    assert {t.half.verb for t in found.trials} == {"decode"} and all(t.right for t in found.trials)


def test_progress_is_told_to_its_end_and_may_stop_it():
    told = []
    examine(make_vae(), widths=(64,), dtypes=(SINGLE,), progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(len(told))) and told[-1][0] == told[-1][1]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(make_vae(), widths=(64,), progress=stop)


def test_a_chart_has_a_least_width():
    with pytest.raises(BadRequest, match="cannot be 32 pixels wide: choose 64 or more"):
        examine(make_vae(), widths=(32, 128))
    with pytest.raises(BadRequest, match="the Doctor examines fp32, bf16, fp16, not fp64"):
        examine(make_vae(), dtypes=(torch.float64,))


def test_a_processor_is_asked_for_what_it_computes_well(monkeypatch):
    monkeypatch.setattr("exact_vae.vae_core.devices.processor.has_bf16", lambda: False)
    assert examine(make_vae(), widths=(64,)).left_out == ("bf16", "fp16")


def test_a_device_without_a_dtype_is_gone_around(monkeypatch):
    def refuse(vae: VAE, device: torch.device, dtype: torch.dtype) -> VAE:
        raise TypeError("BFloat16 is not supported on MPS\nand more")

    vae = make_vae()
    cases_of_it = cases.make_cases(verdicts.copy_to(vae, vae.device, torch.float64), (64,), lambda: None)
    monkeypatch.setattr(trials, "copy_to", refuse)
    found = list(trials.run_trials(vae, verdicts.Way(vae.device, HALF), cases_of_it, None, lambda: None))
    assert [(t.right, t.fault) for t in found] == [(False, "TypeError: BFloat16 is not supported on MPS")] * 4


def test_a_device_without_room_for_the_weights(monkeypatch):
    def refuse(vae: VAE, device: torch.device, dtype: torch.dtype) -> VAE:
        raise torch.OutOfMemoryError("no room")

    vae = make_vae()
    cases_of_it = cases.make_cases(verdicts.copy_to(vae, vae.device, torch.float64), (64,), lambda: None)
    monkeypatch.setattr(trials, "copy_to", refuse)
    found = trials.run_trials(vae, verdicts.Way(vae.device, SINGLE), cases_of_it, None, lambda: None)
    assert {t.right for t in found} == {None}
