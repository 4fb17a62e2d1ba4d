"""Tables of whole folders: every file is told, none ends the table."""

import json

import pytest
import torch
from exact_vae.cli import main
from exact_vae.vae_core import VAEError, load
from exact_vae.vae_core.reports import format_survey, list_weights, survey_files
from safetensors.torch import save_file
from support.headers import header
from support.random_networks import random_weights, small_kl


@pytest.fixture
def models(tmp_path):
    """As people's folders are: VAEs, a model of diffusers, parts, other networks, a page saved as a file."""
    weights = random_weights("kl", small_kl())
    for folder in ("vae", "loras", "hub/model/vae", "parts"):
        (tmp_path / folder).mkdir(parents=True)
    save_file(weights, tmp_path / "vae" / "good.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "vae" / "good.ckpt")
    save_file({n: t for n, t in list(weights.items())[1:]}, tmp_path / "vae" / "lacks.safetensors")
    save_file(weights, tmp_path / "hub" / "model" / "vae" / "diffusion_pytorch_model.safetensors")
    save_file(
        {"a.lora_up.weight": torch.zeros(4, 4), "a.lora_down.weight": torch.zeros(4, 4)}, tmp_path / "loras" / "l.sft"
    )
    (tmp_path / "vae" / "page.safetensors").write_text("<!doctype html><html></html>")
    (tmp_path / "vae" / "notes.txt").write_text("not a file of weights")
    names = sorted(weights)
    for i in range(2):
        save_file({n: weights[n] for n in names[i::2]}, tmp_path / "parts" / f"x-0000{i + 1}-of-00002.safetensors")
    return tmp_path


def test_every_file_is_told(models):
    rows = {row.path.relative_to(models).as_posix(): row for row in survey_files([models])}
    fine = ["hub/model", "parts/x-00001-of-00002.safetensors", "vae/good.ckpt", "vae/good.safetensors"]
    assert sorted(name for name, row in rows.items() if not row.problem) == fine
    problems = {name: row.problem for name, row in rows.items() if row.problem}
    assert "1 of its tensors is missing" in problems.pop("vae/lacks.safetensors")
    assert "which are a LoRA: put it into models/loras" in problems.pop("loras/l.sft")
    assert "is a web page (HTML)" in problems.pop("vae/page.safetensors")
    assert not problems


def test_a_file_of_whole_numbers_would_not_load(tmp_path):
    """Names and shapes are a VAE's, but what its numbers are to be multiplied with is not there."""
    weights = {n: t.to(torch.int8) if t.ndim == 4 else t for n, t in random_weights("kl", small_kl()).items()}
    save_file(weights, tmp_path / "a.safetensors")
    (row,) = survey_files([tmp_path])
    assert row.found and row.problem == "'a.safetensors' stores weights as I8: quantised VAEs are not supported."
    with pytest.raises(VAEError, match="stores weights as I8"):
        load(tmp_path / "a.safetensors")


def test_the_table(models):
    table = format_survey(survey_files([models]))
    lines = table.splitlines()
    assert lines[0].split() == ["file", "what", "it", "is", "latent", "stored", "as", "MiB"]
    assert len(lines) == 10 and lines[-1] == "4 of 7 would load."
    assert any(line.startswith("vae/good.safetensors") and "4 at 1/4" in line and "F32" in line for line in lines)


def test_what_a_path_stands_for(models):
    assert list_weights(models / "hub" / "model") == [models / "hub" / "model"]
    assert [p.name for p in list_weights(models / "vae" / "*.safetensors")] == [
        "good.safetensors", "lacks.safetensors", "page.safetensors"
    ]  # fmt: skip
    assert list_weights(models / "none.safetensors") == [models / "none.safetensors"]


def test_the_command(models, capsys):
    assert main(["inspect", str(models), "--problems", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 3 and all(one["problem"] for one in found)
    assert main(["inspect", str(models), "--problems"]) == 0
    every = len(list_weights(models))
    assert capsys.readouterr().out.splitlines()[-1] == f"{every - 3} of {every} would load."
    assert main(["inspect", str(models / "vae" / "*.safetensors")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 3 would load."
    (models / "empty").mkdir()
    assert main(["inspect", str(models / "empty")]) == 1
    assert "there is no file of weights in" in capsys.readouterr().err


def test_full_checkpoints_are_read_by_their_headers_only(tmp_path, monkeypatch):
    """Of 7 GB each; the files are sparse, so what is not read takes no room."""
    shapes = header("sdxl.checkpoint-prefixed")["shapes"]
    file = tmp_path / "0.safetensors"
    write_sparse(file, shapes)
    for i in range(1, 5):
        (tmp_path / f"{i}.safetensors").hardlink_to(file)
    read = []
    monkeypatch.setattr("exact_vae.vae_core.checkpoints.checkpoint._map", lambda *given: read.append(given))
    assert [row.problem for row in survey_files([tmp_path])] == [""] * 5
    assert not read


def test_links_that_lead_back_and_folders_that_cannot_be_read(models, monkeypatch):
    (models / "vae" / "again").symlink_to(models, target_is_directory=True)
    assert len(list_weights(models)) == 7

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    (row,) = survey_files([models])
    assert "cannot be read: Permission denied" in row.problem


def write_sparse(path, shapes):
    table, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        table[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
