"""To a cluster of Ray."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ...vae_core import BadRequest, VAEError

AUTOMATIC = "auto"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # errors come as exceptions
# What a job of Ray Data asked for stays its own for so many seconds after it was killed, and who comes first is served
# first: by Ray's own 180 the same command, begun again, has one encoder for three minutes, and after some kills in a
# row for as long as they go on. A job that lives asks anew each 10 seconds.
SHORT_CLAIMS = {"RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S": "30"}


def load_ray() -> Any:
    """The module. Raises BadRequest if it is not installed."""
    _set_unless_set(SHORT_CLAIMS)  # which Ray Data reads when it is imported
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise BadRequest('--ray needs Ray Data: pip install "exact-vae[ray]".') from error


@contextmanager
def connect(address: str = "") -> Iterator[Any]:
    """Ray, connected until the block ends, which stops what this job still runs there.

    address  of the cluster's head, 'auto' for the one that runs on this machine; '': that of RAY_ADDRESS, or the one
             that runs here, or a new one of this machine alone
    Raises BadRequest if it cannot be reached. Where the program is connected already, it stays so.
    """
    ray = load_ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        _begin(ray, address)
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _begin(ray: Any, address: str) -> None:
    _set_unless_set(QUIET)
    try:
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"at '{address}'" if address else "on this machine"
        said = str(error).partition("\n")[0]
        raise BadRequest(
            f"no cluster of Ray answers {where}: {said}. `ray start --head` starts one, and --ray without an address "
            "one of this machine alone."
        ) from error


def _set_unless_set(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)


@contextmanager
def explain_errors(ray: Any) -> Iterator[None]:
    """What is raised on a machine of the cluster is raised here: a VAEError as it was, others in one sentence."""
    try:
        yield
    except ray.exceptions.RayError as error:
        for cause in _list_causes(error):
            if isinstance(cause, VAEError) and not isinstance(cause, ray.exceptions.RayError):
                raise cause from None
        raise VAEError(f"the cluster gave up: {_last_line(error)}. The same command goes on.") from error


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that are behind it, as Python and as Ray keep them."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [more for more in (vars(one).get("cause"), one.__cause__) if isinstance(more, BaseException)]


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:300]
