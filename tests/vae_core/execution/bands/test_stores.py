import errno
import io
import os

import pytest
import torch
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.execution.bands import stores
from exact_vae.vae_core.execution.bands.stores import (
    InMappedMemory,
    InSystemMemory,
    MappedMemory,
    OnDevice,
    OnDisk,
)
from support.small_networks import small

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [OnDevice, InMappedMemory, InSystemMemory, OnDisk])
def test_what_is_put_comes_back(make, dtype):
    store = make()
    bands = [torch.randn(1, 3, n, 5).to(dtype).contiguous(memory_format=torch.channels_last) for n in (1, 4, 2)]
    held = [store.put(band) for band in bands]
    for one, band in reversed(list(zip(held, bands, strict=True))):
        assert one.rows == band.shape[-2]
        assert torch.equal(one.get(), band) and torch.equal(one.get(), band)
        assert one.get().is_contiguous(memory_format=torch.channels_last)
        one.release()
    store.close()


def test_room_on_disk_is_used_again(tmp_path):
    store, band = OnDisk(tmp_path), torch.randn(1, 2, 3, 4)
    for _ in range(5):
        held = [store.put(band) for _ in range(2)]
        for one in held:
            one.release()
    assert store.end == 2 * band.nbytes


def test_the_scratch_file_has_no_name(tmp_path):
    store = OnDisk(tmp_path)
    store.put(torch.zeros(1, 1, 1, 1))
    if os.name == "posix":
        assert list(tmp_path.iterdir()) == []
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BadRequest, match="cannot be written"):
        OnDisk(tmp_path / "none")


def test_a_room_is_used_again_only_when_nothing_lies_in_it():
    rooms, shape = MappedMemory(), torch.Size((1, 2, 6, 4))
    first = rooms.tensor(shape, torch.float32).fill_(1)
    place, rest = first.data_ptr(), first[:, :, 2:4]
    del first
    second = rooms.tensor(shape, torch.float32).fill_(2)
    assert second.data_ptr() != place and (rest == 1).all()
    del rest
    assert rooms.tensor(shape, torch.float32).data_ptr() == place and (second == 2).all()


def test_rooms_of_another_size_are_given_back():
    rooms = MappedMemory()
    for rows in (6, 5):
        rooms.tensor(torch.Size((1, 2, rows, 4)), torch.float32)  # made and let go of
    assert sum(len(spare) for spare in rooms.free.values()) == 1


class FullFile(io.BytesIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("half", ["encode", "decode"])
def test_a_scratch_folder_that_is_too_small(monkeypatch, half):
    """The sentence says what was run, how large it is, and what can be done wherever the run was started."""
    vae = small("kl")
    monkeypatch.setattr(stores.tempfile, "TemporaryFile", lambda dir: FullFile())
    shape = (1, vae.in_channels, 96, 32) if half == "encode" else (1, vae.latent_channels, 24, 8)
    with pytest.raises(BadRequest) as found:
        getattr(vae, half)(torch.rand(shape), rows=8, keep="disk")
    said, size = str(found.value), "32x96" if half == "encode" else "8x24"
    assert f"{half[:-1]}ing 1 x {size} with '{vae.name}' stopped: the scratch file in " in said
    assert "No space left on device; make room there, name a folder with more of it in EXACT_VAE_SCRATCH" in said
