"""The version of this pack."""

__version__ = "0.1.0"  # also in pyproject.toml, where registries read it; a test compares the two
