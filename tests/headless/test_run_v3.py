"""Execution: nodes of the host's third version, by what their methods return."""

import pytest
from support.nodes_to_run import Fake, execute, node


class Output:
    """What V3 classes return."""

    def __init__(self, *result, ui=None, expand=None, block_execution=None):
        self.result, self.ui, self.expand, self.block_execution = result or None, ui, expand, block_execution


class Panel:
    def as_dict(self):
        return {"text": ["a panel"]}


@pytest.mark.parametrize(
    ("returned", "shown", "outputs"),
    [
        (Output(3), ["3"], {}),
        (Output(4, ui=Panel()), ["4"], {"text": ["a panel"]}),
        (Output(["s", 0], expand={"s": node("Add", a=2, b=3)}), ["5"], {}),
        (Output(ui={"a": [1]}, block_execution="no"), None, {"a": [1]}),
    ],
)
def test_what_v3_classes_return(returned, shown, outputs):
    class Third(Fake):
        def go(self):
            return returned

    results = execute({"x": node("Third"), "9": node("Show", value=["x", 0])}, Third)
    assert results.outputs.get("9", {}).get("text") == shown and results.outputs.get("x", {}) == outputs
    assert results.blocked == ({} if shown else {"9": ("no",)})
