"""Runs ComfyUI graphs without ComfyUI: read, check and run them with node classes that you give.

nodes = {**pack, **core_nodes("input", "output", "temp", pack)}
results = run(load("workflow.json", nodes).set("3.seed", "7"), nodes)
"""

from .calls import ExecutionBlocker
from .check import Report, check
from .core import CORE_ALIASES, core_nodes
from .definitions import Declared, load_definitions, read_definitions
from .execution import Results
from .fetching import fetch_definitions
from .graph import Graph, GraphError, Node
from .packs import load_pack
from .reading import load, parse
from .repeating import advance
from .run import run
from .sharing import Cache
from .texts import fill_prefixes

__all__ = [
    "CORE_ALIASES",
    "Cache",
    "Declared",
    "ExecutionBlocker",
    "Graph",
    "GraphError",
    "Node",
    "Report",
    "Results",
    "advance",
    "check",
    "core_nodes",
    "fetch_definitions",
    "fill_prefixes",
    "load",
    "load_definitions",
    "load_pack",
    "parse",
    "read_definitions",
    "run",
]
