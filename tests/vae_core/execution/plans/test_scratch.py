"""Scratch files lie on a disk, and the plan counts the room of the very folder they will lie in."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.execution.bands.stores import OnDisk
from exact_vae.vae_core.execution.plans import choose as planning
from exact_vae.vae_core.execution.plans import scratch

Mount = namedtuple("Mount", "mountpoint fstype")


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """The temporary folder is memory, so is the home's cache; /var/tmp is not there."""
    folders = {name: tmp_path / name for name in ("temp", "home", "here")}
    for folder in folders.values():
        folder.mkdir()
    (folders["home"] / ".cache").mkdir()
    kinds = {"/": "ext4", str(folders["temp"]): "tmpfs", str(folders["home"]): "ramfs", "/var/tmp": "tmpfs"}
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Mount(*one) for one in kinds.items()])
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(folders["temp"]))
    monkeypatch.setattr(Path, "home", lambda: folders["home"])
    monkeypatch.chdir(folders["here"])
    monkeypatch.delenv(scratch.VARIABLE, raising=False)
    return kinds, folders


def test_memory_is_told_from_a_disk(mounted):
    _, folders = mounted
    assert scratch.in_memory(folders["temp"]) and scratch.in_memory(folders["home"] / ".cache" / "deeper")
    assert not scratch.in_memory(folders["here"])


def test_the_temporary_folder_is_taken_if_it_is_on_a_disk(mounted):
    kinds, folders = mounted
    kinds[str(folders["temp"])] = "ext4"
    assert scratch.folder() == folders["temp"]


def test_otherwise_another_that_is(mounted):
    _, folders = mounted
    assert scratch.folder() == folders["here"]
    assert scratch.free() > 0


def test_memory_is_not_counted_as_a_disk(mounted):
    kinds, folders = mounted
    kinds["/"] = "tmpfs"
    assert scratch.folder() == folders["temp"]
    assert scratch.free() == 0


def test_a_named_folder_is_taken_whatever_it_is(mounted, monkeypatch):
    _, folders = mounted
    monkeypatch.setenv(scratch.VARIABLE, str(folders["temp"]))
    assert scratch.folder() == folders["temp"]
    assert scratch.free() > 0


def test_plan_and_store_agree(mounted, monkeypatch):
    _, folders = mounted
    asked = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage(path))
    planning.FreeElsewhere(torch.device("cpu"))["disk"]
    store = OnDisk()
    assert asked == [store.folder] == [folders["here"]]
    store.close()


def test_a_name_of_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(scratch.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(BadRequest, match=r"there is no folder '.*none' for scratch files: EXACT_VAE_SCRATCH must name"):
        scratch.folder()
