"""The VAE that is always there: small, trained by `training/`, of the family `kl` like SD's, 4 channels at 1/8."""

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets"
VAE_FILE = ASSETS / "exact-vae-demo.safetensors"
PHOTOGRAPH = ASSETS / "photograph.jpg"
NAME = "exact-vae-demo (built in)"  # as menus show it
