"""How a graph is run, headless and in a real ComfyUI: the same nodes show the same, and the same nodes fail."""

import json

import pytest
from exact_vae import headless
from support.beside_core import node
from support.nodes_for_both import NODE_CLASS_MAPPINGS


def show(*links) -> dict:
    return {f"show{i}": node("BothShow", value=list(link)) for i, link in enumerate(links)}


NUMBERS = {"one": node("BothNumber", n=1), "five": node("BothRange", n=5), "two": node("BothRange", n=2)}
# Name -> the graph; each of its outputs is compared.
GRAPHS = {
    "a list goes item by item": {"x": node("BothAdd", a=["five", 0], b=10), **show(["x", 0])},
    "shorter lists repeat their last": {"x": node("BothAdd", a=["five", 0], b=["two", 0]), **show(["x", 0])},
    "lists of lists": {"x": node("BothRange", n=["five", 0]), "y": node("BothTotal", values=["x", 0], times=2),
                       **show(["x", 0], ["y", 0])},
    "lazy": {"fail": node("BothFail", n=1), "x": node("BothLazy", first=True, a=["one", 0], b=["fail", 0]),
             **show(["x", 0])},
    "the other lazy one": {"fail": node("BothFail", n=1), "x": node("BothLazy", first=False, b=["one", 0]),
                           **show(["x", 0])},
    "blockers in a list": {"x": node("BothGate", n=["five", 0]), "y": node("BothAdd", a=["x", 0], b=100),
                           **show(["y", 0])},
    "a blocker": {"x": node("BothGate", n=["one", 0]), "y": node("BothAdd", a=["x", 0], b=1),
                  **show(["y", 0], ["one", 0])},
    "async": {"x": node("BothSlow", n=["five", 0]), **show(["x", 0])},
    "the same twice": {"x": node("BothAdd", a=["one", 0], b=1), "y": node("BothAdd", a=["one", 0], b=1),
                       **show(["x", 0], ["y", 0])},
    "expansion": {"x": node("BothTwice", n=21), **show(["x", 0])},
    "expansion of a list": {"x": node("BothTwice", n=["five", 0]), **show(["x", 0])},
    "expansion within expansion": {"x": node("BothCountdown", n=["y", 0], total=0), "y": node("BothNumber", n=9),
                                   **show(["x", 0])},
    "a loop": {"step": node("BothNumber", n=-3), "open": node("BothOpen", n=10),
               "less": node("BothAdd", a=["open", 1], b=["step", 0]),
               "x": node("BothClose", flow=["open", 0], n=["less", 0]), **show(["x", 0])},
}  # fmt: skip
FAILING = {
    "a node": {"x": node("BothFail", n=["one", 0]), **show(["x", 0])},
    "one item of a list": {"x": node("BothFail", n=["five", 0]), **show(["x", 0])},
    "an inner node": {"x": node("BothFailInside", n=3), **show(["x", 0])},
    "an empty list": {"x": node("BothRange", n=0), "y": node("BothAdd", a=["x", 0], b=1), **show(["y", 0])},
}


def run_here(graph: dict) -> headless.Results:
    return headless.run(headless.parse(graph), NODE_CLASS_MAPPINGS, keep_going=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_shown(server, name):
    graph = {**NUMBERS, **GRAPHS[name]}
    theirs = server.prompt(graph)
    assert theirs["status"]["status_str"] == "success", theirs["status"]
    ours = run_here(graph)
    assert not ours.errors and {i: one["text"] for i, one in theirs["outputs"].items()} == {
        i: list(one["text"]) for i, one in ours.outputs.items()
    }


@pytest.mark.parametrize("name", FAILING)
def test_what_fails(server, name):
    graph = {**NUMBERS, **FAILING[name]}
    theirs = server.prompt(graph)
    (told,) = (data for kind, data in theirs["status"]["messages"] if kind == "execution_error")
    (ours,) = run_here(graph).errors
    assert ours.body and {one: told[one] for one in ("node_id", "node_type")} == {
        one: ours.body[one] for one in ("node_id", "node_type")
    }
    if name != "an empty list":  # there the host fails with an index out of range
        assert told["exception_message"].strip() == ours.body["exception_message"]
        assert told["exception_type"] == ours.body["exception_type"]


IMAGE = {"image": node("EmptyImage", width=8, height=8, batch_size=1, color=0)}
MISSING = {
    "a row": node("BatchImagesNode"),
    "what a choice brings": node("ResizeImageMaskNode", input=["image", 0], resize_type="scale width",
                                 scale_method="area"),
    "plain": node("ImageScaleBy", image=["image", 0], scale_by=2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing(server, tmp_path, name):
    saved = node("PreviewImage", images=["made", 0])
    graph = {**IMAGE, "made": MISSING[name], "save": saved}
    with pytest.raises(AssertionError) as refused:
        server.prompt(graph)
    theirs = json.loads(str(refused.value))["node_errors"]
    ours = headless.check(headless.parse(graph), headless.core_nodes(tmp_path, tmp_path, tmp_path, {})).node_errors

    def tell(errors: dict) -> dict:
        found = {i: [(one["type"], one["message"], one["details"]) for one in entry["errors"]]
                 for i, entry in errors.items()}  # fmt: skip
        return {i: sorted(one) for i, one in found.items()}

    assert tell(theirs) == tell(dict(ours))
