"""Node classes by what GET /object_info answers."""

import json

import pytest
from exact_vae.headless import GraphError, load_definitions, read_definitions
from exact_vae.headless.interface import Interface

SAVE = {
    "input": {
        "required": {"prefix": ["STRING", {"default": "x"}], "images": ["IMAGE"]},
        "optional": {},
        "hidden": {"prompt": ["PROMPT"], "number": "UNIQUE_ID"},
    },
    "input_order": {"required": ["images", "prefix", "gone"]},
    "output": ["IMAGE", "INT"],
    "output_is_list": [False, True],
    "output_node": True,
    "is_input_list": True,
}


def test_a_declaration_is_a_class():
    (cls,) = read_definitions({"Save": SAVE}).values()
    seen = Interface.of(cls)
    assert [one.name for one in seen.inputs] == ["images", "prefix"]  # a server may sort the names of an object
    assert seen.hidden == {"prompt": "PROMPT", "number": "UNIQUE_ID"}
    assert (seen.returns, seen.is_output, seen.takes_lists, seen.gives_list(1)) == (("IMAGE", "INT"), True, True, True)


@pytest.mark.parametrize("broken", [[], {"A": 1}, {"A": {}}, {"A": {"input": 5}}, {"A": {"input": {"required": []}}}])
def test_no_definitions(broken, tmp_path):
    with pytest.raises(GraphError):
        read_definitions(broken)
    (tmp_path / "a.json").write_text(json.dumps(broken))
    with pytest.raises(GraphError, match="cannot be read"):
        load_definitions(tmp_path / "a.json")


def test_no_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for path in (tmp_path / "a.json", tmp_path / "none.json", tmp_path):
        with pytest.raises(GraphError, match="the definitions of nodes in"):
            load_definitions(path)
