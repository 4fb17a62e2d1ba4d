// The line in which a node says how it ran ("exact, in 24 strips, up to 125 MiB"), in the language of the editor.
// Nodes write it in English, for logs and for the API. The English templates of locales/en/main.json tell what was
// said, and those of the language say it: all of a line, or it stays as it is. Reports of several lines stay in
// English, for one passes them on.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const HOLE = /\{(\w+)\}/; // of a template
const NUMBERS = ["n", "m"]; // what such a hole takes; others take any text
const SAID = ["pieces", "what", "where", "frames", "latentFrames"]; // what is in these, templates say as well

function makeRegex(template) {
  const escape = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const write = (piece, i) => (i % 2 ? `(?<${piece}>${NUMBERS.includes(piece) ? "\\d+" : ".+"})` : escape(piece));
  return new RegExp(`^${template.split(HOLE).map(write).join("")}$`); // split: text, name, text, name, ..., text
}

// A function that says in another language what English templates make; it gives undefined for anything else.
function makeTranslator(english, own) {
  const patterns = Object.entries(english.lines).map(([key, template]) => [own.lines[key], makeRegex(template)]);
  const translate = (text) => {
    const parts = text.split(english.comma).map(say);
    return parts.includes(undefined) ? say(text) : parts.join(own.comma);
  };
  const say = (text) => {
    for (const [template, regex] of patterns) {
      const values = regex.exec(text);
      if (values) return template.split(HOLE).map((piece, i) => (i % 2 ? fill(piece, values) : piece)).join("");
    }
  };
  const fill = (name, { groups }) => (SAID.includes(name) && translate(groups[name])) || groups[name];
  return translate;
}

// A text as the host sends it: a semicolon and two spaces end a line that another follows.
function translateText(text, english, own) {
  const lines = text.split(/ *\n/);
  if (lines.slice(0, -1).some((line) => !line.endsWith(";"))) return text; // a report
  const translate = makeTranslator(english, own);
  const write = (line) => {
    const [, told, end] = /^(.*?)(;?)$/.exec(line);
    const said = translate(told);
    return said ? said + (end && own.semicolon.trimEnd()) : line;
  };
  return lines.map(write).join("  \n");
}

// The editor's listener has written the text onto the node by now, or it comes after this one and reads the event.
function rewrite(detail, said) {
  const id = String(detail.nodeId).split(":").at(-1); // in a subgraph: of all nodes around it, then its own
  const widgets = app.canvas?.graph?.getNodeById(id)?.widgets ?? [];
  for (const widget of widgets.filter(({ value }) => value === detail.text)) widget.value = said;
  detail.text = said;
}

app.registerExtension({
  name: "ExactVAE.Lines",
  async setup() {
    const texts = await (await api.fetchApi("/i18n")).json();
    api.addEventListener("progress_text", ({ detail }) => {
      const own = texts[app.extensionManager?.setting?.get("Comfy.Locale")]?.exactVae;
      if (own && detail?.text) rewrite(detail, translateText(detail.text, texts.en.exactVae, own));
    });
  },
});
