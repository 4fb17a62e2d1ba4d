"""Facts as JSON, for --json."""

import json
import math
from collections.abc import Mapping
from typing import Any


def write_json(facts: Any, indent: int | None = 2) -> str:
    """JSON, in which a number that is not finite is null, as JavaScript writes it."""
    return json.dumps(_make_finite(facts), indent=indent, allow_nan=False)


def _make_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _make_finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_make_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
