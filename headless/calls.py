"""Calls a method of a V1 node: once for each item of its input lists, waiting if it is async, and merges the results.

Inputs and outputs are lists, as between nodes: one item for each call of the node that made them.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..vae_core.errors import VAEError
from .graph import link
from .interface import Interface

Slots = list[list[Any]]  # one list for every output of a node
Ui = dict[str, list[Any]]


class ExecutionBlocker:
    """Returned in place of an output, or of all: nothing that reads it runs. message: why, for who reads it first."""

    def __init__(self, message: str | None = None):
        self.message = message


def invoke(method: Callable[..., Any], inputs: Mapping[str, list[Any]], takes_lists: bool) -> list[Any]:
    """What each call returned. Shorter lists repeat their last item. takes_lists: one call with the lists."""
    calls = [dict(inputs)] if takes_lists else _split_calls(inputs)
    return [_wait_for(method(**arguments)) for arguments in calls]


@dataclass(frozen=True)
class Returned:
    """What one call of a node returned. expand: a graph that it expands into, to whose nodes results may link."""

    results: tuple[Any, ...]
    ui: Mapping[str, Any]
    expand: Mapping[str, Any] | None = None


def run_node(
    method: Callable[..., Any], inputs: Mapping[str, list[Any]], interface: Interface
) -> tuple[list[Returned], list[str]]:
    """What each call returned, and the messages of what blocked some: these did not happen, and give blockers."""
    calls = [dict(inputs)] if interface.takes_lists else list(_split_calls(inputs))
    returned, messages = [], []
    for arguments in calls:
        blocker = _find_blocker(arguments, interface.takes_lists)
        messages += [blocker.message] if blocker and blocker.message else []
        returned.append(ExecutionBlocker() if blocker else _wait_for(method(**arguments)))
    return [_read_returned(value, interface) for value in returned], messages


def is_blocker(value: Any) -> bool:
    """Of this module, or of the host, whose class packs may bring."""
    return type(value).__name__ == ExecutionBlocker.__name__


def _find_blocker(arguments: Mapping[str, Any], lists: bool) -> Any:
    values = (one for value in arguments.values() for one in (value if lists else [value]))
    return next(filter(is_blocker, values), None)


def _fill_blocked(value: Any, interface: Interface) -> Any:
    """A blocker in place of all outputs blocks each of them."""
    if not is_blocker(value):
        return value
    return tuple([value] if interface.gives_list(i) else value for i in range(len(interface.returns)))


def merge(
    returned: list[Returned], interface: Interface, read: Callable[[str, int], list[Any]] | None = None
) -> tuple[Slots, Ui]:
    """The outputs of a node, slot by slot, and what it shows. read: what a link leads to, of a call that expanded."""
    calls = [_wrap_results(one, interface, read) for one in returned]
    if len({len(call) for call in calls}) > 1:
        raise VAEError("returned more outputs for one item of its list than for another")
    slots = [[item for items in slot for item in items] for slot in zip(*calls, strict=True)]
    return slots, _merge_shown([one.ui for one in returned])


def _wrap_results(
    one: Returned, interface: Interface, read: Callable[[str, int], list[Any]] | None
) -> list[Iterable[Any]]:
    """For each output of a call its items: one, or those of a list."""
    items: list[Iterable[Any]] = []
    for i, value in enumerate(one.results):
        linked = link(value) if one.expand is not None else None
        plain = value if interface.gives_list(i) and not is_blocker(value) else [value]
        items.append(read(*linked) if linked and read else plain)
    return items


def _split_calls(inputs: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    empty = [name for name, values in inputs.items() if not values]
    if empty:
        raise VAEError(f"input {empty[0]} received an empty list, so there is nothing to run on")
    for i in range(max(map(len, inputs.values()), default=1)):
        yield {name: values[min(i, len(values) - 1)] for name, values in inputs.items()}


def _wait_for(value: Any) -> Any:
    return asyncio.run(_wait(value)) if inspect.isawaitable(value) else value


async def _wait(value: Any) -> Any:
    return await value


def _read_returned(value: Any, interface: Interface) -> Returned:
    """V3 classes return an object with `result`, `ui`, `expand` and `block_execution`, others a tuple or a dict."""
    if hasattr(value, "block_execution"):
        blocked = value.block_execution
        result = value.result if blocked is None else ExecutionBlocker(blocked)
        value = {"result": result, "ui": _read_ui(value.ui), "expand": value.expand}
    value = _fill_blocked(value, interface)
    if value is None:
        return Returned((), {})
    if isinstance(value, tuple | list):
        return Returned(tuple(value), {})
    if not isinstance(value, dict):
        # The host would iterate over it, and so lose the batch of an IMAGE.
        raise VAEError(f"returned a {type(value).__name__} instead of a tuple of outputs: a comma is missing after it")
    return Returned(
        tuple(_fill_blocked(value.get("result"), interface) or ()), value.get("ui") or {}, value.get("expand")
    )


def _read_ui(ui: Any) -> Mapping[str, Any]:
    return ui.as_dict() if hasattr(ui, "as_dict") else ui or {}


def _merge_shown(shows: list[Mapping[str, Any]]) -> Ui:
    shown: Ui = {}
    for name, values in ((name, values) for ui in shows for name, values in ui.items()):
        if not isinstance(values, list | tuple):
            # The host would send a text letter by letter.
            raise VAEError(f"shows '{name}' as a {type(values).__name__}; what a node shows are lists")
        shown.setdefault(name, []).extend(values)
    return shown
