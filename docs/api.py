"""The reference of the Python API, from docstrings: python docs/api.py FOLDER. It needs pdoc.

It has a page for each facade, `vae_core` and `vae_core.<package>`, with the names in its `__all__`: these are public.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pdoc
from exact_vae import vae_core

STYLE = Path(__file__).parent / "api_style"
CORE = "exact_vae.vae_core"
ALONE = ("errors",)  # modules that are facades themselves
OPTIONAL = ("kernels",)  # which needs triton to be read


def list_facades() -> list[str]:
    packages = {path.parent.name for path in Path(vae_core.__file__).parent.glob("*/__init__.py")}
    return [CORE, *(f"{CORE}.{name}" for name in sorted({*packages, *ALONE} - {*OPTIONAL}))]


def write_pages(folder: Path, facades: Sequence[str]) -> None:
    pdoc.render.configure(template_directory=STYLE, show_source=False, footer_text=f"Exact VAE {vae_core.__version__}")
    pdoc.pdoc(*facades, output_directory=folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    write_pages(parser.parse_args().folder, list_facades())
