"""The packages of pyproject.toml: the root of the repository is the package `exact_vae` itself."""

from setuptools import find_packages, setup

INSTALLED = ("cli", "headless", "nodes", "training", "vae_core")

setup(packages=["exact_vae", *(f"exact_vae.{p}" for p in find_packages() if p.split(".")[0] in INSTALLED)])
