"""How many groups the norms have no tensor tells: a config.json does, and what `save` notes."""

import json
import shutil

import pytest
import torch
from exact_vae.vae_core import BrokenCheckpoint, UnknownCheckpoint, from_weights, inspect, load, save
from safetensors.torch import load_file, save_file

NAME = "diffusion_pytorch_model.safetensors"
LEVELS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}


def make(kind: str):
    """Diffusers' network with 8 groups, of widths that 32 does not divide or does."""
    import diffusers

    torch.manual_seed(0)
    if kind == "masked":
        made = diffusers.AsymmetricAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, down_block_out_channels=(16, 16, 24, 24),
            up_block_types=("UpDecoderBlock2D",) * 4, up_block_out_channels=(16, 24, 24, 24), norm_num_groups=8,
        )  # fmt: skip
    elif kind == "movq":
        made = diffusers.VQModel(**LEVELS, block_out_channels=(32, 64), norm_num_groups=8, norm_type="spatial")
    else:
        widths = (32, 64) if kind == "usual widths" else (24, 40)
        made = diffusers.AutoencoderKL(**LEVELS, block_out_channels=widths, norm_num_groups=8)
    for name, t in made.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(t, 1, 0.3)
    return made.double().eval()


@pytest.fixture(scope="module", params=["kl", "usual widths", "masked", "movq"])
def folder(request, tmp_path_factory):
    made, path = make(request.param), tmp_path_factory.mktemp("groups")
    made.save_pretrained(path)
    return made, path


@torch.no_grad()
def test_as_many_as_the_config_says(folder, tmp_path):
    """Equal to diffusers, from the folder, from its file, and from the file that `save` writes."""
    theirs, path = folder
    x = torch.rand(1, 3, 16, 24, dtype=torch.float64) * 2 - 1
    made = theirs.encode(x)
    z = made.latents if hasattr(made, "latents") else made.latent_dist.mode()
    vae = load(path, dtype=torch.float64)
    image = theirs.decode(z, **({"force_not_quantize": True} if hasattr(theirs, "quantize") else {})).sample
    save(vae, tmp_path / "saved.safetensors")
    again = load(tmp_path / "saved.safetensors")
    for one in (vae, load(path / NAME, dtype=torch.float64), again):
        assert (one.encode(x).mode() - z).abs().max() < 1e-9
        assert (one.decode(z) - image).abs().max() < 1e-9
        assert (one.decode(z, rows=4) - one.decode(z)).abs().max() < 1e-12
    assert again.fingerprint == vae.fingerprint


def test_not_in_silence_without_it(folder, tmp_path):
    """What 32 does not divide is refused; what it does is another network, by another fingerprint."""
    _, path = folder
    shutil.copy(path / NAME, tmp_path / NAME)
    widths = json.loads((path / "config.json").read_text()).get("block_out_channels", [24])
    if any(width % 32 for width in widths):
        with pytest.raises(UnknownCheckpoint, match="how many groups its norms have the tensors do not tell"):
            load(tmp_path)
    else:
        assert load(tmp_path).fingerprint != load(path).fingerprint
        assert from_weights(load_file(path / NAME), norm_groups=8).fingerprint == load(path).fingerprint


def test_a_config_of_another_file_is_not_taken(tmp_path):
    make("usual widths").save_pretrained(tmp_path)
    alone = load(tmp_path / NAME).fingerprint
    for name in ("mine.safetensors", "other.safetensors"):
        shutil.copy(tmp_path / NAME, tmp_path / name)
    assert load(tmp_path / NAME).fingerprint == alone != load(tmp_path / "mine.safetensors").fingerprint


@pytest.mark.parametrize("groups", [12, 0, -8, 8.0, "many", [8], 10**9, True], ids=str)
def test_groups_that_cannot_be(tmp_path, groups):
    make("usual widths").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "norm_num_groups": groups}))
    with pytest.raises((UnknownCheckpoint, BrokenCheckpoint), match="groups"):
        inspect(tmp_path)
    weights = load_file(tmp_path / NAME)
    save_file(weights, tmp_path / "noted.safetensors", {"exact_vae.norm_groups": str(groups)})
    with pytest.raises((UnknownCheckpoint, BrokenCheckpoint), match="groups"):
        load(tmp_path / "noted.safetensors")


def test_two_halves_have_the_same(tmp_path):
    make("usual widths").save_pretrained(tmp_path)
    weights = load_file(tmp_path / NAME)
    parts = {part: {n: t for n, t in weights.items() if n.startswith(part)} for part in ("encoder", "decoder")}
    notes = {"encoder": {"exact_vae.norm_groups": "8"}, "decoder": {"exact_vae.norm_groups": "16"}}
    for part, held in parts.items():
        save_file(held, tmp_path / f"{part}.safetensors", notes[part])
    with pytest.raises(BrokenCheckpoint, match="do not make one VAE"):
        load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")
    save_file(parts["decoder"], tmp_path / "decoder.safetensors", notes["encoder"])
    whole = load(tmp_path / "encoder.safetensors", tmp_path / "decoder.safetensors")
    assert whole.config.decoder.groups == whole.config.encoder.groups == 8
