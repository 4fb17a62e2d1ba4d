"""What core's nodes take and give, as the headless ones declare it and as a real ComfyUI does."""

import json

import pytest
from exact_vae import headless
from exact_vae.headless.definitions import read_definitions
from exact_vae.headless.interface import Interface

TOLD = ("default", "min", "max", "step", "lazy", "forceInput", "multiline", "rawLink", "widgetType")
NODES = headless.core_nodes("input", "output", "temp", {})


@pytest.fixture(scope="module")
def theirs(server):
    return read_definitions(server.get("/object_info"))


def describe(interface: Interface) -> dict:
    """Plain JSON of all that a file may depend on."""
    inputs = {one.name: [_name_type(one), one.required, _tell(one.options)] for one in interface.inputs}
    for one in interface.inputs:
        if one.choices and one.options.get("default") == one.choices[0]:  # as without a default
            inputs[one.name][2].pop("default")
    returns = ["COMBO" if isinstance(one, list | tuple) else one for one in interface.returns]
    flags = [interface.is_output, interface.takes_lists, [interface.gives_list(i) for i in range(len(returns))]]
    return json.loads(json.dumps({"inputs": inputs, "returns": returns, "flags": flags}))


def _name_type(one) -> object:
    names_files = any(mark in one.options for mark in ("image_upload", "video_upload", "audio_upload", "image_folder"))
    if one.choices is None:
        return one.type
    return ["COMBO", [] if names_files or one.name == "latent" else list(dict.fromkeys(one.choices))]


def _tell(options) -> dict:
    told = {name: options[name] for name in TOLD if options.get(name) not in (None, False, "")}
    if told.get("step") == 1:  # which is usual
        del told["step"]
    if "template" in options:
        told["template"] = {name: options["template"].get(name) for name in ("prefix", "min", "max", "names")}
    return {**told, "options": [_tell_choice(one) for one in options.get("options") or () if isinstance(one, dict)]}


def _tell_choice(choice) -> list:
    inputs = {**(choice["inputs"].get("required") or {}), **(choice["inputs"].get("optional") or {})}
    return [choice["key"], {name: _tell(one[1] if len(one) > 1 else {}) for name, one in inputs.items()}]


@pytest.mark.parametrize("name", sorted(NODES))
def test_the_declaration_is_core_s(theirs, name):
    assert name in theirs, f"core has no node {name}"
    their, our = (describe(Interface.of(one)) for one in (theirs[name], NODES[name]))
    if name == "CustomCombo":  # core takes whatever the editor sends; the editor sends this
        del our["inputs"]["index"]
    assert list(their["inputs"]) == list(our["inputs"])
    assert their == our
