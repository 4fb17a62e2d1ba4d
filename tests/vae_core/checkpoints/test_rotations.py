"""Weights that were rotated and then quantised, as 8-bit files of MiniMax-H3 have them."""

import json
from pathlib import Path

import pytest
import torch
from exact_vae.vae_core import BrokenCheckpoint
from exact_vae.vae_core.checkpoints.files import open_checkpoint
from safetensors.torch import save_file

GROUP, COLUMNS = 16, 48
CONVROT = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": GROUP}


def rotate(weight: torch.Tensor) -> torch.Tensor:
    """Each group of columns, by the matrix of 4 x 4 that has one -1 in each row, twice."""
    quarter = torch.ones(4, 4) - 2 * torch.eye(4).flip(0)
    return torch.cat([group @ (torch.kron(quarter, quarter) / 4).T for group in weight.split(GROUP, 1)], 1)


def write(path: Path, weight: torch.Tensor, told: object, in_metadata: bool = False) -> Path:
    scale = weight.abs().amax(1, keepdim=True) / 127
    note = torch.tensor(list(json.dumps(told).encode()), dtype=torch.uint8)
    numbers = (weight / scale).round().to(torch.int8)
    beside = {} if in_metadata else {"x.comfy_quant": note}
    notes = {"_quantization_metadata": json.dumps({"layers": {"x": told}})} if in_metadata else None
    save_file({"x.weight": numbers, "x.weight_scale": scale, **beside}, path, notes)
    return path


@pytest.mark.parametrize("in_metadata", [False, True])
@pytest.mark.parametrize("told", [CONVROT, {"format": CONVROT["format"], "params": {**CONVROT, "format": ""}}])
def test_rotated_weights_are_what_they_were(tmp_path, told, in_metadata):
    weight = torch.randn(8, COLUMNS, generator=torch.Generator().manual_seed(0))
    weight[:, 5] *= 40  # for whose sake it is done
    ((_, found),) = open_checkpoint(write(tmp_path / "a.safetensors", rotate(weight), told, in_metadata)).tensors(
        ["x.weight"]
    )
    step = rotate(weight).abs().amax(1, keepdim=True) / 127
    assert ((found - weight).abs() <= step * 2.001).all() and (found - weight).norm() < 0.01 * weight.norm()
    plain = write(tmp_path / "b.safetensors", weight, {"format": "int8_tensorwise"})
    ((_, found),) = open_checkpoint(plain).tensors(["x.weight"])
    assert ((found - weight).abs() <= weight.abs().amax(1, keepdim=True) / 253).all()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({**CONVROT, "convrot_groupsize": 32}, "cannot have been rotated by 32 columns"),
        ({**CONVROT, "convrot_groupsize": 64}, "cannot have been rotated by 64 columns"),
        ({**CONVROT, "convrot_groupsize": "many"}, "which is not supported"),
        ({"format": "asym_w4a8_int8"}, "quantised as 'asym_w4a8_int8', which is not supported"),
        ([7], "quantised as 'None'"),
    ],
)
def test_what_cannot_be_turned_back_is_refused(tmp_path, told, said):
    file = open_checkpoint(write(tmp_path / "a.safetensors", torch.ones(8, COLUMNS), told))
    with pytest.raises(BrokenCheckpoint, match=said):
        list(file.tensors(["x.weight"]))
