"""What `batch.cluster` asks of Ray, in one process: rows come in another order, and some work is done twice."""

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class Rows:
    def __init__(self, rows: list[dict[str, Any]], steps: tuple = ()):
        self._rows, self._steps = rows, steps

    def map_batches(self, step, *, fn_constructor_args=(), **how) -> "Rows":
        assert how["batch_size"] == 1
        return Rows(self._rows, (*self._steps, step(*fn_constructor_args) if isinstance(step, type) else step))

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        chance = random.Random(0)
        for row in chance.sample(self._rows, len(self._rows)):
            for _ in range(chance.choice((1, 2))):  # as after the death of a machine
                yield self._run(row)

    def _run(self, row: dict[str, Any]) -> dict[str, Any]:
        for step in self._steps:
            row = {name: values[0] for name, values in step({name: [value] for name, value in row.items()}).items()}
        return row


class RayError(Exception):
    pass


class StandIn:
    """The module. A task runs when it is sent, and gives its result as its reference."""

    def __init__(self):
        pool = SimpleNamespace
        self.exceptions = pool(RayError=RayError)
        context = pool(get_current=lambda: pool())
        self.data = pool(
            from_items=lambda rows, **how: Rows(rows),
            ActorPoolStrategy=pool,
            TaskPoolStrategy=lambda size: size,
            DataContext=context,
        )

    def remote(self, **how):
        return lambda function: SimpleNamespace(remote=function)

    def get(self, found):
        return found

    def wait(self, running, timeout):
        return running[:1], running[1:]

    def nodes(self):
        found = ({"CPU": 8.0}, {"CPU": 96.0, "GPU": 8.0}, {"CPU": 192.0, "GPU": 8.0})
        return [{"Alive": True, "Resources": one} for one in found] + [{"Alive": False, "Resources": {"GPU": 1.0}}]
