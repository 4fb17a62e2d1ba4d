import os
import stat
from pathlib import Path

import pytest
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.files.atomic import make_folder, write_atomically

TOO_LONG = "x" * 300  # for a name of any file system


def test_a_folder_is_made_with_all_above_it(tmp_path):
    for _ in range(2):
        assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRequest, match=r"file' cannot be written: it is a file, not a folder\."):
        make_folder(tmp_path / "file")
    with pytest.raises(BadRequest, match=r"cannot be written: Not a directory\."):
        make_folder(tmp_path / "file" / "folder")
    with pytest.raises(BadRequest, match=r"cannot be written: File name too long\."):
        make_folder(tmp_path / TOO_LONG)


def test_a_name_that_cannot_be_looked_at(tmp_path):
    with (
        pytest.raises(BadRequest, match=r"cannot be written: File name too long\."),
        write_atomically(tmp_path / TOO_LONG) as p,
    ):
        p.write_text("")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_replaces_a_private_file_is_private(tmp_path):
    target = tmp_path / "a.bin"
    for mode in (0o600, 0o664):
        target.write_text("old")
        target.chmod(mode)
        with write_atomically(target) as part:
            part.write_text("new")
        assert target.read_text() == "new" and stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for few")
def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    """A model in a folder of models may be a link into a cache whose files are named by what they hold."""
    blob, link = tmp_path / "blob", tmp_path / "model"
    blob.write_text("old")
    blob.chmod(0o400)
    link.symlink_to(blob)
    with write_atomically(link) as part:
        part.write_text("new")
    assert blob.read_text() == "old" and link.read_text() == "new" and not link.is_symlink()
    assert os.access(link, os.W_OK)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="there are no devices here")
def test_a_device_is_no_folder():
    with pytest.raises(BadRequest, match="'/dev/null' cannot be written: it is a device, a pipe or a link to nothing"):
        make_folder(Path("/dev/null"))
