"""What is always there: two photographs (CC0), and a VAE: small, made by `training/`, 4 channels at 1/8 like SD's."""

from pathlib import Path

ASSETS = Path(__file__).parents[2] / "assets"
VAE_FILE = ASSETS / "exact-vae-demo.safetensors"
PHOTOGRAPH = ASSETS / "photograph.jpg"
PHOTOGRAPHS = {"heron": PHOTOGRAPH, "cat": ASSETS / "chelsea.jpg"}  # 750x422, 300x300
NAME = "exact-vae-demo (built in)"  # as menus show it
