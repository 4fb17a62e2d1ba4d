"""Counts the nodes of ComfyUI's official templates that need no model, and says which of them run in `headless`.

    python benchmarks/commonest_nodes.py --object-info FILE [--most 60]

FILE is what a ComfyUI answers to GET /object_info. It needs the package comfyui-workflow-templates. A node needs no
model if all that it takes and gives are images, masks, latents, videos, sound, numbers, texts and choices, and it asks
no partner's server.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exact_vae import headless

PLAIN = {"IMAGE", "MASK", "LATENT", "VIDEO", "AUDIO", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "*",
         "IMAGECOMPARE", "BOUNDING_BOX", "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3",
         "COMFY_DYNAMICCOMBO_V3"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--object-info", type=Path, required=True)
    parser.add_argument("--most", type=int, default=60)
    chosen = parser.parse_args()
    classes = json.loads(chosen.object_info.read_text(encoding="utf-8"))
    runs = headless.core_nodes("input", "output", "temp", {})
    counted = count_files({name for name, one in classes.items() if needs_no_model(one)})
    for name, files in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[: chosen.most]:
        print(f"{files:4} {name}{'' if name in runs else '  (does not run)'}")


def count_files(names: set[str]) -> Counter[str]:
    """Name -> how many templates have such a node."""
    import comfyui_workflow_templates_json as package

    found: Counter[str] = Counter()
    for path in sorted((Path(package.__path__[0]) / "templates").glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if "nodes" in workflow:
            found.update(names & set(list_types(workflow)))
    return found


def list_types(workflow: Mapping[str, Any]) -> Iterator[str]:
    for one in (workflow, *(workflow.get("definitions") or {}).get("subgraphs", ())):
        yield from (node["type"] for node in one["nodes"])


def needs_no_model(declaration: Mapping[str, Any]) -> bool:
    inputs = (one[0] for kind, group in declaration["input"].items() if kind != "hidden" for one in group.values())
    types = {"COMBO" if isinstance(one, list) else one for one in (*inputs, *declaration["output"])}
    return not declaration.get("api_node") and {part for one in types for part in one.split(",")} <= PLAIN


if __name__ == "__main__":
    main()
