"""The packages of pyproject.toml: the root of the repository is the package `exact_vae` itself."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

INSTALLED = ("batch", "cli", "headless", "nodes", "training", "vae_core")


class BuildWithoutSetup(build_py):
    """Installs the modules of each package, but not this file, which lies where those of `exact_vae` do."""

    def find_package_modules(self, package, package_dir):
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


setup(
    packages=["exact_vae", *(f"exact_vae.{p}" for p in find_packages() if p.split(".")[0] in INSTALLED)],
    cmdclass={"build_py": BuildWithoutSetup},
)
