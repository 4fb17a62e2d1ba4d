"""web/choices.js, which says the choices in menus in the editor's language behind their words."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.lines import table

SCRIPT = Path(__file__).parents[2] / "web" / "choices.js"
RUN = """
import fs from "node:fs";
import { app } from "./scripts/app.js";
const { language, words } = JSON.parse(fs.readFileSync(0, "utf8"));
app.extensionManager = { setting: { get: () => language } };
await import("./extensions/my pack/choices.js");
const make = (module) => {
  const widgets = [{ type: "combo", options: { values: words } }, { type: "number", options: {} }, { type: "combo", options: {} }];
  const node = { widgets, constructor: { nodeData: { python_module: module } } };
  app.extension.nodeCreated(node);
  return widgets.map(({ options }) => options.getOptionLabel);
};
const [label, number, other] = make("custom_nodes.my pack");
const early = label("exact");
await app.extension.setup();
app.extension.nodeCreated({ constructor: {} });
const foreign = make("custom_nodes.another");
console.log(JSON.stringify([early, words.map(label), label(null), Boolean(number), other === label, foreign.some(Boolean)]));
"""  # noqa: E501


@pytest.mark.parametrize("language", ["es", "fr", "en", "de"])
def test_labels_are_the_word_and_what_it_means(tmp_path, language):
    """On menus of this pack's nodes alone; the values stay. What has no translation stays as it is."""
    node = shutil.which("node")
    if not node:
        pytest.skip("needs Node.js")
    texts = json.dumps({name: {"exactVae": table(name)} for name in ("en", "es", "fr")})
    files = {
        "package.json": '{"type": "module"}',
        "run.js": RUN,
        "scripts/app.js": "export const app = { registerExtension: (one) => { app.extension = one; } };",
        "scripts/api.js": f"export const api = {{ fetchApi: async () => ({{ json: async () => ({texts}) }}) }};",
        "extensions/my pack/choices.js": SCRIPT.read_text(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    words = ["exact", "blended approximate", "fp32", "my.safetensors", "toString"]
    given = json.dumps({"language": language, "words": words})
    done = subprocess.run([node, "run.js"], cwd=tmp_path, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    early, labels, nothing, on_number, on_each, on_foreign = json.loads(done.stdout)
    said = {"es": ["exact (exacto)", "blended approximate (mosaicos fundidos, aproximado)"],
            "fr": ["exact", "blended approximate (tuiles fondues, approché)"]}.get(language, words[:2])  # fmt: skip
    assert labels == [*said, *words[2:]]
    assert (early, nothing, on_number, on_each, on_foreign) == ("exact", "", False, True, False)
