"""What the README and the packaging promise is what there is."""

import re
from pathlib import Path

import pytest
from exact_vae import NODE_DISPLAY_NAME_MAPPINGS
from exact_vae.cli import parser
from exact_vae.vae_core import detect
from samples import header

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

# A header for each row of the table of files, by the row's first words.
HEADERS = {
    "SD 1.x": ["sd1.ldm", "sdxl.diffusers", "sdxl.checkpoint-prefixed"],
    "asymmetric decoders for SD 1.x (x1.5": ["asymmetric-kl-x-2.ldm", "asymmetric-kl-x-2.diffusers"],
    "SD x4 upscaler": ["sd-x4-upscaler.ldm", "sd-x4-upscaler.diffusers"],
    "SD 3.x": ["sd3.ldm", "sd3.diffusers"],
    "FLUX.1": ["flux1.ldm", "flux1.checkpoint-prefixed"],
    "FLUX.2": ["flux2.ldm", "flux2.comfy", "flux2.diffusers"],
    "HunyuanImage 2.1": ["hunyuanimage21.ldm", "hunyuanimage21.original-prefixed", "hunyuanimage21.diffusers"],
    "Kandinsky 2.x (MoVQ)": ["kandinsky-movq.ldm", "kandinsky-movq.diffusers"],
    "aMUSEd": ["amused-vq.diffusers"],
    "TAESD": ["taesd.comfy", "taesdxl.diffusers"],
    "TAESD3": ["taesd3.comfy", "taef1.diffusers"],
    "TAEF2": ["taef2.comfy"],
    "TAESANA": ["taesana.decoder"],
    "TAEHV": ["taehv.original"],
    "TAEH3 (clips)": ["taeh3.original"],
    "TAEHV1.5 and its super variant (clips)": ["taehv1_5.original", "taehv1_5_super.original"],
    "TAEW2.2 and its super variant (clips)": ["taew2_2.original"],
    "TAELTX-2 (clips)": ["taeltx_2.original"],
    "Stable Video Diffusion (clips)": ["svd.ldm", "svd.diffusers"],
    "Sana": ["dc-ae-f32c32-sana.diffusers", "dc-ae-f32c32-sana.original", "dc-ae-lite-f32c32.diffusers"],
    "DC-AE f32c32": ["dc-ae-f32c32.diffusers", "dc-ae-f32c32.original"],
    "DC-AE f64c128": ["dc-ae-f64c128.diffusers", "dc-ae-1.5-f64c128.original"],
    "DC-AE f128c512": ["dc-ae-f128c512.diffusers", "dc-ae-f128c512.original"],
    "pixel-space models (PixelFlow": ["pixel-space.comfy"],
}


def rows() -> dict[str, tuple[int, int, str]]:
    """The table of files: first words of a row -> channels, ratio, family."""
    table = README.split("## Which files")[1].split("\n## ")[0]
    found = re.findall(r"^\| ([^|]+?) \| (\d+) \| (\d+) \| `(\w+)` \|$", table, re.MULTILINE)
    return {models.split(",")[0]: (int(channels), int(ratio), family) for models, channels, ratio, family in found}


def test_every_row_has_its_headers():
    assert set(rows()) == set(HEADERS)


@pytest.mark.parametrize("models", HEADERS)
def test_the_table_of_files(models):
    for name in HEADERS[models]:
        found = detect(header(name)["shapes"])
        assert (found.latent_channels, found.spatial_ratio, found.family) == rows()[models], name


def test_the_table_of_nodes():
    linked = dict(re.findall(r"^\| \[(.+?)\]\(web/docs/(\w+)\.md\) \|", README, re.MULTILINE))
    assert {node: name for name, node in linked.items()} == NODE_DISPLAY_NAME_MAPPINGS


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_commands_are_those_of_the_command_line():
    listed = set(re.findall(r"^exact-vae (\w+)", README, re.MULTILINE))
    usage = parser().format_help()
    assert listed == set(re.findall(r"^    (\w+) ", usage, re.MULTILINE))


def test_every_package_is_installed():
    """setuptools is told each package by name; one that is forgotten is missing after `pip install`."""
    listed = set(re.findall(r'^    "(exact_vae[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    tops = ("cli", "headless", "nodes", "training", "vae_core")
    packages = {p.parent.relative_to(ROOT) for top in tops for p in (ROOT / top).rglob("__init__.py")}
    assert listed == {"exact_vae", *("exact_vae." + ".".join(p.parts) for p in packages)}
