// Choices in the menus of this pack's nodes, in the language of the editor: the word, and behind it what it means. A
// workflow holds the word alone, and tooltips and help pages name it, so it stays in sight.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const PACK = decodeURIComponent(import.meta.url.split("/").at(-2)); // the folder of this pack
let texts = {};

function label(word) {
  const own = texts[app.extensionManager?.setting?.get("Comfy.Locale")]?.exactVae;
  const said = own && Object.hasOwn(own.choices, word) && own.choices[word];
  if (!said || said === word) return word ?? "";
  return own.choice.replace("{word}", () => word).replace("{said}", () => said);
}

app.registerExtension({
  name: "ExactVAE.Choices",
  async setup() {
    texts = await (await api.fetchApi("/i18n")).json();
  },
  nodeCreated(node) {
    if (!node.constructor.nodeData?.python_module?.endsWith(`.${PACK}`)) return;
    for (const widget of node.widgets ?? []) {
      if (widget.type === "combo") widget.options.getOptionLabel = label;
    }
  },
});
