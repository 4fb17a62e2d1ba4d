"""Files whose tensors are mapped into memory: checked before a number is used, and looked at again before each run."""

import os
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import BrokenCheckpoint, load, save
from exact_vae.vae_core.checkpoints import in_space, seals
from exact_vae.vae_core.checkpoints.files import open_checkpoint
from exact_vae.vae_core.errors import UnknownCheckpoint
from safetensors.torch import save_file
from support.random_networks import random_weights, small_kl

Z = torch.linspace(-1, 1, 4 * 16).reshape(1, 4, 4, 4)


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


@pytest.fixture(params=["a.safetensors", "a.pt"])
def path(request, tmp_path, weights):
    path = tmp_path / request.param
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return path


def write_into(path: Path, at: int = -1000) -> None:
    """Other numbers of the same length, as a program gives them that goes on with a download."""
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END)
        file.write(b"\x55" * 100)


def make_older(path: Path) -> None:
    """As if it had been written long ago, so that the clock's steps do not matter."""
    os.utime(path, ns=(10**18, 10**18))


def entry_of(path: Path, name: str) -> tuple[int, int]:
    """(where its bytes begin, how many)"""
    with zipfile.ZipFile(path) as archive:
        found = next(entry for entry in archive.infolist() if entry.filename.endswith(name))
    with path.open("rb") as file:
        file.seek(found.header_offset)
        header = file.read(30)
    return found.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(
        header[28:30], "little"
    ), found.file_size


def test_one_bit_of_a_pickle_is_noticed(tmp_path, weights):
    """It was loaded, inspected as whole and saved on."""
    path = tmp_path / "bent.pt"
    torch.save(weights, path)
    begin, size = entry_of(path, "/data/7")
    with path.open("r+b") as file:
        file.seek(begin + size // 2)
        byte = file.read(1)[0]
        file.seek(begin + size // 2)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(BrokenCheckpoint, match=r"numbers of '.*' are not those saved"):
        load(path)


def test_what_was_checked_is_trusted_until_the_file_changes(tmp_path, weights, monkeypatch):
    """By its mark: name, number, size and time."""
    torch.save(weights, path := tmp_path / "a.pt")
    checked: list[int] = []
    compute = zlib.crc32
    monkeypatch.setattr(seals.zlib, "crc32", lambda numbers: checked.append(len(numbers)) or compute(numbers))
    for times in (1, 1):
        assert torch.equal(load(path).network.decoder.conv_in.weight, weights["decoder.conv_in.weight"])
        assert len(checked) == times * len(weights)
    os.utime(path, ns=(0, 0))
    load(path)
    assert len(checked) == 2 * len(weights)


@pytest.mark.skipif(not hasattr(torch.serialization, "set_crc32_options"), reason="torch 2.5 always writes them")
def test_a_pickle_without_checksums_is_read(tmp_path, weights):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(load(tmp_path / "a.pt").decode(Z), load_same(weights, tmp_path).decode(Z))


def load_same(weights, folder):
    save_file(weights, folder / "same.safetensors")
    return load(folder / "same.safetensors")


def test_only_tensors_that_are_used_are_read(tmp_path, weights):
    """Of a full checkpoint the rest may be of any length."""
    path = tmp_path / "full.ckpt"
    rest = {"model.diffusion_model.x": torch.arange(5000.0)}
    torch.save({**{f"first_stage_model.{n}": t for n, t in weights.items()}, **rest}, path)
    with zipfile.ZipFile(path) as archive:
        name = next(entry.filename for entry in archive.infolist() if entry.file_size == 20000)
    begin, _ = entry_of(path, name.partition("/")[2])
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\x55")
    load(path)


def test_shared_and_cut_storages_are_compared_as_they_lie(tmp_path, weights):
    """A view of a longer storage, and two tensors of one storage."""
    longer = {n: torch.cat([t.flatten(), t.flatten()])[: t.numel()].reshape(t.shape) for n, t in weights.items()}
    torch.save(longer, tmp_path / "views.pt")
    assert torch.equal(load(tmp_path / "views.pt").decode(Z), load_same(weights, tmp_path).decode(Z))


def test_numbers_that_a_file_does_not_hold(tmp_path, weights):
    """A stride of 0 makes any number of numbers from one."""
    path = tmp_path / "huge.pt"
    torch.save({**weights, "decoder.conv_in.bias": torch.zeros(1).expand(2**40)}, path)
    with pytest.raises(BrokenCheckpoint, match="has 1099511627776 numbers, of which the file holds only 1"):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", ["sparse", "quantised", "meta"])
@pytest.mark.filterwarnings("ignore")
def test_odd_tensors_in_a_pickle(tmp_path, weights, kind):
    x = torch.rand(4, 4)
    odd = {
        "sparse": x.to_sparse(),
        "quantised": torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "meta": x.to("meta"),
    }
    torch.save({**weights, "x": odd[kind]}, tmp_path / "odd.pt")
    with pytest.raises((UnknownCheckpoint, BrokenCheckpoint)):
        load(tmp_path / "odd.pt")


def test_a_file_that_was_written_to_is_not_run(path):
    make_older(path)
    vae = load(path)
    want = vae.decode(Z)
    vae.findings.fingerprint = None  # where somebody has asked the Doctor about a VAE, the run needed it already
    write_into(path)
    for use in (lambda: vae.decode(Z), lambda: next(vae.decode_rows(Z)), lambda: vae.encode(torch.zeros(1, 3, 8, 8)),
                lambda: vae.fingerprint, lambda: save(vae, path.with_name("b.safetensors"))):  # fmt: skip
        with pytest.raises(BrokenCheckpoint, match=r"has been written to since .* mapped=False copies them"):
            use()
    assert not path.with_name("b.safetensors").exists() and want.isfinite().all()


def test_a_file_that_was_cut_off_is_not_run(path):
    """The process would end at the first number beyond its end."""
    vae = load(path)
    os.truncate(path, 4096)
    with pytest.raises(BrokenCheckpoint, match="has been written to"):
        vae.decode(Z)


def test_a_file_that_was_deleted_or_replaced_goes_on(path, weights):
    vae = load(path)
    want = vae.decode(Z)
    other = path.with_name("other")
    other.write_bytes(b"x" * 5000)
    os.replace(other, path)
    assert torch.equal(vae.decode(Z), want)
    path.unlink()
    assert torch.equal(vae.decode(Z), want)


def test_copied_weights_do_not_need_their_file(path):
    vae = load(path, mapped=False)
    want = vae.decode(Z)
    make_older(path)
    write_into(path)
    os.truncate(path, 100)
    assert not vae.mapped and torch.equal(vae.decode(Z), want)


def test_weights_that_were_cast_or_moved_do_not_need_it_either(path):
    cast, moved = load(path, dtype=torch.float64), load(path).to(torch.float64)
    want = cast.decode(Z)
    os.truncate(path, 100)
    assert torch.equal(cast.decode(Z), want) and torch.equal(moved.decode(Z), want)


def test_what_was_made_of_a_mapped_vae_is_looked_at_too(tmp_path):
    from exact_vae.vae_core.families.tiny import FAMILY

    path = tmp_path / "tiny.safetensors"
    save_file(random_weights("tiny", FAMILY.example), path)
    vae = in_space(load(path), "sd1")
    os.truncate(path, 1000)
    with pytest.raises(BrokenCheckpoint, match="has been written to"):
        vae.decode(Z)


def test_a_file_that_changes_between_its_header_and_its_tensors(path, weights):
    """The header that was checked is of another file."""
    checkpoint = open_checkpoint(path)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)
    with pytest.raises(BrokenCheckpoint, match="was changed while it was read"):
        dict(checkpoint.tensors(weights))
