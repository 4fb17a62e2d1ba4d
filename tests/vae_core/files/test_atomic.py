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
