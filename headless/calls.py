"""Calls a method of a V1 node: once for each item of its input lists, waiting if it is async, and merges the results.

Inputs and outputs are lists, as between nodes: one item for each call of the node that made them.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..vae_core.errors import VAEError
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


def run_node(
    method: Callable[..., Any], inputs: Mapping[str, list[Any]], interface: Interface
) -> tuple[list[Any], list[str]]:
    """As `invoke`, and the messages of what blocked some of the calls: these did not happen, and give blockers."""
    calls = [dict(inputs)] if interface.takes_lists else list(_split_calls(inputs))
    returned, messages = [], []
    for arguments in calls:
        blocker = _find_blocker(arguments, interface.takes_lists)
        messages += [blocker.message] if blocker and blocker.message else []
        returned.append(ExecutionBlocker() if blocker else _wait_for(method(**arguments)))
    return [_fill_blocked(value, interface) for value in returned], messages


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


def merge(returned: list[Any], interface: Interface) -> tuple[Slots, Ui]:
    """The outputs of a node, slot by slot, and what it shows."""
    results, shows = [], []
    for value in returned:
        result, ui = _split_returned(value)
        results.append(result)
        shows.append(ui)
    return _merge_slots(results, interface), _merge_shown(shows)


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


def _split_returned(value: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if value is None:
        return (), {}
    if isinstance(value, tuple | list):
        return tuple(value), {}
    if not isinstance(value, dict):
        # The host would iterate over it, and so lose the batch of an IMAGE.
        raise VAEError(f"returned a {type(value).__name__} instead of a tuple of outputs: a comma is missing after it")
    if "expand" in value:
        raise VAEError("expands into other nodes while it runs, and only ComfyUI itself can run those")
    return tuple(value.get("result") or ()), value.get("ui") or {}


def _merge_slots(results: list[tuple[Any, ...]], interface: Interface) -> Slots:
    if len({len(result) for result in results}) > 1:
        raise VAEError("returned more outputs for one item of its list than for another")
    return [_merge_slot(values, interface.gives_list(i)) for i, values in enumerate(zip(*results, strict=True))]


def _merge_slot(values: tuple[Any, ...], lists: bool) -> list[Any]:
    return [item for value in values for item in value] if lists else list(values)


def _merge_shown(shows: list[Mapping[str, Any]]) -> Ui:
    shown: Ui = {}
    for name, values in ((name, values) for ui in shows for name, values in ui.items()):
        if not isinstance(values, list | tuple):
            # The host would send a text letter by letter.
            raise VAEError(f"shows '{name}' as a {type(values).__name__}; what a node shows are lists")
        shown.setdefault(name, []).extend(values)
    return shown
