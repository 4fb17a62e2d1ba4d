"""Checks what comes into a node, before it computes with it.

The host checks what is typed into a widget, but lets NaN pass, and it checks nothing that comes through a socket. So
every node is decorated with `checks_inputs`, which reads the node's own declarations. Its sentences name the input.
"""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor

from ..vae_core import BadRequest, images, latents
from ..vae_core.plain import name_need
from .images import demand_image, latent_of
from .several import split_latents

Node = TypeVar("Node", bound=type)


def checks_inputs(*, any_numbers: tuple[str, ...] = ()) -> Callable[[Node], Node]:
    """A decorator for node classes. any_numbers: LATENTs that may hold NaN, because the node shows where."""

    def decorate(cls: Node) -> Node:
        run = getattr(cls, cls.FUNCTION)
        inputs = signature(run)

        @wraps(run)
        def check_and_run(self: Any, *values: Any, **named: Any) -> Any:
            _, *given = inputs.bind(self, *values, **named).arguments.items()
            for name in any_numbers:
                for one in split_latents(dict(given)[name]):
                    latents.demand_latent(latent_of(one), f"the latent of '{name}'")
            _check(cls, {name: value for name, value in given if name not in any_numbers})
            return run(self, *values, **named)

        setattr(cls, cls.FUNCTION, check_and_run)
        return cls

    return decorate


def _check(cls: type, given: Mapping[str, Any]) -> None:
    """given: inputs by name. A node's lists of files are not read if it was given nothing to check.

    A node before it may give None for what is needed. For what may be left out that means that it is.
    """
    is_needed = any(not isinstance(value, str | bool) for value in given.values())
    types = cls.INPUT_TYPES() if is_needed else {}  # type: ignore[attr-defined]
    needed = types.get("required", {})
    for name, (kind, options) in {**needed, **types.get("optional", {})}.items():
        is_there = name in given and (name in needed or given[name] is not None)
        if is_there and isinstance(kind, str) and kind in _CHECKS:
            _CHECKS[kind](name, given[name], options)


def _check_whole(name: str, value: Any, options: Mapping[str, Any]) -> None:
    if not isinstance(value, int):
        raise BadRequest(f"{name} is {str(value)[:60]!r}: a whole number is needed.")
    _check_range(name, value, options)


def _check_number(name: str, value: Any, options: Mapping[str, Any]) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{name} is {str(value)[:60]}: a number is needed.")
    _check_range(name, value, options)


def _check_range(name: str, value: float, options: Mapping[str, Any]) -> None:
    if not options["min"] <= value <= options["max"]:
        raise BadRequest(f"{name} is {str(value)[:60]}: choose a number from {options['min']} to {options['max']}.")


def _check_image(name: str, value: Any, options: Mapping[str, Any]) -> None:
    images.demand_range(demand_image(value, name), f"the images of '{name}'")


def _check_mask(name: str, value: Any, options: Mapping[str, Any]) -> None:
    images.masks.demand(value, f"the mask of '{name}'")


def _check_latent(name: str, value: Any, options: Mapping[str, Any]) -> None:
    what = f"the latent of '{name}'"
    for one in split_latents(value):
        latents.demand_numbers(latents.demand_latent(latent_of(one), what), what)
        mask = one.get("noise_mask")
        if isinstance(mask, Tensor) and not name_need(mask) and not mask.isfinite().all():
            raise BadRequest(f"the mask of {what} holds NaN or infinity: it was broken before it came to this node.")


_CHECKS: Mapping[str, Callable[[str, Any, Mapping[str, Any]], None]] = MappingProxyType(
    {
        "INT": _check_whole,
        "FLOAT": _check_number,
        "IMAGE": _check_image,
        "MASK": _check_mask,
        "LATENT": _check_latent,
    }
)
