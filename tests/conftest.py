"""What several tests need: real files beside the project, and files of small random networks."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from exact_vae.vae_core.files import atomic
from safetensors.torch import load_file, save_file
from support.random_networks import random_weights, small_kl

if "PYTEST_XDIST_WORKER" in os.environ:  # a process for each core: threads would only wait for one another
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for processes that tests start

if not hasattr(torch, "accelerator"):  # torch 2.5: diffusers from 0.37 on asks for it when it is imported
    torch.accelerator = SimpleNamespace(is_available=lambda: False)

# No test reads or writes what the Doctor has found out on this machine.
os.environ["EXACT_VAE_CACHE"] = str(Path(tempfile.gettempdir()) / f"exact-vae-tests-{os.getpid()}")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def parts_stay_what_they_are() -> Iterator[None]:
    """Whoever writes a part writes into the file that is there: another in its place has no lock, and other rights."""
    open_part = atomic.open_part

    @contextmanager
    def open_and_look(folder: Path) -> Iterator[Path]:
        with open_part(folder) as part:
            made = os.open(part, os.O_RDONLY)
            try:
                yield part
                if threading.current_thread() is threading.main_thread():  # others may write one name at once
                    assert os.fstat(made).st_nlink, "what was written is not the file that was locked"
            finally:
                os.close(made)

    if os.name == "nt":
        yield  # where an open file cannot be moved
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "open_part", open_and_look)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real weights; they are beside the project on its own machines and nowhere else."""
    if not (SHARED / "weights").is_dir():
        pytest.skip("needs the real weights of ../shared/weights")
    return SHARED


@pytest.fixture(scope="session")
def taef2(shared) -> tuple[Path, Path]:
    return shared / "weights" / "taef2_encoder.pth", shared / "weights" / "taef2_decoder.pth"


@pytest.fixture
def kl_file(tmp_path) -> Path:
    """A small KL autoencoder of random weights, as a file with CompVis names."""
    path = tmp_path / "small.safetensors"
    save_file(random_weights("kl", small_kl()), path)
    return path


@pytest.fixture
def photo(shared) -> torch.Tensor:
    """A photograph as IMAGE (1, 256, 320, 3) in [0, 1]."""
    image = load_file(shared / "weights" / "taef2_reference.safetensors")["image_u8"]
    return image[None].float() / 255
