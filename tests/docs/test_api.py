"""The reference of the Python API has a page for each facade, and says something of every public function."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_facade_has_a_page(tmp_path):
    pytest.importorskip("pdoc", reason="the reference is written by pdoc: pip install -e '.[docs]'")
    sys.path.insert(0, str(ROOT / "docs"))
    import api

    facades = api.list_facades()
    assert {"exact_vae.vae_core", "exact_vae.vae_core.latents", "exact_vae.vae_core.errors"} <= {*facades}
    api.write_pages(tmp_path, ["exact_vae.vae_core", "exact_vae.vae_core.videos"])
    page = (tmp_path / "exact_vae" / "vae_core.html").read_text()
    for said in ("The posterior of the latents of images or clips.", "vae_core/videos.html", 'id="load"'):
        assert said in page
