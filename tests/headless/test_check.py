"""Validation: every type of error with the host's words, and the sentence a person reads."""

import json

import pytest
from exact_vae.headless import GraphError, check, parse
from exact_vae.headless.check import walk_upstream
from exact_vae.headless.interface import types_match
from support.nodes_to_check import (
    NODES,
    Save,
    check_nodes,
    node,
    only_problem,
    source,
)


def test_a_good_graph():
    report = check_nodes(
        n1=source(), n2=node("Encode", pixels=["1", 0], mask=["1", 1]), n3=node("Save", value=["2", 0])
    )
    assert report.ok
    assert report.outputs == ("3",)
    assert report.order == ("1", "2", "3")
    assert report.body == {"error": None, "node_errors": {}}
    assert report.sentence() == "nothing is wrong with this graph: it would run 3 of its nodes for node 3 (Save)"


def test_literals_come_out_as_the_declared_types():
    given = source(size="64", scale=2, text=5, flag="false", many={"__value__": ["x", "z"]})
    report = check_nodes(n1=given, n2=node("Save", value=["1", 0]))
    assert report.ok
    inputs = report.graph.nodes["1"].inputs
    assert {name: inputs[name] for name in ("size", "scale", "text", "flag")} == {
        "size": 64,
        "scale": 2.0,
        "text": "5",
        "flag": True,
    }
    assert [type(inputs[name]) for name in ("size", "scale")] == [int, float]
    assert inputs["many"] == {"__value__": ["x", "z"]}
    assert report.graph.nodes["2"].inputs["value"] == ["1", 0]


def test_unknown_class():
    report = check_nodes(n1=source(), n4={**node("Encoed", pixels=["1", 0]), "_meta": {"title": "Mine"}})
    assert report.error["type"] == "missing_node_type"
    assert report.error["message"] == "Node 'Mine' not found. The custom node may not be installed."
    assert report.error["details"] == "Node ID '#4'"
    assert report.error["extra_info"]["class_type"] == "Encoed"
    assert report.body["node_errors"] == {}
    assert report.outputs == ()
    assert report.sentence() == "node 4 (Encoed, 'Mine'): there is no node class 'Encoed' here; nearest is Encode"


def test_unknown_class_like_no_other():
    report = check_nodes(n4=node("KSampler"))
    assert report.error["extra_info"]["node_title"] == "KSampler"
    assert report.sentence() == "node 4 (KSampler): there is no node class 'KSampler' here"


def test_no_class():
    report = check_nodes(n4={"inputs": {}})
    assert report.error["type"] == "missing_node_type"
    assert report.error["message"] == (
        "Node 'ID #4' has no class_type. The workflow may be corrupted or a custom node is missing."
    )
    assert report.sentence() == "node 4 (no class): the file does not say which class this node is (class_type)"


@pytest.mark.parametrize("nodes", [{}, {"n1": source()}])
def test_no_outputs(nodes):
    report = check_nodes(**nodes)
    assert (report.error["type"], report.error["message"]) == ("prompt_no_outputs", "Prompt has no outputs")
    assert report.sentence().startswith("this graph has no output node, so nothing would run")


def test_missing_required_input():
    report = check_nodes(n3=node("Save"))
    found = only_problem(report, "3")
    assert (found["type"], found["message"], found["details"]) == (
        "required_input_missing",
        "Required input is missing",
        "value",
    )
    assert found["extra_info"]["input_name"] == "value"
    assert report.sentence() == "node 3 (Save), input value: nothing is given; a LATENT,IMAGE is needed"


def test_all_outputs_failed_body_is_the_hosts():
    report = check_nodes(n3=node("Save"))
    assert report.error == {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "Required input is missing: value",
        "extra_info": {},
    }
    assert report.node_errors["3"]["dependent_outputs"] == ["3"]
    assert report.node_errors["3"]["class_type"] == "Save"
    json.dumps(report.body)


@pytest.mark.parametrize("bad", [[], ["1"], ["1", 0, 0], ["1", True], [["1"], 0]])
def test_bad_link(bad):
    report = check_nodes(n1=source(), n3=node("Save", value=bad))
    found = only_problem(report, "3")
    assert found["type"] == "bad_linked_input"
    assert found["message"] == "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    assert found["extra_info"]["received_value"] == bad
    assert report.sentence() == (
        f'node 3 (Save), input value: {bad!r} is given; a link is a node id and the number of an output, as ["4", 0]'
    )


def test_link_to_a_node_that_is_not_there():
    report = check_nodes(n3=node("Save", value=["9", 0]))
    found = only_problem(report, "3")
    assert (found["type"], found["message"]) == ("exception_during_validation", "Exception when validating node")
    assert found["extra_info"]["exception_type"] == "KeyError"
    assert report.sentence() == "node 3 (Save), input value: it reads node 9, which is not in this graph"


@pytest.mark.parametrize("slot", [2, -1, 0.5])
def test_link_to_an_output_that_is_not_there(slot):
    report = check_nodes(n1=source(), n2=node("Encode", pixels=["1", slot]), n3=node("Save", value=["2", 0]))
    found = only_problem(report, "2")
    assert found["type"] == "exception_during_inner_validation"
    assert found["message"] == "Exception when validating inner node"
    assert found["extra_info"]["exception_type"] == ("TypeError" if slot == 0.5 else "IndexError")
    assert report.sentence() == (
        f"node 2 (Encode), input pixels: it reads output {slot} of node 1 (Source), which has 2"
    )


def test_type_mismatch():
    report = check_nodes(n1=source(), n2=node("Encode", pixels=["1", 1]), n3=node("Save", value=["2", 0]))
    found = only_problem(report, "2")
    assert found["type"] == "return_type_mismatch"
    assert found["message"] == "Return type mismatch between linked nodes"
    assert found["details"] == "pixels, received_type(MASK) mismatch input_type(IMAGE)"
    assert found["extra_info"]["linked_node"] == ["1", 1]
    assert report.node_errors["2"]["dependent_outputs"] == ["3"]
    assert report.sentence() == (
        "node 2 (Encode), input pixels: output 1 of node 1 (Source) is a MASK; an IMAGE is needed"
    )


@pytest.mark.parametrize("kind, slot, fits", [("Save", 0, True), ("Save", 1, False), ("Anything", 1, True)])
def test_types_match_by_star_or_overlap(kind, slot, fits):
    assert check_nodes(n1=source(), n2=node(kind, value=["1", slot])).ok is fits


def test_a_class_may_compare_the_types_itself():
    assert check_nodes(n1=source(), n2=node("Typed", value=["1", 1])).ok
    assert not check_nodes(n1=source(), n2=node("Typed", value=["1", 0])).ok


def test_a_circle():
    report = check_nodes(
        n1=node("Pass", image=["2", 0]), n2=node("Pass", image=["1", 0]), n3=node("Save", value=["1", 0])
    )
    found = only_problem(report, "2")
    assert (found["type"], found["message"]) == ("dependency_cycle", "Dependency cycle detected")
    assert found["extra_info"]["cycle_nodes"] == ["1", "2", "1"]
    assert report.sentence() == "node 2 (Pass): nodes read one another in a circle: 1 -> 2 -> 1"


def test_a_node_that_reads_itself_under_two_outputs():
    save = node("Save", value=["1", 0])
    report = check_nodes(n1=node("Pass", image=["1", 0]), n2=save, n3=save)
    assert only_problem(report, "1")["extra_info"]["cycle_nodes"] == ["1", "1"]
    assert report.node_errors["1"]["dependent_outputs"] == ["2", "3"]


def test_the_valid_output_still_runs():
    report = check_nodes(
        n1=source(),
        n2=node("Save", value=["1", 0]),
        n3=source(size=1),
        n4=node("Save", value=["3", 0]),
    )
    assert not report.ok
    assert report.error is None
    assert report.outputs == ("2",)
    assert report.order == ("1", "2")
    assert list(report.node_errors) == ["3"]
    assert report.node_errors["3"]["dependent_outputs"] == ["4"]


def test_nodes_that_no_output_needs_are_not_checked():
    assert check_nodes(n1=source(), n2=node("Save", value=["1", 0]), n3=source(size=1)).ok


def test_inputs_nobody_declared_are_ignored():
    assert check_nodes(n1=source(extra=["9", 0]), n2=node("Save", value=["1", 0])).ok


def test_all_problems_are_counted():
    report = check_nodes(n1=source(size=1, mode="slow"), n2=node("Save", value=["1", 0]))
    assert len(report.sentences()) == 2
    assert report.sentence().endswith("the smallest allowed is 8 (and 1 more problem)")


def test_every_node_comes_once_and_after_what_it_reads():
    reads = {"d": ["b", "c", "b"], "c": ["a"], "b": ["a"], "a": []}
    assert walk_upstream(reads.__getitem__, ["d"]) == (["a", "b", "c", "d"], [])


@pytest.mark.parametrize("length, shown", [(78, f"'{'x' * 78}'"), (79, f"'{'x' * 76}...")])
def test_long_values_are_cut(length, shown):
    report = check_nodes(n1=source(mode="x" * length), n2=node("Save", value=["1", 0]))
    assert report.sentence().startswith(f"node 1 (Source), input mode: {shown} is given")


def test_a_chain_deeper_than_pythons_stack():
    chain = {str(i): node("Pass", image=[str(i - 1), 0]) for i in range(2, 3000)}
    report = check(parse({"1": source(), **chain, "end": node("Save", value=["2999", 0])}), NODES)
    assert report.ok
    assert len(report.order) == 3000


def test_a_class_that_cannot_say_what_it_takes():
    class Bad(Save):
        @classmethod
        def INPUT_TYPES(cls):
            raise RuntimeError("no folder")

    with pytest.raises(GraphError, match=r"^INPUT_TYPES of Bad fails: RuntimeError: no folder$"):
        check(parse({"1": node("Bad")}), {"Bad": Bad})


@pytest.mark.parametrize(
    ("gives", "takes", "fits"),
    [("COMBO", ["a"], False), (["a"], ["a"], True), (["a"], ["b"], False), (["a"], "COMBO", True), ("*", ["a"], True),
     ("COMBO", "COMBO", True), ("STRING", ["a"], False)],
)  # fmt: skip
def test_choices_that_another_node_gives(gives, takes, fits):
    """A list, as the first version declares choices, takes only the same list."""
    assert types_match(gives, takes) is fits
