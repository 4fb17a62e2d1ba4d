"""Node classes of the host's third version: class methods, hidden values on the class, inputs in dicts."""

import pytest
from exact_vae.headless import Cache, check, parse
from support.nodes_to_run import NODES, execute, failure, node


class Output:
    """What V3 classes return."""

    def __init__(self, *result, ui=None):
        self.result, self.ui, self.expand, self.block_execution = result or None, ui, None, None


class Base:
    """As the host's base class, as far as it is asked."""

    hidden = None
    RETURN_TYPES = ("INT",)
    FUNCTION = "EXECUTE_NORMALIZED"
    inputs = {}

    @classmethod
    def INPUT_TYPES(cls):
        return {**cls.inputs, "hidden": {"me": ("UNIQUE_ID",), "graph": ("PROMPT",)}}

    @classmethod
    def PREPARE_CLASS_CLONE(cls, data):
        return type(cls.__name__, (cls,), {"hidden": data["hidden_inputs"]})

    @classmethod
    def EXECUTE_NORMALIZED(cls, **given):
        return cls.execute(**given)

    @classmethod
    def fingerprint_inputs(cls, **given):
        raise NotImplementedError

    @classmethod
    def validate_inputs(cls, **given):
        raise NotImplementedError


Base.__module__ = "comfy_api.latest._io"
HOW = {"options": [{"key": "by", "inputs": {"required": {"factor": ("INT", {})}}}, {"key": "none", "inputs": {}}]}


class Scale(Base):
    inputs = {"required": {"n": ("INT", {}), "how": ("COMFY_DYNAMICCOMBO_V3", HOW)}}

    @classmethod
    def execute(cls, n, how):
        told = [how["how"], cls.hidden["UNIQUE_ID"], len(cls.hidden["PROMPT"])]
        return Output(n * how.get("factor", 1), ui={"told": told})


class Checked(Scale):
    @classmethod
    def validate_inputs(cls, **given):
        return True if given["n"] + given["how"]["factor"] < 9 else "too much"


class Even(Scale):
    """Is the same for all even numbers, or for all odd ones."""

    @classmethod
    def fingerprint_inputs(cls, n, how):
        seen.append(how)
        return n % 2


class Never(Scale):
    @classmethod
    def fingerprint_inputs(cls, **given):
        return float("nan")


seen = []


def graph(kind, **inputs):
    return {"x": node(kind, **{"n": 3, "how": "by", "how.factor": 5, **inputs}), "9": node("Show", value=["x", 0])}


@pytest.mark.parametrize(("how", "shown"), [({}, "15"), ({"how": "none"}, "3")])
def test_it_runs(how, shown):
    outputs = execute(graph("Scale", **how), Scale).outputs
    assert outputs["9"]["text"] == [shown]
    assert outputs["x"]["told"] == [how.get("how", "by"), "x", 2]


def test_what_it_refuses():
    assert str(failure(graph("Checked", n=4), Checked)) == "node x (Checked): too much"
    assert execute(graph("Checked"), Checked).outputs["9"]["text"] == ["15"]
    report = check(parse(graph("Scale", n="three")), {**NODES, "Scale": Scale})
    assert [one["type"] for one in report.node_errors["x"]["errors"]] == ["invalid_input_type"]


def test_what_changed():
    assert execute(graph("Even"), Even).executed == ("x", "9")
    assert seen == [{"how": "by", "factor": 5}]
    for kind, runs in ((Scale, 0), (Even, 0), (Never, 2)):
        cache = Cache()
        executed = [execute(graph(kind.__name__), kind, cache=cache).executed for _ in range(2)]
        assert [len(one) for one in executed] == [2, runs]


def test_methods_of_that_name_in_other_classes_are_not_asked():
    class Number(NODES["Number"]):
        def fingerprint_inputs(self):
            raise AssertionError

        validate_inputs = fingerprint_inputs

    assert execute({"1": node("Number", n=2), "2": node("Show", value=["1", 0])}, Number).outputs["2"]["text"] == ["2"]
