"""What the editor fills in when it sends a text: one of {several|choices}, %date:yyyy-MM-dd%, %Node.widget%."""

import random
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from .graph import Graph, link, replace_input

# The classes whose filename_prefix the editor fills in (seen in frontend 1.49.6).
SAVERS = (
    "SaveImage", "SaveImageAdvanced", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveSVGNode", "SaveLatent", "CLIPSave",
    "VAESave", "ModelSave", "LoraSave", "SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveWEBM",
    "SaveVideo", "SaveGLB", "Save3DAdvanced", "SaveGaussianSplat", "SavePointCloud",
)  # fmt: skip
PREFIX = "filename_prefix"
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_TOKEN = re.compile(r"%([^%]+)%")
_PART = re.compile(r"y{1,4}|d{1,2}|M{1,2}|h{1,2}|m{1,2}|s{1,2}")
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')  # in names of files
_FORMS = MappingProxyType({"yy": "%y", "yyyy": "%Y", "d": "%d", "M": "%m", "h": "%H", "m": "%M", "s": "%S"})

Choose = Callable[[Sequence[str]], str]


def fill_choices(text: str, choose: Choose = random.choice) -> str:
    """The text without comments, with one of the options of every {a|b}. A backslash keeps a brace."""
    levels: list[list[list[str]]] = [[[]]]  # the braces that are open -> their options -> the parts of each
    plain = _COMMENT.sub("", text)
    at = 0
    while at < len(plain):
        letter, inside = plain[at], len(levels) > 1
        if letter == "\\" and plain[at + 1 : at + 2] in ("{", "}"):
            at += 1
            levels[-1][-1].append(plain[at])
        elif letter == "{":
            levels.append([[]])
        elif letter == "|" and inside:
            levels[-1].append([])
        elif letter == "}" and inside:
            _close(levels, choose)
        else:
            levels[-1][-1].append(letter)
        at += 1
    while len(levels) > 1:
        _close(levels, choose)
    return "".join(levels[0][0])


def fill_prefix(text: str, find: Callable[[str, str], Any], now: datetime) -> str:
    """The text with dates and values of widgets in it. find: (node, widget) -> its value, None if there is none."""

    def fill(token: re.Match[str]) -> str:
        parts = token[1].split(".")
        if parts[0].startswith("date:"):
            return format_date(parts[0].removeprefix("date:"), now)
        value = find(*parts) if len(parts) == 2 else None
        return token[0] if value is None else _UNSAFE.sub("_", _write(value))

    return _TOKEN.sub(fill, text)


def fill_prefixes(graph: Graph) -> Graph:
    """The same graph with dates and values of widgets in the names of files, also where `Graph.set` has put them.

    A node is named by its id, its title or its class; the first that is called so counts, as in the editor.
    """

    def find(who: str, name: str) -> Any:
        called = (node for node in graph.nodes.values() if who in (node.id, node.title, node.class_type))
        value = next((node.inputs.get(name) for node in called), None)
        return None if link(value) else value

    filled, now = graph, datetime.now()
    for node in graph.nodes.values():
        text = node.inputs.get(PREFIX)
        if node.class_type in SAVERS and isinstance(text, str):
            filled = replace_input(filled, node, PREFIX, fill_prefix(text, find, now))
    return filled


def format_date(form: str, now: datetime) -> str:
    """yyyy and yy, MM and M, dd and d, hh and h, mm and m, ss and s; all else stays."""

    def write(part: re.Match[str]) -> str:
        what = part[0] if part[0][0] == "y" else part[0][0]
        told = now.strftime(_FORMS.get(what, what))
        return str(int(told)) if len(part[0]) == 1 and told.isdigit() else told

    return _PART.sub(write, form)


def _close(levels: list[list[list[str]]], choose: Choose) -> None:
    options = ["".join(parts) for parts in levels.pop()]
    levels[-1][-1].append(choose(options))


def _write(value: Any) -> str:
    """As JavaScript writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
