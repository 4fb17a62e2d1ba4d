"""What people's files are: the command line and the nodes say what `load` says, in one sentence, and need not write."""

import pytest
import torch
from exact_vae.cli import main
from exact_vae.nodes import host
from exact_vae.vae_core import VAEError, inspect, load
from exact_vae.vae_core.reports import survey_files
from safetensors.torch import save_file
from support.node_calls import call, text
from support.odd_files import READ, REFUSED, write_flax, write_index
from support.random_networks import random_weights, small_kl


@pytest.fixture(scope="module")
def weights():
    return random_weights("kl", small_kl())


@pytest.fixture
def folder(tmp_path):
    """models/vae"""
    (tmp_path / "vae").mkdir()
    with host.surroundings(tmp_path):
        yield tmp_path / "vae"


def holds(vae, weights) -> bool:
    found = vae.network.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def refuse(do, *arguments, **named) -> str:
    with pytest.raises(VAEError) as e:
        do(*arguments, **named)
    return str(e.value)


@pytest.mark.parametrize("name", READ)
def test_files_that_are_read(folder, weights, capsys, name):
    READ[name](folder / name, weights)
    assert main(["inspect", str(folder / name)]) == 0 and "Autoencoder-KL" in capsys.readouterr().out
    assert "Autoencoder-KL" in text("ExactVAEInfo", vae_name=name)
    assert holds(call("ExactVAELoader", vae_name=name), weights)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(folder, weights, capsys, name):
    """By the node with a hint, if ComfyUI runs such a VAE. What only lacks tensors is inspected nevertheless."""
    path = folder / name
    REFUSED[name](path, weights)
    save_file({"latent_tensor": torch.zeros(1, 4, 4, 4)}, folder / "a.latent")
    said = refuse(load, path).replace(str(path), name)
    assert name in said and "\n" not in said and said.endswith(".")
    assert survey_files([path])[0].problem.replace(str(path), name) == said
    assert main(["inspect", "--problems", str(path)]) == 0
    assert main(["decode", str(folder / "a.latent"), str(folder / "a.png"), "--vae", str(path)]) == 1
    printed = "".join(capsys.readouterr()).replace(str(path), name)
    assert printed.endswith(f"{said}\n") and "Traceback" not in printed and "code ran" not in printed
    seen = refuse(call, "ExactVAELoader", vae_name=name).replace(str(path), name)
    assert seen == said or (seen.startswith(said) and "ComfyUI has run it since" in seen)
    if name == "lost.safetensors":
        assert "missing" in text("ExactVAEInfo", vae_name=name)
    else:
        assert refuse(inspect, path) == refuse(call, "ExactVAEInfo", vae_name=name)
        assert refuse(inspect, path).replace(str(path), name) == said
        assert main(["inspect", str(path)]) == 1
        assert capsys.readouterr().err.replace(str(path), name).endswith(f"{said}\n")


def test_weights_of_flax_alone_in_a_folder(tmp_path):
    write_flax(tmp_path / "diffusion_flax_model.msgpack")
    wanted = (
        r"flax_model\.msgpack' is a MessagePack file, weights as Flax writes them.*: take the \.safetensors or \.bin"
    )
    for path in (tmp_path, tmp_path / "diffusion_flax_model.msgpack"):
        with pytest.raises(VAEError, match=wanted):
            load(path)


@pytest.mark.parametrize(
    "parts",
    [("parts/1.safetensors", "parts/2.safetensors"), ("a/x.safetensors", "b/x.safetensors"), ("1.sft", "more/2.sft")],
)
def test_an_index_of_parts_in_folders(tmp_path, weights, parts):
    index = write_index(tmp_path, weights, *parts)
    for path in (tmp_path, index):
        assert holds(load(path), weights)
    index.write_text(index.read_text().replace("/", r"\\"))
    assert holds(load(index), weights)
    (tmp_path / parts[1]).unlink()
    assert "names files that are not beside it" in refuse(load, index)


@pytest.mark.parametrize("lead", ["../", "/", "C:/", "a/../../"])
def test_an_index_leads_out_of_no_folder(tmp_path, weights, lead):
    """What lies elsewhere is not opened, whatever the index says; what has that name beside it is."""
    (tmp_path / "in").mkdir()
    write_index(tmp_path, weights, "1.safetensors", "2.safetensors")
    index = write_index(tmp_path / "in", weights, "1.safetensors", "2.safetensors")
    index.write_text(index.read_text().replace('"1.safe', f'"{lead}1.safe'))
    assert holds(load(index), weights)
    (tmp_path / "in" / "1.safetensors").unlink()
    assert "names files that are not beside it" in refuse(load, index)


def test_nothing_is_written(folder, weights, capsys):
    """So folders that nobody may write to will do."""
    for name, make in READ.items():
        make(folder / name, weights)
    (folder / "model").mkdir()
    write_index(folder / "model", weights, "1.safetensors", "2.safetensors")
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o500 if place.is_dir() else 0o400)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in places}
    try:
        assert all(holds(load(folder / name), weights) for name in (*READ, "model"))
        assert main(["inspect", str(folder)]) == 0 and "7 of 7 would load" in capsys.readouterr().out
        assert holds(call("ExactVAELoader", vae_name="plain.safetensors"), weights)
        found = [folder, *folder.rglob("*")]
        assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found} == before
    finally:
        for place in places:
            place.chmod(0o700)


def test_of_several_files_those_that_are_not_there_are_refused(folder, weights, capsys):
    save_file(weights, folder / "plain.safetensors")
    (folder / "linked.safetensors").symlink_to(folder / "nowhere")
    (folder / "empty").mkdir()
    assert main(["inspect", str(folder)]) == 0, "what a folder holds is listed, a link to nothing too"
    assert "linked.safetensors" in capsys.readouterr().out
    for given, said in (("lost.safetensors", "there is no file"), ("empty", "there is no file of weights in")):
        assert main(["inspect", str(folder / "plain.safetensors"), str(folder / given)]) == 1
        told = capsys.readouterr()
        assert "plain.safetensors" in told.out and told.err == f"exact-vae: {said} '{folder / given}'.\n"
