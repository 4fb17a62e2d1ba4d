"""Core nodes that need no model, under ComfyUI's ids."""

from .nodes import CORE_ALIASES, core_nodes

__all__ = ["CORE_ALIASES", "core_nodes"]
