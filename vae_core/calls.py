"""What is around every call of a VAE that runs its network."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .devices.numerics import pin_numerics
from .errors import naming_memory
from .execution.ladder import LESS
from .families import Half

P = ParamSpec("P")
T = TypeVar("T")


def computes(half: Half) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Of a method of a VAE that runs this half of it: the same numbers, whatever torch is set to (see numerics).

    And if memory runs out where no smaller plan helps, as for what is checked before and after the run, it says so.
    """

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        @wraps(method)
        def call(*args: P.args, **keywords: P.kwargs) -> T:
            vae: Any = args[0]
            with naming_memory(f"{half.doing} with '{vae.name}'", LESS), pin_numerics():
                return method(*args, **keywords)

        return call

    return decorate
