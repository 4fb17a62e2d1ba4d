"""Values that no sensible file holds, and changes of JSON by which sensible ones become hostile."""

import copy
import random
from typing import Any

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**300, 0.5, 1e308, float("nan"), float("inf"), -0.0)
TEXTS = ("", " ", "\0", "a\0b", "\ud800", "é", "\U0001f600", "../x", "/etc/passwd", "..", ".", "a/b/c", "-1", "nan",
         "%batch_num%" * 60, "x" * 300, "x" * 100_000, "true", "null", "[" * 500, "%", "%year%", "\n", "con", "a:b",
         "'\"<>&")  # fmt: skip


def make_value(rng: random.Random, depth: int = 2) -> Any:
    kinds = [
        lambda: None,
        lambda: rng.choice((True, False)),
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(TEXTS),
        lambda: rng.randrange(20),
    ]
    if depth:
        kinds += [
            lambda: [make_value(rng, depth - 1) for _ in range(rng.randrange(4))],
            lambda: {str(rng.choice(TEXTS)): make_value(rng, depth - 1) for _ in range(rng.randrange(3))},
            lambda: [str(rng.randrange(20)), rng.randrange(3)],
        ]
    return rng.choice(kinds)()


def mutate(obj: Any, rng: random.Random, times: int) -> Any:
    """A copy of JSON in which so many places are replaced, removed, doubled or exchanged."""
    found = copy.deepcopy(obj)
    for _ in range(times):
        places = list(_list_places(found))
        if places:
            _change(*rng.choice(places), rng)
    return found


def _list_places(obj: Any):
    """(container, key) of every value."""
    waiting = [obj]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            yield one, key
            waiting.append(one[key])


def _change(container: Any, key: Any, rng: random.Random) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif kind == 2 and isinstance(container, list):
        other = rng.randrange(len(container))
        container[key], container[other] = container[other], container[key]
    elif kind == 3 and isinstance(container, dict):
        container[str(rng.choice(TEXTS))] = container.pop(key)
    else:
        container[key] = make_value(rng)
