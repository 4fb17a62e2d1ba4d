"""Runs ComfyUI graphs without ComfyUI: read, check and run them with node classes that you give.

nodes = {**pack, **core_nodes("input", "output", "temp", pack)}
results = run(load("workflow.json", nodes).set("3.seed", "7"), nodes)
"""

from .check import Report, check
from .core_nodes import CORE_ALIASES, core_nodes
from .definitions import Declared, read_definitions
from .graph import Graph, GraphError, Node
from .reading import load, parse
from .run import Results, run

__all__ = [
    "CORE_ALIASES",
    "Declared",
    "Graph",
    "GraphError",
    "Node",
    "Report",
    "Results",
    "check",
    "core_nodes",
    "load",
    "parse",
    "read_definitions",
    "run",
]
