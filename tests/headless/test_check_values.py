"""Validation of values: their types, ranges and choices, and what a class checks itself."""

import pytest
from exact_vae.headless import check, parse
from support.nodes_to_check import (
    NODES,
    Save,
    check_nodes,
    node,
    only_problem,
    source,
)


@pytest.mark.parametrize(
    "name, value, kind, said",
    [
        ("size", "wide", "INT", "'wide' is given; an INT is needed"),
        ("size", None, "INT", "None is given; an INT is needed"),
        ("scale", "x", "FLOAT", "'x' is given; a FLOAT is needed"),
        ("size", float("inf"), "INT", "inf is given; an INT is needed"),
    ],
)
def test_values_that_cannot_be_converted(name, value, kind, said):
    report = check_nodes(n1=source(**{name: value}), n2=node("Save", value=["1", 0]))
    found = only_problem(report, "1")
    assert found["type"] == "invalid_input_type"
    assert found["message"] == f"Failed to convert an input value to a {kind} value"
    assert found["details"].startswith(f"{name}, {value}, ")
    assert report.sentence() == f"node 1 (Source), input {name}: {said}"


def test_range():
    report = check_nodes(n1=source(size=5), n2=node("Save", value=["1", 0]))
    found = only_problem(report, "1")
    assert (found["type"], found["message"], found["details"]) == (
        "value_smaller_than_min",
        "Value 5 smaller than min of 8",
        "size",
    )
    assert found["extra_info"] == {
        "input_name": "size",
        "input_config": ["INT", {"default": 64, "min": 8, "max": 512}],
        "received_value": 5,
    }
    assert report.sentence() == "node 1 (Source), input size: 5 is given; the smallest allowed is 8"


def test_range_above():
    report = check_nodes(n1=source(size=513), n2=node("Save", value=["1", 0]))
    found = only_problem(report, "1")
    assert (found["type"], found["message"]) == ("value_bigger_than_max", "Value 513 bigger than max of 512")
    assert report.sentence() == "node 1 (Source), input size: 513 is given; the largest allowed is 512"


@pytest.mark.parametrize("name, choices", [("mode", ["fast", "exact"]), ("kind", ["a", "b"])])
def test_value_not_in_list(name, choices):
    report = check_nodes(n1=source(**{name: "slow"}), n2=node("Save", value=["1", 0]))
    found = only_problem(report, "1")
    assert (found["type"], found["message"]) == ("value_not_in_list", "Value not in list")
    assert found["details"] == f"{name}: 'slow' not in {choices}"
    assert report.sentence() == (
        f"node 1 (Source), input {name}: 'slow' is given; allowed are '{choices[0]}', '{choices[1]}'"
    )


def test_several_choices():
    report = check_nodes(n1=source(many={"__value__": ["x", "w"]}), n2=node("Save", value=["1", 0]))
    assert only_problem(report, "1")["details"] == "many: 'w' not in ['x', 'y', 'z']"


@pytest.mark.parametrize(
    "count, said", [(0, "there is nothing to choose from"), (21, "'0', '1', '2', '3', '4', '5' and")]
)
def test_no_choice_and_many_choices(count, said):
    class Loader(Save):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"file": ([str(i) for i in range(count)],)}}

    report = check(parse({"1": node("Loader", file="z")}), {"Loader": Loader})
    assert said in report.sentence()
    found = only_problem(report, "1")
    assert found["details"] == f"file: 'z' not in {'(list of length 21)' if count else '[]'}"


def test_an_input_named_by_validate_inputs_has_no_range():
    assert check_nodes(n1=node("Even", n=10, m=4)).ok
    report = check_nodes(n1=node("Even", n=10, m=5))
    assert only_problem(report, "1")["type"] == "value_bigger_than_max"


def test_validate_inputs_says_no_in_its_own_words():
    report = check_nodes(n1=node("Even", n="3", m=1))
    found = only_problem(report, "1")
    assert (found["type"], found["message"], found["details"]) == (
        "custom_validation_failed",
        "Custom validation failed for node",
        "n - 3 is odd",
    )
    assert report.sentence() == "node 1 (Even): 3 is odd"


def test_validate_inputs_sees_none_for_a_link():
    class Number:
        RETURN_TYPES = ("INT",)

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

    graph = parse({"1": node("Number"), "2": node("Even", n=["1", 0], m=1)})
    assert check(graph, {**NODES, "Number": Number}).ok


def test_validate_inputs_with_a_catch_all_takes_everything_over():
    assert check_nodes(n1=node("Stern", n=99, m=99)).ok
    report = check_nodes(n1=node("Stern", n=98, m=99))
    assert [one["details"] for one in report.node_errors["1"]["errors"]] == ["n", "m"]
    assert report.sentence() == "node 1 (Stern): its own check refuses what it is given"


def test_validate_inputs_that_raises():
    report = check_nodes(n1=node("Broken", n=1, m=1))
    found = only_problem(report, "1")
    assert found["type"] == "exception_during_validation"
    assert found["extra_info"]["exception_type"] == "ZeroDivisionError"
    assert report.sentence() == "node 1 (Broken): its own check fails: ZeroDivisionError: division by zero"


def test_validate_inputs_that_wants_an_input_nobody_gives():
    report = check_nodes(n1=source(), n2=node("Relay", image=["1", 0]), n3=node("Save", value=["2", 0]))
    found = only_problem(report, "2")
    assert found["type"] == "exception_during_inner_validation"
    assert "absent" in found["details"]
