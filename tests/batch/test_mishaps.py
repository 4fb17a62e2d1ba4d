"""What fails for a reason that says nothing of the image is told apart, and tried again by the next run."""

import errno
import json
import os

import pytest
import torch
from exact_vae.batch import Loading, Recipe, Request, Store, build
from exact_vae.batch import encoding as encoding_
from exact_vae.batch import planning as planning_
from exact_vae.batch.mishaps import may_pass
from exact_vae.batch.shards import open_shard
from exact_vae.cli import main
from exact_vae.vae_core import BadPixels, DoesNotFit


def request(photos, out) -> Request:
    return Request(photos, out, Loading(dtype=torch.float32), Recipe((32, 32), 16, flip=True))


def tensors(out) -> dict[str, torch.Tensor]:
    found = {}
    for name in Store(out).list_shards():
        with open_shard(out / "shards" / name) as file:
            found |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return found


def reasons(out) -> dict[str, tuple[str, bool]]:
    return {one.path: (one.reason, one.again) for one in Store(out).read_skipped()}


def fail(monkeypatch, module, function: str, path: str, error: Exception) -> None:
    """Let a function fail for one image."""
    whole = getattr(module, function)

    def failing(first, *others):
        if path in str(getattr(first, "source", first)):
            raise error
        return whole(first, *others)

    monkeypatch.setattr(module, function, failing)


@pytest.mark.parametrize(
    "error", [DoesNotFit("it takes more"), OSError(errno.EIO, "Input/output error")], ids=["memory", "disk"]
)
def test_an_image_that_failed_for_a_mishap_is_tried_again(error, photos, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as broken:
        fail(broken, encoding_, "load_pixels", "1.png", error)
        report = build(request(photos, out))
    said = error.strerror if isinstance(error, OSError) else str(error)
    assert (report.latents, report.again) == (6, 1) and reasons(out)["1.png"] == (said, True)
    assert main(["cache", "info", str(out)]) == 0
    assert f"1: {said} (tried again by the next run)" in capsys.readouterr().out
    report = build(request(photos, out))
    assert (report.latents, report.encoded, report.again) == (8, 2, 0) and "1.png" not in reasons(out)
    build(request(photos, tmp_path / "whole"))
    found, whole = tensors(out), tensors(tmp_path / "whole")
    assert found.keys() == whole.keys() and all(torch.equal(found[key], whole[key]) for key in whole)


def test_it_fails_again_or_turns_out_to_be_broken(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for error, again in ((DoesNotFit("first"), True), (DoesNotFit("second"), True), (BadPixels("it is bent"), False)):
        with monkeypatch.context() as broken:
            fail(broken, encoding_, "load_pixels", "1.png", error)
            build(request(photos, out))
        assert reasons(out)["1.png"] == (str(error), again)
    assert build(request(photos, out)).encoded == 0, "what is broken is not tried again"


def test_a_source_that_cannot_be_looked_at_for_now(photos, tmp_path, monkeypatch):
    """It is not new when it can be read, and not gone when it cannot any more."""
    out = tmp_path / "out"
    with monkeypatch.context() as broken:
        fail(broken, planning_, "digest", "2.png", OSError(errno.ESTALE, "Stale file handle"))
        assert build(request(photos, out)).again == 1
    assert build(request(photos, out)).latents == 8
    index = (out / "index.jsonl").read_text()
    real = os.stat

    def stat(path, **more):
        if str(path).endswith("2.png"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, **more)

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", stat)
        assert build(request(photos, out)).latents == 8
    assert (out / "index.jsonl").read_text() == index


def test_what_is_a_mishap():
    damage = BadPixels("cannot read 'x' as an image: broken")
    assert not may_pass(damage) and not may_pass(OSError(errno.EINVAL, "Invalid argument"))
    assert not may_pass(OSError("image file is truncated"))
    damage.__cause__ = OSError(errno.EIO, "Input/output error")
    assert may_pass(damage) and may_pass(MemoryError()) and may_pass(PermissionError(errno.EACCES, "denied"))


def test_caches_of_before_are_read(photos, tmp_path):
    build(request(photos, tmp_path / "out"))
    path = tmp_path / "out" / "skipped.jsonl"
    lines = [{k: v for k, v in json.loads(line).items() if k != "again"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert build(request(photos, tmp_path / "out")).encoded == 0
