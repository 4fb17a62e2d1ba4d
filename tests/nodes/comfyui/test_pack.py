"""The pack as the host loads and offers it."""

import json
from urllib.error import HTTPError

import pytest
from exact_vae import NODE_CLASS_MAPPINGS
from support.comfyui_server import ROOT


def test_the_pack_loads_without_a_word(server):
    log, _, _ = server.log.read_text().partition("To see the GUI")  # after it come other tests' own mistakes
    assert "IMPORT FAILED" not in log
    loaded = [line for line in log.splitlines() if "seconds:" in line and "exact-vae" in line]
    assert len(loaded) == 1
    words = [line for line in log.splitlines() if "exact" in line.lower() and "seconds:" not in line]
    assert not [line for line in words if "warn" in line.lower() or "error" in line.lower()]


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_object_info_is_complete(server, node):
    info = server.get(f"/object_info/{node}")[node]
    inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
    assert info["python_module"] == "custom_nodes.comfyui-exact-vae"
    assert all(options[1]["tooltip"] for options in inputs.values())
    assert len(info["output_tooltips"]) == len(info["output"])
    assert info["description"] and info["category"].startswith("Exact VAE")
    assert info.get("search_aliases", True)  # older hosts have none
    assert f"# {info['display_name']}" in server.get(f"/extensions/comfyui-exact-vae/docs/{node}.md")


def test_texts_are_merged_into_the_host_s(server):
    merged = server.get("/i18n")
    for language in ("en", "es", "fr", "ja", "ko", "ru", "zh"):
        texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        assert {node: merged[language]["nodeDefs"][node] for node in texts} == texts
        assert set(texts) == set(NODE_CLASS_MAPPINGS)


def test_its_blueprints_are_offered(server):
    try:
        offered = server.get("/global_subgraphs")
    except HTTPError as error:
        if error.code == 404:
            pytest.skip("this ComfyUI is of a time before blueprints")
        raise
    ours = {one["name"] for one in offered.values() if "exact" in one["info"]["node_pack"]}
    assert ours == {path.stem for path in (ROOT / "subgraphs").glob("*.json")}


def test_core_s_nodes_keep_their_names(server):
    assert server.get("/object_info/VAEDecode")["VAEDecode"]["display_name"] == "VAE Decode"


def test_the_example_workflow_is_offered(server):
    assert "round_trip" in json.dumps(server.get("/api/workflow_templates"))
    workflow = server.get("/api/workflow_templates/comfyui-exact-vae/round_trip.json")
    known = server.get("/object_info")
    assert {node["type"] for node in workflow["nodes"]} - {"MarkdownNote"} <= set(known)
