"""What is around every call of a VAE that runs its network."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

from .devices.numerics import pin_numerics
from .errors import naming_memory
from .execution.ladder import LESS
from .families import Half

P = ParamSpec("P")
T = TypeVar("T")


def computes(half: Half) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Of a method of a VAE that runs this half of it: the same numbers, whatever torch is set to (see numerics).

    And if memory runs out where no smaller plan helps, as for what is checked before and after the run, it says so.
    Within a function that torch.compile traces it runs as it is: traced, the planning would be, for minutes or in vain.
    """

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        def run(*args: P.args, **keywords: P.kwargs) -> T:
            vae: Any = args[0]
            with naming_memory(f"{half.doing} with '{vae.name}'", LESS), pin_numerics():
                return method(*args, **keywords)

        @wraps(method)
        def call(*args: P.args, **keywords: P.kwargs) -> T:
            if torch.compiler.is_compiling():  # asked here, since `disable` loads the compiler
                untraced: Any = torch.compiler.disable(run)
                return untraced(*args, **keywords)
            return run(*args, **keywords)

        return call

    return decorate
