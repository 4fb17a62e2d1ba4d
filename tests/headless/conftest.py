"""The core nodes, with folders of their own."""

import pytest
from exact_vae.headless import core_nodes
from exact_vae.headless.folders import Folders
from PIL import Image


@pytest.fixture
def folders(tmp_path) -> Folders:
    made = Folders(tmp_path / "in", tmp_path / "out", tmp_path / "temp")
    made.input.mkdir()
    return made


@pytest.fixture
def nodes(folders):
    return core_nodes(folders.input, folders.output, folders.temp, {})


@pytest.fixture
def put(folders):
    def save(image: Image.Image, name: str = "x.png", **options) -> str:
        path = folders.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
        return name

    return save


@pytest.fixture
def load(nodes):
    def read(name):
        return nodes["LoadImage"]().load_image(name)

    return read


@pytest.fixture
def save(nodes):
    def write(images, prefix="pic", **hidden):
        return nodes["SaveImage"]().save_images(images, prefix, **hidden)["ui"]["images"]

    return write
