"""Latent spaces."""

import pytest
from exact_vae.vae_core import BadRequest
from exact_vae.vae_core.latents.spaces import SPACES, find_spaces, get_space, name_models


def test_spaces():
    assert (SPACES["sd1"].scale, SPACES["sdxl"].scale, SPACES["flux1"].shift) == (0.18215, 0.13025, 0.1159)
    assert name_models(128, 16) == "FLUX.2"
    assert name_models(4, 8).startswith("SD 1.x")
    assert "SD x4" not in name_models(4, 8) and "SD x4" in name_models(4)
    assert name_models(99) == ""
    with pytest.raises(BadRequest, match="there is no latent space 'x': choose one of sd1, sdxl"):
        get_space("x")


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_complete(name):
    """Statistics are of every channel, and there are both or neither."""
    one = SPACES[name]
    assert len(one.mean) == len(one.std) and len(one.std) in (0, one.channels)
    assert one.scale > 0 and all(std > 0 for std in one.std)
    assert name in find_spaces(one.channels, one.ratio)
    assert one.models in name_models(
        one.channels, one.ratio, one.families[0] if one.families else None
    ) or " others" in (name_models(one.channels, one.ratio))


def test_many_models_are_not_all_named():
    assert name_models(16).count(" or ") == 4 and name_models(16).endswith(" others")
